"""Scores of the runs with their intervals, settings that differ, images on which they disagree."""

from collections.abc import Mapping

import plotly.graph_objects as go

from kit.significance import SIGNIFICANT
from reports import text
from reports.charts import BLUE, bars_figure, between, share_axis
from reports.compare.facts import ComparisonFacts, Disagreement, PairFacts, RunFacts, figure_names
from reports.elements import Chart, Note, Section, Table, Thumbnail, ThumbnailGrid, missing_section

HEAD = (
    "runs",
    "images in common",
    "same answer",
    "only the first right",
    "only the second right",
    "p",
    "difference",
)
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
        return text.name(value, 40)


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
            text.p_value(pair.adjusted),
            "more than chance" if pair.clear else "may be chance",
        )
        for pair in facts.pairs
    )
    note = NOTE + (MANY.format(pairs=len(facts.pairs)) if len(facts.pairs) > 1 else "")
    table = Table("Two by two, on the same images", HEAD, rows, note)
    images = tuple(_thumbnail(one, facts, album) for one in facts.disagreements)
    if not images:
        alike = Note("On the images that all were scored on, all are right or wrong together.")
        return Section(id, title, (table, alike))
    see = f"{text.count(facts.disagreed, 'image')} some runs get right and others wrong"
    see += f"; the {len(images)} most evenly split are shown." if facts.disagreed > len(images) else "."
    grid = ThumbnailGrid("disagreements-photos", "Right for some, wrong for others", see, images)
    return Section(id, title, (table, grid))


def _thumbnail(one: Disagreement, facts: ComparisonFacts, album: Mapping[str, bytes]) -> Thumbnail:
    lines = tuple(
        f"{'✓' if predicted == one.label else '✗'} {text.name(run.name, 20)}: {text.name(predicted, 24)}"
        for run, predicted in zip(facts.runs, one.predicted, strict=True)
    )
    return Thumbnail(text.name(one.path), album.get(one.path), (f"is {text.name(one.label, 32)}", *lines))
