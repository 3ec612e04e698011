"""History of a study by trial, epoch and worker."""

from datetime import datetime
from typing import Any

import plotly.graph_objects as go

from reports import text
from reports.charts import BLUE, GREY, VERMILLION, bar, bars_figure, new_figure, share_axis, whole_ticks
from reports.elements import Chart
from reports.trials.facts import TrialsFacts, trials_table
from search.records import TrialRecord

CURVES = 60
MINUTES_FROM = 300  # seconds; a shorter timeline is in seconds
# state -> colour, symbol of its points, pattern of its bars
LOOKS = {
    "complete": (BLUE, "circle", ""),
    "pruned": (GREY, "x-thin-open", "/"),
    "failed": (VERMILLION, "x", "x"),
}


# === Trial by trial ===


def history_chart(facts: TrialsFacts) -> Chart:
    """Value of every trial, and the best so far."""
    counts = facts.study.counts
    see = f"{text.count(counts.complete, 'trial')} ran to the end"
    see += f", {counts.pruned} {'was' if counts.pruned == 1 else 'were'} stopped early" if counts.pruned else ""
    see += f"; the best is trial {facts.best}." if facts.best is not None else "."
    table = trials_table(facts, "Trials in order", facts.trials, ("trial", "state", facts.objective, "best so far"))
    return Chart("history-figure", "History", see, history_figure(facts), table)


def history_figure(facts: TrialsFacts) -> go.Figure:
    """Value of every trial in order, and the best so far."""
    figure = new_figure(xaxis={"title": "trial", "dtick": whole_ticks(len(facts.study.trials))}, yaxis=facts.axis)
    for state, (colour, symbol, _) in LOOKS.items():
        numbers = [trial.number for trial in facts.trials if trial.state == state and trial.number in facts.values]
        if numbers:
            figure.add_scatter(
                x=numbers,
                y=[facts.values[number] for number in numbers],
                mode="markers",
                name=state,
                marker={"color": colour, "size": 9, "symbol": symbol, "line": {"width": 2, "color": colour}},
                hovertemplate=f"trial %{{x}}: %{{y:{facts.digits}}}",
            )
    figure.add_scatter(
        x=list(facts.best_so_far),
        y=list(facts.best_so_far.values()),
        mode="lines",
        name="best so far",
        line={"color": VERMILLION, "width": 2, "shape": "hv", "dash": "dash"},
        hoverinfo="skip",
    )
    return figure


# === Epoch by epoch ===


def epochs_chart(facts: TrialsFacts) -> tuple[Chart, ...]:
    """Validation accuracy over the epochs, where any were recorded."""
    trials = _with_epochs(facts)
    if not trials:
        return ()
    pruned = sum(trial.state == "pruned" for trial in trials)
    crossed = "the one that ends in a cross was" if pruned == 1 else f"the {pruned} that end in a cross were"
    see = "Each line is a trial, the best one thick" + (f"; {crossed} pruned." if pruned else ".")
    columns = ("trial", "state", "epochs", "last validation accuracy")
    table = trials_table(facts, "Where each trial ended", trials, columns)
    return (Chart("epochs-figure", "Epoch by epoch", see, epochs_figure(facts), table),)


def epochs_figure(facts: TrialsFacts) -> go.Figure:
    """Validation accuracy of the trials by epoch; pruned ones end early."""
    trials = _with_epochs(facts)
    longest = max((trial.history.records[-1].epoch for trial in trials), default=1)
    figure = new_figure(
        showlegend=False,
        xaxis={"title": "epoch", "dtick": whole_ticks(longest)},
        yaxis=share_axis("validation accuracy"),
    )
    for trial in reversed(trials):
        figure.add_scatter(
            x=[record.epoch for record in trial.history],
            y=[record.val_accuracy for record in trial.history],
            mode="lines+markers",
            name=f"trial {trial.number}, {trial.state}",
            hovertemplate="epoch %{x}: %{y:.1%}",
            **_curve(trial, trial.number == facts.best),
        )
    return figure


def _curve(trial: TrialRecord, best: bool) -> dict[str, Any]:
    """Style of a curve: the best thick, a pruned one dotted to a cross."""
    pruned = trial.state == "pruned"
    colour = VERMILLION if best else BLUE if trial.state == "complete" else GREY
    between = len(trial.history) - 1
    return {
        "line": {"color": colour, "width": 3 if best else 1.2, "dash": "dot" if pruned else "solid"},
        "marker": {
            "size": [4] * between + [9 if pruned else 4],
            "symbol": ["circle"] * between + ["x" if pruned else "circle"],
        },
    }


def _with_epochs(facts: TrialsFacts) -> list[TrialRecord]:
    """Trials with epochs, at most CURVES: the best, then the unfinished."""
    trials = (*facts.study.ranked(), *(trial for trial in facts.study.trials if trial.state != "complete"))
    measured = (trial for trial in trials if any(record.val_accuracy is not None for record in trial.history))
    return list(measured)[:CURVES]


# === Worker by worker ===


def timeline_chart(facts: TrialsFacts) -> tuple[Chart, ...]:
    """Trials of each worker over time, where times were recorded."""
    timed = [trial for trial in facts.study.trials if trial.started and trial.seconds is not None]
    if not timed:
        return ()
    busy = sum(trial.seconds or 0.0 for trial in timed)
    workers = text.count(max(1, len(facts.workers)), "worker")
    see = f"{workers} spent {text.seconds(busy)} on {text.count(len(timed), 'trial')}; a gap is a worker that waited."
    table = trials_table(facts, "When each trial ran", timed, ("trial", "worker", "began", "took", "state"))
    return (Chart("timeline-figure", "Timeline", see, timeline_figure(facts, timed), table),)


def timeline_figure(facts: TrialsFacts, timed: list[TrialRecord]) -> go.Figure:
    """Lane for each worker, bar for each trial; `timed`, at least one, have a start and a duration."""
    started = {trial.number: datetime.fromisoformat(trial.started or "") for trial in timed}
    begin = min(started.values())
    since = {number: (moment - begin).total_seconds() for number, moment in started.items()}
    long = max(since[trial.number] + (trial.seconds or 0.0) for trial in timed) >= MINUTES_FROM
    unit = 60.0 if long else 1.0
    lanes = {worker: f"worker {place}" for place, worker in enumerate(facts.workers, start=1)}
    axis = {"title": f"{'minutes' if long else 'seconds'} from the start"}
    figure = bars_figure(max(1, len(lanes)), 40, barmode="overlay", xaxis=axis)
    for state, (colour, _, pattern) in LOOKS.items():
        trials = [trial for trial in timed if trial.state == state]
        if trials:
            figure.add_bar(
                y=[lanes.get(trial.worker or "", "worker") for trial in trials],
                x=[(trial.seconds or 0.0) / unit for trial in trials],
                base=[since[trial.number] / unit for trial in trials],
                name=state,
                orientation="h",
                marker={**bar(colour, pattern), "line": {"color": "white", "width": 1}},
                customdata=[f"trial {trial.number}: {text.seconds(trial.seconds)}" for trial in trials],
                hovertemplate="%{customdata}",
            )
    return figure
