"""Scores of the runs with their intervals, settings that differ, images on which they disagree."""

import base64
from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from kit.significance import SIGNIFICANT
from reports import text
from reports.charts import BLUE, DIFFERENCES, bars_figure, between, new_figure, share_axis
from reports.compare.facts import SHOWN, ComparisonFacts, Disagreement, PairFacts, RunFacts, figure_names
from reports.elements import Chart, ImageBrowser, Note, Section, Table, Thumbnail, missing_section
from reports.predictions import PICTURE_BYTES

HEAD = (
    "runs",
    "images in common",
    "same prediction",
    "only the first right",
    "only the second right",
    "first minus second",
    "95% interval",
    "p",
    "difference",
)
TEXTS = 8  # runs, up to which cells of the matrix show their intervals
NOTE = f"McNemar's exact test on the images that only one of the two got right; p < {SIGNIFICANT} is more than chance."
MANY = " Each p is Holm's, adjusted for the {pairs} pairs: among so many some would differ by chance."


def scores_figure(facts: ComparisonFacts) -> go.Figure:
    """Accuracy of every run that was scored, with its 95% interval."""
    scored = [
        (name, run.scores.accuracy, run.scores.interval)
        for name, run in zip(figure_names(facts), facts.runs, strict=True)
        if run.scores.accuracy is not None and run.scores.interval is not None
    ]
    figure = bars_figure(len(scored), 20, showlegend=False, xaxis=share_axis("accuracy"))
    figure.add_scatter(
        x=[accuracy for _, accuracy, _ in scored],
        y=[name for name, _, _ in scored],
        error_x=between([(low, accuracy, high) for _, accuracy, (low, high) in scored]),
        mode="markers",
        marker={"color": BLUE, "size": 10},
        customdata=[(f"{low:.1%}", f"{high:.1%}") for _, _, (low, high) in scored],
        hovertemplate="%{y}: %{x:.1%}<br>%{customdata[0]} to %{customdata[1]}<extra></extra>",
    )
    return figure


def scores_section(facts: ComparisonFacts) -> Section:
    """Scores and settings, after warnings on what is not comparable."""
    scored = [run for run in facts.runs if run.scores.accuracy is not None]
    chart: Chart | Note = Note("None of these runs was scored.", "missing")
    if scored:
        title = "Accuracy, with its 95% interval"
        chart = Chart("scores-figure", title, _see(facts, scored), scores_figure(facts), _intervals(scored))
    return Section("scores", "Scores", (*_warnings(facts), chart, _scores_table(facts), *_settings_table(facts)))


def _intervals(scored: list[RunFacts]) -> Table:
    fewest = min(run.scores.n for run in scored)
    rows = tuple(
        (
            text.name(run.name),
            text.share(run.scores.accuracy, fewest),
            text.interval(run.scores.interval, fewest),
        )
        for run in scored
    )
    return Table("Accuracy and its 95% interval", ("run", "accuracy", "95% interval"), rows)


def _see(facts: ComparisonFacts, scored: list[RunFacts]) -> str:
    if len(scored) == 1:
        return f"Only {text.name(scored[0].name)} was scored."
    ranked = sorted(scored, key=lambda run: -(run.scores.accuracy or 0.0))
    best, second = (text.name(run.name) for run in ranked[:2])
    accuracy = text.share(ranked[0].scores.accuracy, ranked[0].scores.n)
    if ranked[0].scores.accuracy == ranked[1].scores.accuracy:
        return f"None leads: {best} and {second} are equally accurate, {accuracy}."
    says = f"{best} is the most accurate, {accuracy}"
    names = {ranked[0].name, ranked[1].name}
    pair = next((pair for pair in facts.pairs if {pair.first, pair.second} == names), None)
    if pair is None:
        return f"{says}; no image was scored by both it and {second}."
    chance = "is more than chance" if pair.clear else "may be chance"
    return f"{says}; its lead over {second} {chance} (McNemar p {text.p_equals(pair.adjusted)}{_adjusted(facts)})."


def _adjusted(facts: ComparisonFacts) -> str:
    return f", adjusted for {len(facts.pairs)} pairs" if len(facts.pairs) > 1 else ""


def _warnings(facts: ComparisonFacts) -> tuple[Note, ...]:
    notes = []
    if len({run.data for run in facts.runs}) > 1:
        notes.append(Note("These runs were made from different images.", "warning"))
    elif not facts.same_images:
        notes.append(Note("These runs were scored on different images: their accuracies do not compare.", "warning"))
    notes += [Note(_twins(pair)) for pair in facts.pairs if pair.twins]
    return tuple(notes)


def _twins(pair: PairFacts) -> str:
    return (
        f"{text.name(pair.first)} and {text.name(pair.second)} are the same configuration on two backends: they say "
        f"the same of {pair.same:,} of {pair.common:,} images. Random streams differ between backends, as two seeds do."
    )


def _scores_table(facts: ComparisonFacts) -> Table:
    fewest = min(filter(None, (run.scores.n for run in facts.runs)), default=0)  # one number of decimals a column
    times = text.durations([sum(run.stages.values()) if run.stages else None for run in facts.runs])
    rows = (
        (
            text.name(run.name),
            run.backend or "–",
            run.scores.split or "not scored",
            f"{run.scores.n:,}",
            text.share(run.scores.accuracy, fewest),
            text.interval(run.scores.interval, fewest),
            _three(run.scores.macro_f1),
            _three(run.scores.log_loss),
            text.share(run.scores.calibration_error, fewest),
            time,
        )
        for run, time in zip(facts.runs, times, strict=True)
    )
    head = ("run", "backend", "on", "images", "accuracy", "95% interval", "macro F1", "log loss", "calibration error")
    return Table("All scores", (*head, "time"), tuple(rows))


def _three(value: float | None) -> str:
    return "–" if value is None else f"{abs(value):.3f}"  # a loss of 0 is recorded as -0.0


def _setting(value: str) -> str:
    """A setting's value, numbers to four digits."""
    try:
        return value if value.isdigit() else f"{float(value):.4g}"
    except ValueError:
        return text.name(text.without_folders(value), 40)


def _settings_table(facts: ComparisonFacts) -> tuple[Table, ...]:
    if not facts.differing:
        return ()
    rows = tuple((key, *map(_setting, values)) for key, values in facts.differing)
    return (Table("Settings that differ", ("setting", *(text.name(run.name) for run in facts.runs)), rows),)


def differences_section(facts: ComparisonFacts, album: Mapping[str, bytes]) -> Section:
    """Pairs of runs, then images; `album` maps the paths of all runs to thumbnails."""
    id, title = "disagreements", "Where they disagree"
    if not facts.pairs:
        return missing_section(id, title, "No image was scored by more than one of these runs.")
    rows = tuple(
        (
            f"{text.name(pair.first)} / {text.name(pair.second)}",
            f"{pair.common:,}",
            f"{pair.same:,}",
            f"{pair.only_first:,}",
            f"{pair.only_second:,}",
            text.points(pair.difference),
            f"{text.points(pair.interval[0])} to {text.points(pair.interval[1])}",
            text.p_value(pair.adjusted),
            "more than chance" if pair.clear else "may be chance",
        )
        for pair in facts.pairs
    )
    note = NOTE + (MANY.format(pairs=len(facts.pairs)) if len(facts.pairs) > 1 else "")
    table = Table("Two by two, on the same images", HEAD, rows, note)
    pairs = _matrix(facts, table) if len(facts.runs) > 2 else table
    if not facts.disagreements:
        alike = Note("On the images that all were scored on, all are right or wrong together.")
        return Section(id, title, (pairs, alike))
    return Section(id, title, (pairs, _browser(facts, album)))


# === Matrix of differences ===


def _matrix(facts: ComparisonFacts, table: Table) -> Chart:
    clear = sum(pair.clear for pair in facts.pairs)
    differ = f"{clear} {'pair differs' if clear == 1 else 'pairs differ'}" if clear else "no pair differs"
    see = (
        "Accuracy of the row minus that of the column, in points on the images that both were scored on, with the 95% "
        f"interval of the pair alone. Of {len(facts.pairs)} pairs {differ} by more than chance explains, marked with a "
        "star (McNemar's test, p adjusted by Holm)."
    )
    return Chart("differences-figure", "Differences", see, differences_figure(facts), table)


def differences_figure(facts: ComparisonFacts) -> go.Figure:
    """Differences of all pairs of runs, row minus column."""
    names = figure_names(facts)
    place = {run.name: k for k, run in enumerate(facts.runs)}
    cells: list[list[float | None]] = [[None] * len(names) for _ in names]
    words = [[""] * len(names) for _ in names]
    for pair in facts.pairs:
        first, second = place[pair.first], place[pair.second]
        low, high = pair.interval
        for row, column, value, ends in ((first, second, 1, (low, high)), (second, first, -1, (-high, -low))):
            cells[row][column] = 100 * value * pair.difference
            words[row][column] = _cell(value * pair.difference, ends, pair.clear, len(names) <= TEXTS)
    most = max((abs(value) for row in cells for value in row if value is not None), default=0.0) or 1.0
    axis = {"type": "category", "dtick": 1, "showgrid": False}
    figure = new_figure(
        110 + (58 if len(names) <= TEXTS else 34) * len(names),
        xaxis={**axis, "side": "top"},
        yaxis={**axis, "autorange": "reversed"},
    )
    figure.add_heatmap(
        x=names,
        y=names,
        z=cells,
        text=words,
        texttemplate="%{text}",
        colorscale=DIFFERENCES,
        zmin=-most,
        zmax=most,
        showscale=False,
        xgap=2,
        ygap=2,
        hovertemplate="%{y} minus %{x}: %{text}<extra></extra>",
    )
    return figure


def _cell(value: float, ends: tuple[float, float], clear: bool, whole: bool) -> str:
    number = _signed(value) + (" ★" if clear else "")
    return f"{number}<br>{_signed(ends[0])} to {_signed(ends[1])}" if whole else number


def _signed(value: float) -> str:
    return text.points(value).removesuffix(" points")


# === Images ===


def _browser(facts: ComparisonFacts, album: Mapping[str, bytes]) -> ImageBrowser:
    images = tuple(_thumbnail(one, facts, album) for one in facts.disagreements[:SHOWN])
    see = f"{text.count(facts.disagreed, 'image')} some runs get right and others wrong"
    see += f"; the {len(images)} most evenly split come first." if facts.disagreed > len(images) else "."
    classes = list(dict.fromkeys(name for one in facts.disagreements for name in (one.label, *one.predicted)))
    number = {label: k for k, label in enumerate(classes)}
    rows: list[list[Any]] = []
    pictures: list[str] = []
    left = PICTURE_BYTES
    for k, one in enumerate(facts.disagreements):
        picture, place = album.get(one.path), -1
        if k >= len(images) and picture is not None and len(picture) <= left:
            left, place = left - len(picture), len(pictures)
            pictures.append(base64.b64encode(picture).decode())
        said = [number[name] for name in one.predicted]
        sure = [round(share, 7) for share in one.confidence]
        rows.append([text.name(one.path, 160), number[one.label], said, sure, place])
    runs = [text.name(run.name, 48) for run in facts.runs]
    data = {"classes": [text.name(name, 48) for name in classes], "runs": runs, "grid": len(images), "images": rows}
    note = f"{len(rows):,} of {facts.disagreed:,} images are listed." if facts.disagreed > len(rows) else ""
    title = "Right for some, wrong for others"
    return ImageBrowser(
        "disagreements-photos", title, see, images, {**data, "pictures": pictures, "evidence": {}}, note, tuple(runs)
    )


def _thumbnail(one: Disagreement, facts: ComparisonFacts, album: Mapping[str, bytes]) -> Thumbnail:
    lines = tuple(
        f"{'✓' if predicted == one.label else '✗'} {text.name(run.name, 20)}: {text.name(predicted, 24)}"
        for run, predicted in zip(facts.runs, one.predicted, strict=True)
    )
    return Thumbnail(text.name(one.path), album.get(one.path), (f"is {text.name(one.label, 32)}", *lines))
