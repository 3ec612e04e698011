"""Training curves of the runs, and the time of each stage."""

from typing import Any

import plotly.graph_objects as go

from reports import text
from reports.charts import SERIES, bar, bars_figure, new_figure, series, share_axis, whole_ticks
from reports.compare.facts import ComparisonFacts, figure_names
from reports.elements import Chart, Section, Table, limited_table, missing_section

EPOCHS_LISTED = 400


def overlay_figures(facts: ComparisonFacts) -> tuple[go.Figure, go.Figure]:
    """Validation accuracy and loss of every run, epoch by epoch."""
    return (
        _overlaid(facts, "val_accuracy", share_axis("validation accuracy"), ".1%"),
        _overlaid(facts, "val_loss", {"title": "validation loss (nats)", "rangemode": "tozero"}, ".3f"),
    )


def _overlaid(facts: ComparisonFacts, column: str, axis: dict[str, Any], digits: str) -> go.Figure:
    longest = max((len(run.history) for run in facts.runs), default=1)
    figure = new_figure(400, xaxis={"title": "epoch", "dtick": whole_ticks(longest)}, yaxis=axis)
    for place, (run, name) in enumerate(zip(facts.runs, figure_names(facts), strict=True)):
        figure.add_scatter(
            x=[record.epoch for record in run.history],
            y=[getattr(record, column) for record in run.history],
            name=name,
            mode="lines+markers",
            hovertemplate=f"epoch %{{x}}: %{{y:{digits}}}",
            **series(place),
        )
    return figure


def time_figure(facts: ComparisonFacts) -> go.Figure:
    """Seconds of each run, stacked by stage."""
    names = figure_names(facts)
    figure = bars_figure(len(names), 60, barmode="stack", xaxis={"title": "seconds"})
    patterns = ("", "/", ".", "x", "\\", "-", "+", "|")
    for place, stage in enumerate(_stages(facts)):
        figure.add_bar(
            y=names,
            x=[run.stages.get(stage, 0.0) for run in facts.runs],
            name=text.label(stage),
            orientation="h",
            marker=bar(SERIES[place % len(SERIES)], patterns[place % len(patterns)]),
            hovertemplate="%{y}: %{x:.1f} s",
        )
    return figure


def curves_section(facts: ComparisonFacts) -> Section:
    """Validation accuracy and loss of all runs, overlaid."""
    points = [(run.name, record) for run in facts.runs for record in run.history if record.val_accuracy is not None]
    if not points:
        return missing_section("curves", "Training", "No run recorded a validation accuracy.")
    # of the epochs that the runs kept: a run resolves ties by its validation loss
    measured = {name for name, _ in points}
    kept = [(run.name, run.history.best(run.monitor)) for run in facts.runs if run.name in measured]
    name, best = max(kept, key=lambda point: point[1].val_accuracy or 0.0)
    highest = f"Of the epochs that were kept, the highest validation accuracy, {text.share(best.val_accuracy)},"
    see = f"{highest} is that of {text.name(name)} at epoch {best.epoch}."
    rows = [
        (
            text.name(name),
            str(record.epoch),
            text.name(record.phase),
            text.share(record.val_accuracy),
            "–" if record.val_loss is None else f"{record.val_loss:.3f}",
        )
        for name, record in points
    ]
    head = ("run", "epoch", "phase", "validation accuracy", "validation loss")
    table = limited_table("Every epoch", head, rows, EPOCHS_LISTED, "more are in the runs' history.csv")
    title = "Validation accuracy and loss"
    chart = Chart("overlay-figure", title, see, overlay_figures(facts), table)
    return Section("curves", "Training", (chart,))


def time_section(facts: ComparisonFacts) -> Section:
    """Time of each stage."""
    timed = [run for run in facts.runs if run.stages]
    if not timed:
        return missing_section("time", "Time", "No run recorded its times.")
    fastest = min(timed, key=lambda run: sum(run.stages.values()))
    see = (
        f"{text.name(fastest.name)} took the least time, {text.seconds(sum(fastest.stages.values()))}; what an earlier "
        "run left in the stores costs a later one nothing."
    )
    stages = _stages(facts)
    columns = [text.durations([*map(run.stages.get, stages), sum(run.stages.values())]) for run in facts.runs]
    *rows, total = zip([*map(text.name, stages), "all"], *columns, strict=True)
    title = "Time of each stage"
    table = Table(title, ("stage", *(text.name(run.name) for run in facts.runs)), tuple(rows), foot=(total,))
    return Section("time", "Time", (Chart("time-figure", title, see, time_figure(facts), table),))


def _stages(facts: ComparisonFacts) -> list[str]:
    return list(dict.fromkeys(stage for run in facts.runs for stage in run.stages))
