"""A study as it went: trial by trial, epoch by epoch, worker by worker."""

from datetime import datetime

import plotly.graph_objects as go

from reports import text
from reports.charts import (
    BLUE,
    GREY,
    HEIGHT,
    STATES,
    VERMILLION,
    bar_height,
    names_axis,
    new_figure,
    share_axis,
    whole_ticks,
)
from reports.elements import Chart, Table
from reports.trials.facts import TABLE, TrialsFacts, digits, number, objective_axis, ranked_points
from search.records import TrialRecord

CURVES = 60
MINUTES_FROM = 300  # seconds; a shorter timeline is in seconds


# === Figures ===


def history_figure(facts: TrialsFacts) -> go.Figure:
    """Every trial in order, and the best so far."""
    figure = new_figure(
        HEIGHT, xaxis={"title": {"text": "trial"}, "dtick": whole_ticks(len(facts.points))}, yaxis=objective_axis(facts)
    )
    for state, colour in (("complete", BLUE), ("pruned", GREY)):
        chosen = [point for point in facts.points if point.state == state and point.value is not None]
        if chosen:
            figure.add_scatter(
                x=[point.number for point in chosen],
                y=[point.value for point in chosen],
                mode="markers",
                name=state,
                marker={"color": colour, "size": 9, "symbol": STATES[state], "line": {"width": 2, "color": colour}},
                hovertemplate=f"trial %{{x}}: %{{y:{digits(facts)}}}",
            )
    so_far = [point for point in facts.points if point.best is not None]
    figure.add_scatter(
        x=[point.number for point in so_far],
        y=[point.best for point in so_far],
        mode="lines",
        name="best so far",
        line={"color": VERMILLION, "width": 2, "shape": "hv", "dash": "dash"},
        hoverinfo="skip",
    )
    return figure


def curves_figure(facts: TrialsFacts) -> go.Figure:
    """Validation accuracy of the trials, epoch by epoch; pruned ones end early."""
    drawn = _drawn_curves(facts)
    longest = max((trial.history.records[-1].epoch for trial in drawn), default=1)
    figure = new_figure(
        HEIGHT,
        showlegend=False,
        xaxis={"title": {"text": "epoch"}, "dtick": whole_ticks(longest)},
        yaxis=share_axis("validation accuracy"),
    )
    for trial in reversed(drawn):
        best = trial.number == facts.best
        colour = VERMILLION if best else BLUE if trial.state == "complete" else GREY
        epochs = [record.epoch for record in trial.history]
        ends = [trial.state == "pruned" and epoch == epochs[-1] for epoch in epochs]
        figure.add_scatter(
            x=epochs,
            y=[record.val_accuracy for record in trial.history],
            mode="lines+markers",
            name=f"trial {trial.number}, {trial.state}",
            opacity=1.0 if best else 0.6,
            line={"color": colour, "width": 3 if best else 1.2, "dash": "dot" if trial.state == "pruned" else "solid"},
            marker={
                "size": [9 if end else 4 for end in ends],
                "symbol": ["x" if end else "circle" for end in ends],
            },
            hovertemplate="epoch %{x}: %{y:.1%}",
        )
    return figure


def _drawn_curves(facts: TrialsFacts) -> list[TrialRecord]:
    """Trials whose epochs are drawn: the best ones, then the pruned."""
    trials = {trial.number: trial for trial in facts.study.trials}
    complete = [trials[point.number] for point in ranked_points(facts)]
    others = [trial for trial in facts.study.trials if trial.state != "complete"]
    drawn = [trial for trial in (*complete, *others) if len(trial.history)]
    return [trial for trial in drawn if any(record.val_accuracy is not None for record in trial.history)][:CURVES]


def timeline_figure(facts: TrialsFacts) -> go.Figure:
    """When each worker ran which trial."""
    timed = _timed(facts)
    begin = min(datetime.fromisoformat(trial.started or "") for trial in timed)
    since = {trial.number: (datetime.fromisoformat(trial.started or "") - begin).total_seconds() for trial in timed}
    long = max(since[trial.number] + (trial.seconds or 0.0) for trial in timed) >= MINUTES_FROM
    unit = 60.0 if long else 1.0
    lanes = {worker: f"worker {place + 1}" for place, worker in enumerate(facts.workers)}
    figure = new_figure(
        bar_height(max(1, len(lanes))) + 40,
        barmode="overlay",
        xaxis={"title": {"text": f"{'minutes' if long else 'seconds'} from the start"}},
        yaxis=names_axis(),
    )
    for state, colour, pattern in (("complete", BLUE, ""), ("pruned", GREY, "/"), ("failed", VERMILLION, "x")):
        chosen = [trial for trial in timed if trial.state == state]
        if chosen:
            figure.add_bar(
                y=[lanes.get(trial.worker or "", "worker") for trial in chosen],
                x=[(trial.seconds or 0.0) / unit for trial in chosen],
                base=[since[trial.number] / unit for trial in chosen],
                name=state,
                orientation="h",
                marker={"color": colour, "pattern": {"shape": pattern}, "line": {"color": "white", "width": 1}},
                customdata=[f"trial {trial.number}: {text.seconds(trial.seconds)}" for trial in chosen],
                hovertemplate="%{customdata}",
            )
    return figure


def _timed(facts: TrialsFacts) -> list[TrialRecord]:
    return [trial for trial in facts.study.trials if trial.started and trial.seconds is not None]


# === Charts ===


def history_chart(facts: TrialsFacts) -> Chart:
    """The best so far."""
    rows = tuple(
        (str(point.number), point.state, number(facts, point.value), number(facts, point.best))
        for point in facts.points[:TABLE]
    )
    counts = facts.study.counts
    see = f"{text.count(counts.complete, 'trial')} ran to the end"
    see += f", {counts.pruned} {'was' if counts.pruned == 1 else 'were'} stopped early" if counts.pruned else ""
    see += f"; the best is trial {facts.best}." if facts.best is not None else "."
    table = Table("Trials in order", ("trial", "state", facts.objective, "best so far"), rows)
    return Chart("history-figure", "History", see, history_figure(facts), table)


def curves_chart(facts: TrialsFacts) -> tuple[Chart, ...]:
    """Epochs, where any were recorded."""
    drawn = _drawn_curves(facts)
    if not drawn:
        return ()
    rows = tuple(
        (str(trial.number), trial.state, str(len(trial.history)), text.share(last.val_accuracy))
        for trial in drawn
        for last in [trial.history.records[-1]]
    )
    pruned = sum(trial.state == "pruned" for trial in drawn)
    crossed = "the one that ends in a cross was" if pruned == 1 else f"the {pruned} that end in a cross were"
    see = "Each line is a trial, the best one thick" + (f"; {crossed} pruned." if pruned else ".")
    table = Table("Where each trial ended", ("trial", "state", "epochs", "validation accuracy"), rows)
    return (Chart("epochs-figure", "Epoch by epoch", see, curves_figure(facts), table),)


def timeline_chart(facts: TrialsFacts) -> tuple[Chart, ...]:
    """Workers, where times were recorded."""
    timed = _timed(facts)
    if not timed:
        return ()
    rows = tuple(
        (str(trial.number), text.name(trial.worker), text.name(trial.started), text.seconds(trial.seconds), trial.state)
        for trial in timed[:TABLE]
    )
    busy = sum(trial.seconds or 0.0 for trial in timed)
    workers = text.count(max(1, len(facts.workers)), "worker")
    see = f"{workers} spent {text.seconds(busy)} on {text.count(len(timed), 'trial')}; a gap is a worker that waited."
    table = Table("When each trial ran", ("trial", "worker", "began", "took", "state"), rows)
    return (Chart("timeline-figure", "Timeline", see, timeline_figure(facts), table),)
