"""Page of a study."""

import copy
import time
from pathlib import Path
from typing import Any

from reports import text
from reports.elements import Code, Link, Metric, Note, Page, Section, SummaryBox, Table, missing_section
from reports.provenance import corrections_origin
from reports.run_page import PartialRun
from reports.summary import CALIBRATION, OPTIMISM, summary_box, summary_facts
from reports.trials.facts import TrialsFacts, plain, trials_facts, trials_table
from reports.trials.history import epochs_chart, history_chart, timeline_chart
from reports.trials.optuna_figures import pareto_chart
from reports.trials.settings import settings_charts
from search.records import LIVE, StudyRecord, TrialRecord

STALE_SECONDS = 900  # as LATEST in templates/live.js


def study_page(folder: Path) -> Page:
    """Page of a study folder, finished or not; StorageError if a record in it is damaged."""
    study = StudyRecord.load(folder)
    facts = trials_facts(study)
    best = folder / "best"
    kept = PartialRun.open(best) if (best / "manifest.json").is_file() else None
    return Page(
        title=f"{text.name(study.name)}: a study",
        subtitle=_subtitle(study),
        summary_box=_summary_box(facts, kept),
        sections=(_best(facts, best), *trials_sections(facts), _provenance(study)),
        notes=_notes(facts, kept),
        live=_is_live(folder / LIVE),
    )


def _is_live(mark: Path) -> bool:
    """Whether the page is drawn anew meanwhile; a mark that a kill left behind grows old."""
    return mark.exists() and time.time() - mark.stat().st_mtime < STALE_SECONDS


def _subtitle(study: StudyRecord) -> str:
    parts = (
        text.name(study.data.get("name")),
        text.count(study.counts.finished, "finished trial"),
        f"sampler {study.sampler}, pruner {study.pruner}",
        study.created[:10],
    )
    return " · ".join(parts)


def _summary_box(facts: TrialsFacts, kept: PartialRun | None) -> SummaryBox:
    found = None if facts.best is None else facts.values.get(facts.best)
    accuracy = facts.study.objectives[0] == "accuracy"
    value = "–" if found is None else text.share(found) if accuracy else text.number(found, 4)
    searched = [Metric(f"Best {facts.objective}", value, "As the search measured it." if found is not None else "")]
    if facts.gain is not None:
        gain = text.points(facts.gain) if accuracy else text.number(facts.gain, 3)
        searched.append(Metric("Gain over your own settings", gain, f"In {facts.objective}, the same images."))
    if kept is not None and kept.metrics:
        box = summary_box(summary_facts(kept.metrics))
        told = (metric for metric in box.metrics if metric.name in (OPTIMISM, CALIBRATION))
        return SummaryBox(box.name, box.value, box.says, (*searched, *told))
    if found is None:
        return SummaryBox(f"Best {facts.objective}", "–", "No trial is complete yet.", ())
    says = "Chosen on validation, so optimistic: the test comes with the best run, which has not been made yet."
    return SummaryBox(f"Best {facts.objective}", value, says, tuple(searched[1:]))


def _notes(facts: TrialsFacts, kept: PartialRun | None) -> tuple[Note, ...]:
    counts = facts.study.counts
    notes = []
    if counts.running or counts.waiting:
        notes.append(f"The study has not ended, or was stopped: {counts.running} trials run and {counts.waiting} wait.")
    if counts.failed:
        notes.append(f"{text.count(counts.failed, 'trial')} failed; the table of trials says why.")
    if facts.best is not None and kept is None:
        notes.append("The best configuration has not been trained again yet, so nothing is known of the test images.")
    return tuple(Note(note, "warning") for note in notes)


def _best(facts: TrialsFacts, best: Path) -> Section:
    if facts.best is None:
        return missing_section("best", "Best configuration", "No trial is complete yet.")
    trial = facts.study.trial(facts.best)
    rows = tuple((text.name(name), plain(value)) for name, value in trial.params.items())
    elements: list = [Table(f"What trial {trial.number} chose", ("setting", "value"), rows)]
    if (best / "report.html").is_file():
        elements.insert(0, Link("The page of the best run: predictions, mistakes, confidence", "best/report.html"))
    config = best / "config.toml"
    whole = config.read_text(encoding="utf-8", errors="replace") if config.is_file() else _toml(facts.study, trial)
    caption = (
        "The whole configuration, as TOML, for transferkit train --config FILE; …/ stands for the folders of a path"
    )
    elements.append(Code(caption, text.without_folders(whole)))
    return Section("best", "Best configuration", tuple(elements))


def _toml(study: StudyRecord, trial: TrialRecord) -> str:
    """Configuration of a trial: the study's, what the space fixes, the trial's params."""
    import tomli_w

    tree = copy.deepcopy(study.config)
    fixed = {} if trial.own else {name: space["fixed"] for name, space in study.space.items() if "fixed" in space}
    for name, value in {**fixed, **trial.params}.items():
        *sections, last = name.split(".")
        table: Any = tree
        for section in sections:  # phases are a list
            table = table[int(section)] if isinstance(table, list) else table.setdefault(section, {})
        table[last] = value
    return tomli_w.dumps(tree)


def _provenance(study: StudyRecord) -> Section:
    ranges = tuple((text.name(name), _range(space)) for name, space in study.space.items())
    origin = (
        ("data", text.name(study.data.get("name"))),
        ("data fingerprint", text.name(study.data.get("fingerprint"), 80)),
        *((name, text.name(value, 80)) for name, value in corrections_origin(study.data.get("corrections")).items()),
        ("begun", study.created),
        ("objectives", ", ".join(study.objectives)),
        ("sampler", f"{study.sampler}, seed {study.seed}"),
        ("pruner", study.pruner),
        ("storage", text.name(_without_folders(study.storage), 120)),
    )
    return Section(
        "provenance",
        "Provenance",
        (Table("The space that was searched", ("setting", "range"), ranges), Table("Where it comes from", (), origin)),
    )


def _without_folders(storage: str) -> str:
    kind, slashes, file = storage.partition(":///")
    return f"{kind}{slashes}{text.without_folders(file)}"


def _range(space) -> str:
    if "fixed" in space:
        return f"{plain(space['fixed'])}, fixed"
    if "choices" in space:
        return text.name(", ".join(map(str, space["choices"])), 80)
    steps = " (logarithmic)" if space.get("log") else f" in steps of {space['step']}" if space.get("step") else ""
    return f"{text.number(space['low'])} to {text.number(space['high'])}{steps}"


def trials_sections(facts: TrialsFacts) -> tuple[Section, ...]:
    """All sections but those of the best run."""
    if not facts.values:
        return (Section("trials", "Trials", (Note(_nothing(facts), "missing"), *_table(facts))),)
    pareto = len(facts.study.objectives) > 1 and facts.study.counts.complete
    return (
        Section("history", "Trials", (history_chart(facts), *epochs_chart(facts), *timeline_chart(facts))),
        Section("settings", "What mattered", settings_charts(facts)),
        *((Section("pareto", "Pareto front", (pareto_chart(facts),)),) if pareto else ()),
        Section("table", "All trials", _table(facts)),
    )


def _nothing(facts: TrialsFacts) -> str:
    counts = facts.study.counts
    if not facts.study.trials:
        return "This study has no trial yet."
    return f"No trial has been measured yet: {counts.waiting} wait, {counts.running} run, {counts.failed} failed."


def _table(facts: TrialsFacts) -> tuple[Table, ...]:
    if not facts.study.trials:
        return ()
    error = ("error",) if any(trial.error for trial in facts.study.trials) else ()
    columns = ("trial", "state", *error, *facts.settings, facts.objective, "took")
    return (trials_table(facts, "Every trial", facts.trials, columns),)
