"""A study as text: tables and sentences, from its record alone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kit.progress import aligned, duration
from kit.settings import to_toml
from search.display import named_values, short
from search.records import StudyRecord

if TYPE_CHECKING:
    from search.kept_model import Refit


def table(record: StudyRecord) -> list[str]:
    """One line a trial, and a summary."""
    keys = [key for key, content in record.space.items() if "fixed" not in content]
    latency = ["ms"] if record.latency else []
    rows = [
        ["trial", "state", *(name.replace("_", " ") for name in record.objectives), *keys, "epochs", "time", *latency]
    ]
    for trial in record.trials:
        values = [short(value) for value in trial.values] or ["-"] * len(record.objectives)
        params = [short(trial.params[key]) if key in trial.params else "-" for key in keys]
        time = "-" if trial.seconds is None else duration(trial.seconds)
        marks = "*" if trial.number == record.best_trial else ""
        state = trial.state if trial.retry_of is None else f"{trial.state} (retry of {trial.retry_of})"
        row = [f"{trial.number}{marks}", state, *values, *params, str(len(trial.history)), time]
        rows.append(
            [*row, *(f"{record.latency[trial.number]:.1f}" if trial.number in record.latency else "-" for _ in latency)]
        )
    counts = record.counts
    said = [f"{counts.complete} complete, {counts.pruned} pruned, {counts.failed} failed, {counts.running} running"]
    errors = sorted({(trial.error or "").splitlines()[0] for trial in record.trials if trial.error})
    return [*aligned(rows), "", *said, *(f"failed: {error}" for error in errors)]


def best_lines(record: StudyRecord, best: "Refit | None") -> list[str]:
    """The kept model, its scores, and their optimism."""
    if record.best_trial is None:
        return ["No trial is complete yet."]
    trial = record.trial(record.best_trial)
    lines = [f"Best: trial {trial.number}, validation {named_values(record, trial)}"]
    own = next((one for one in record.trials if one.own and one.state == "complete"), None)
    if own is not None and own.number != trial.number:
        lines.append(f"Your own configuration, trial {own.number}: {named_values(record, own)}")
    if len(record.objectives) > 1:
        lines.append(f"Pareto front: trials {', '.join(str(one.number) for one in record.front())}")
    if best is not None and best.test is not None and best.interval is not None:
        low, high = best.interval
        lines.append(f"Test accuracy {best.test:.3f} [{low:.3f}, {high:.3f}], scored once")
        lines.append(f"Validation minus test {best.optimism:+.3f} (validation {best.validation:.3f}, which chose)")
    if best is not None:
        lines.append(f"Run folder: {best.run.path}")
    return lines


def toml_lines(record: StudyRecord) -> list[str]:
    """Best configuration, for `transferkit train --config`."""
    from search.study import config_of

    if record.best_trial is None:
        return []
    return [
        "",
        "# `transferkit train --config FILE` with this FILE trains it:",
        to_toml(config_of(record, record.best_trial)),
    ]


def listing(records: Sequence[StudyRecord]) -> list[str]:
    """One line a study."""
    rows = [["study", "trials", "best", "images", "begun"]]
    for record in records:
        best = "-" if record.best_trial is None else named_values(record, record.trial(record.best_trial))
        rows.append([record.name, str(record.counts.finished), best, record.data["name"], record.created[:16]])
    return aligned(rows)
