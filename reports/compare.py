"""Several runs side by side: scores, curves, time, and the photos they disagree on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from kit.statistics import SIGNIFICANT, mcnemar_p_value
from kit.training.history import History
from reports import text
from reports.blocks import Chart, Note, Photo, Photos, Section, Table
from reports.charts import SERIES, bar_height, new_figure, series, share_axis
from reports.headline import HeadlineFacts
from reports.predictions import of_split, scored_split

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]  # its stubs are a package of their own, not needed to run

SHOWN = 24


@dataclass(frozen=True)
class RunFacts:
    """What one run brings to a comparison.

    Attributes:
        name: Of its folder, made different from the others'.
        backend: Keras backend; empty where it is not recorded.
        data: Fingerprint of its photos.
        settings: Dotted key -> value, as text.
        scores: Of its headline.
        history: Its epochs.
        stages: Stage -> seconds.
        said: Path -> (label, predicted) of the photos it was scored on.
    """

    name: str
    backend: str
    data: str
    settings: Mapping[str, str]
    scores: HeadlineFacts
    history: History
    stages: Mapping[str, float]
    said: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class PairFacts:
    """Two runs on the photos that both were scored on.

    Attributes:
        first: Name of one.
        second: Name of the other.
        common: Photos scored by both.
        same: Of which both said the same.
        only_first: Only the first was right.
        only_second: Only the second was right.
        twins: The configurations are equal but for the backend, and the photos are the same.
    """

    first: str
    second: str
    common: int
    same: int
    only_first: int
    only_second: int
    twins: bool

    @property
    def p_value(self) -> float:
        """McNemar's, of the two runs' answers to the same photos."""
        return mcnemar_p_value(self.only_first, self.only_second)

    @property
    def clear(self) -> bool:
        """Whether the difference is more than chance explains."""
        return self.p_value < SIGNIFICANT


@dataclass(frozen=True)
class Disagreement:
    """A photo that some runs got right and others wrong.

    Attributes:
        path: As recorded.
        label: What it is.
        predicted: What each run said, in the order of the runs.
    """

    path: str
    label: str
    predicted: tuple[str, ...]


@dataclass(frozen=True)
class ComparisonFacts:
    """Several runs.

    Attributes:
        runs: In the order given.
        differing: (setting, its value in each run) where they differ, the data's path aside.
        pairs: Every two runs that share scored photos.
        disagreements: The most evenly split first, at most SHOWN of `disagreed`.
        disagreed: How many there are.
        same_photos: All runs were scored on the very same photos.
    """

    runs: tuple[RunFacts, ...]
    differing: tuple[tuple[str, tuple[str, ...]], ...]
    pairs: tuple[PairFacts, ...]
    disagreements: tuple[Disagreement, ...]
    disagreed: int
    same_photos: bool


def run_facts(
    name: str,
    manifest: Mapping[str, Any],
    config: Any,
    scores: HeadlineFacts,
    history: History,
    verdicts: "pandas.DataFrame",
) -> RunFacts:
    """From the records of one run.

    Args:
        name: To call it by.
        manifest: manifest.json.
        config: Its RunConfig; None where it cannot be read.
        scores: What its headline says.
        history: Its epochs.
        verdicts: `RunFolder.verdicts`; may be empty.
    """
    scored = of_split(verdicts, scored_split(verdicts))
    columns = (scored[column].tolist() for column in ("path", "label", "predicted"))
    return RunFacts(
        name=name,
        backend=(manifest.get("environment") or {}).get("backend", ""),
        data=(manifest.get("data") or {}).get("fingerprint", ""),
        settings={} if config is None else flatten(asdict(config)),
        scores=scores,
        history=history,
        stages={stage: measured["seconds"] for stage, measured in manifest.get("stages", {}).items()},
        said={path: (label, predicted) for path, label, predicted in zip(*columns, strict=True)},
    )


def flatten(settings: Mapping[str, Any] | Sequence[Any], prefix: str = "") -> dict[str, str]:
    """{"phases": [{"epochs": 10}]} -> {"phases.0.epochs": "10"}."""
    items = settings.items() if isinstance(settings, Mapping) else enumerate(settings)
    flat: dict[str, str] = {}
    for key, value in items:
        nested = isinstance(value, Mapping) or (isinstance(value, list | tuple) and any(map(_is_table, value)))
        flat |= flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": str(value)}
    return flat


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def comparison_facts(runs: Sequence[RunFacts]) -> ComparisonFacts:
    """From the facts of at least two runs."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    differing = tuple(
        (key, values)
        for key in keys
        if key != "data.path" and len(set(values := tuple(run.settings.get(key, "–") for run in runs))) > 1
    )
    common = set.intersection(*(set(run.said) for run in runs))
    split = [
        Disagreement(path, runs[0].said[path][0], tuple(run.said[path][1] for run in runs)) for path in sorted(common)
    ]
    split = [one for one in split if len({said == one.label for said in one.predicted}) > 1]
    half = len(runs) / 2
    split.sort(key=lambda one: abs(sum(said == one.label for said in one.predicted) - half))
    return ComparisonFacts(
        runs=tuple(runs),
        differing=differing,
        pairs=tuple(pair for a, b in combinations(runs, 2) if (pair := _pair(a, b)).common),
        disagreements=tuple(split[:SHOWN]),
        disagreed=len(split),
        same_photos=bool(common) and all(set(run.said) == common for run in runs),
    )


def _pair(a: RunFacts, b: RunFacts) -> PairFacts:
    common = [(a.said[path], b.said[path][1]) for path in a.said if path in b.said]
    right = [(said_a == label, said_b == label) for (label, said_a), said_b in common]
    others = ({k: v for k, v in run.settings.items() if k not in ("backend", "data.path")} for run in (a, b))
    return PairFacts(
        a.name,
        b.name,
        len(common),
        sum(said_a == said_b for (_, said_a), said_b in common),
        sum(one and not other for one, other in right),
        sum(other and not one for one, other in right),
        twins=next(others) == next(others) and a.backend != b.backend and a.data == b.data != "",
    )


# === Figures ===


def overlay_figure(facts: ComparisonFacts) -> go.Figure:
    """Validation accuracy of every run, epoch by epoch."""
    figure = new_figure(400, xaxis={"title": {"text": "epoch"}}, yaxis=share_axis("validation accuracy"))
    for place, (run, name) in enumerate(zip(facts.runs, _names(facts), strict=True)):
        figure.add_scatter(
            x=[record.epoch for record in run.history],
            y=[record.val_accuracy for record in run.history],
            name=name,
            mode="lines+markers",
            hovertemplate="epoch %{x}: %{y:.1%}",
            **series(place),
        )
    return figure


def time_figure(facts: ComparisonFacts) -> go.Figure:
    """Seconds of each run, stage upon stage."""
    names = _names(facts)
    figure = new_figure(
        bar_height(len(names)) + 60,
        barmode="stack",
        xaxis={"title": {"text": "seconds"}},
        yaxis={"autorange": "reversed", "automargin": True, "type": "category"},
    )
    patterns = ("", "/", ".", "x", "\\", "-", "+", "|")
    for place, stage in enumerate(_stages(facts)):
        figure.add_bar(
            y=names,
            x=[run.stages.get(stage, 0.0) for run in facts.runs],
            name=text.label(stage),
            orientation="h",
            marker={
                "color": SERIES[place % len(SERIES)],
                "pattern": {"shape": patterns[place % len(patterns)]},
            },
            hovertemplate="%{y}: %{x:.1f} s",
        )
    return figure


def _names(facts: ComparisonFacts) -> list[str]:
    return text.labels([run.name for run in facts.runs])


def _stages(facts: ComparisonFacts) -> list[str]:
    return list(dict.fromkeys(stage for run in facts.runs for stage in run.stages))


# === Sections ===


def comparison_sections(facts: ComparisonFacts, album: Mapping[str, bytes]) -> tuple[Section, ...]:
    """Scores and settings; curves; where they disagree; time.

    Args:
        facts: Of the runs.
        album: Path -> thumbnail, of all runs together.
    """
    return (
        Section("scores", "Scores", (*_warnings(facts), _scores_table(facts), *_settings_table(facts))),
        Section("curves", "Training", (_overlay(facts),)),
        Section("disagreements", "Where they disagree", _disagreements(facts, album)),
        Section("time", "Time", (_time(facts),)),
    )


def _warnings(facts: ComparisonFacts) -> tuple[Note, ...]:
    notes = []
    if len({run.data for run in facts.runs}) > 1:
        notes.append(Note("These runs were made from different photos.", "warning"))
    elif not facts.same_photos:
        notes.append(Note("These runs were scored on different photos: their accuracies do not compare.", "warning"))
    notes += [Note(_twins(pair)) for pair in facts.pairs if pair.twins]
    return tuple(notes)


def _twins(pair: PairFacts) -> str:
    return (
        f"{text.name(pair.first)} and {text.name(pair.second)} are the same configuration on two backends: they say "
        f"the same of {pair.same:,} of {pair.common:,} photos. Random streams differ between backends, as two seeds do."
    )


def _scores_table(facts: ComparisonFacts) -> Table:
    rows = []
    for run in facts.runs:
        scores = run.scores
        rows.append(
            (
                text.name(run.name),
                run.backend or "–",
                scores.split or "not scored",
                f"{scores.n:,}",
                text.share(scores.accuracy, scores.n),
                text.interval(scores.interval, scores.n),
                text.number(scores.macro_f1),
                text.number(scores.log_loss),
                text.share(scores.calibration_error),
                text.seconds(sum(run.stages.values())) if run.stages else "–",
            )
        )
    head = ("run", "backend", "on", "photos", "accuracy", "95% interval", "macro F1", "log loss", "calibration error")
    return Table("Scores", (*head, "time"), tuple(rows))


def _settings_table(facts: ComparisonFacts) -> tuple[Table, ...]:
    if not facts.differing:
        return ()
    rows = tuple((key, *(text.name(value, 40) for value in values)) for key, values in facts.differing)
    return (Table("Settings that differ", ("setting", *(text.name(run.name) for run in facts.runs)), rows),)


def _overlay(facts: ComparisonFacts) -> Chart | Note:
    points = [(run.name, record) for run in facts.runs for record in run.history if record.val_accuracy is not None]
    if not points:
        return Note("No run recorded a validation accuracy.", "missing")
    best_name, best = max(points, key=lambda point: point[1].val_accuracy or 0.0)
    rows = tuple(
        (text.name(name), str(record.epoch), text.name(record.phase), text.share(record.val_accuracy))
        for name, record in points[:400]
    )
    return Chart(
        "overlay-figure",
        "Validation accuracy",
        f"The highest validation accuracy, {text.share(best.val_accuracy)}, is that of {text.name(best_name)} at epoch "
        f"{best.epoch}.",
        overlay_figure(facts),
        Table("Every epoch", ("run", "epoch", "phase", "validation accuracy"), rows),
    )


def _disagreements(facts: ComparisonFacts, album: Mapping[str, bytes]) -> tuple:
    if not facts.pairs:
        return (Note("No photo was scored by more than one of these runs.", "missing"),)
    rows = tuple(
        (
            f"{text.name(pair.first)} / {text.name(pair.second)}",
            f"{pair.common:,}",
            f"{pair.same:,}",
            f"{pair.only_first:,}",
            f"{pair.only_second:,}",
            text.p_value(pair.p_value),
            "more than chance" if pair.clear else "may be chance",
        )
        for pair in facts.pairs
    )
    head = (
        "runs",
        "photos in common",
        "same answer",
        "only the first right",
        "only the second right",
        "p",
        "difference",
    )
    note = f"p of McNemar's exact test on the photos that only one of the two got right; chance from {SIGNIFICANT} on."
    table = Table("Two by two, on the same photos", head, rows, note)
    photos = tuple(_disagreement(one, facts, album) for one in facts.disagreements)
    if not photos:
        return (table, Note("On the photos that all were scored on, all are right or wrong together."))
    see = f"{text.count(facts.disagreed, 'photo')} some runs get right and others wrong"
    see += f"; the {len(photos)} most evenly split are shown." if facts.disagreed > len(photos) else "."
    return (table, Photos("disagreements-photos", "Right for some, wrong for others", see, photos))


def _disagreement(one: Disagreement, facts: ComparisonFacts, album: Mapping[str, bytes]) -> Photo:
    lines = tuple(
        f"{'✓' if said == one.label else '✗'} {text.name(run.name, 20)}: {text.name(said, 24)}"
        for run, said in zip(facts.runs, one.predicted, strict=True)
    )
    return Photo(text.name(one.path), album.get(one.path), (f"is {text.name(one.label, 32)}", *lines))


def _time(facts: ComparisonFacts) -> Chart | Note:
    timed = [run for run in facts.runs if run.stages]
    if not timed:
        return Note("No run recorded its times.", "missing")
    fastest = min(timed, key=lambda run: sum(run.stages.values()))
    rows = tuple(
        (text.name(stage), *(text.seconds(run.stages.get(stage)) for run in facts.runs)) for stage in _stages(facts)
    )
    total = ("all", *(text.seconds(sum(run.stages.values())) for run in facts.runs))
    return Chart(
        "time-figure",
        "Time of each stage",
        f"{text.name(fastest.name)} took the least time, {text.seconds(sum(fastest.stages.values()))}; what an earlier "
        "run left in the stores costs a later one nothing.",
        time_figure(facts),
        Table("Time of each stage", ("stage", *(text.name(run.name) for run in facts.runs)), (*rows, total)),
    )
