"""Importance of each setting, and its good values."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from reports import text
from reports.charts import BLUE, GREY, ORANGE, VERMILLION, bars_figure, log_axis, new_figure
from reports.elements import Chart, Note, ParallelAxis, ParallelChart, Table
from reports.trials.facts import TrialsFacts, cell, plain, trials_table
from reports.trials.optuna_figures import contour_figure, depth_and_rate, has_contour, slice_figures, widened
from search.importance import FEWEST, in_memory
from search.records import StudyRecord, TrialRecord

if TYPE_CHECKING:
    import optuna

LINES = 100


def settings_charts(facts: TrialsFacts) -> tuple[Chart | Note, ...]:
    """Importance, slices, contour, parallel coordinates, as the number of trials allows."""
    ranked = facts.study.ranked()
    if not ranked or not facts.settings:
        return (_importance_chart(facts),)
    columns = ("trial", *facts.settings, facts.objective)
    table = trials_table(facts, "Complete trials, the best first", ranked, columns)
    study = widened(facts.study)
    copy = in_memory(study)
    side = "higher" if facts.higher else "lower"
    slices = f"Each point is a trial, empty if early and full if late: look for a side on which the points lie {side}."
    charts: tuple[Chart | Note | None, ...] = (
        _importance_chart(facts),
        Chart("slices-figure", "One setting at a time", slices, slice_figures(facts, copy), table),
        _contour(facts, copy, table),
        _parallel_chart(facts, study),
    )
    return tuple(chart for chart in charts if chart is not None)


def _contour(facts: TrialsFacts, copy: "optuna.Study", table: Table) -> Chart | Note | None:
    axes = depth_and_rate(facts.settings)
    if axes is None or facts.study.counts.complete < FEWEST:  # the note on importances says so
        return None
    title = "Unfreeze depth against learning rate"
    if not has_contour(axes, facts.study.ranked()):
        names = " and ".join(map(text.name, axes))
        return Note(
            f"{title}: fewer than {FEWEST} complete trials have {names}, or one of these never varied.", "missing"
        )
    see = "The more blue, the better; between the points it is interpolated: trust it near them only."
    return Chart("contour-figure", title, see, contour_figure(facts, copy, axes), table)


# === Importance ===


def _importance_chart(facts: TrialsFacts) -> Chart | Note:
    complete = facts.study.counts.complete
    if complete < FEWEST:
        return Note(
            f"{text.count(complete, 'complete trial')}: too few to say which setting mattered, or to draw one over "
            f"another. Importances and contours take {FEWEST}; `transferkit study run` goes on.",
            "missing",
        )
    if not facts.importance:
        return Note("All trials are alike: nothing can be said of what mattered.", "missing")
    name, share = facts.importance[0]
    see = (
        f"What sets the best quarter of the trials apart is to {share:.0%} {text.name(name)}; from {complete} complete "
        "trials, a hint."
    )
    rows = tuple((text.name(one), text.share(part)) for one, part in facts.importance)
    table = Table("Importance of each setting (PED-ANOVA)", ("setting", "share"), rows)
    return Chart("importance-figure", "Importance", see, importance_figure(facts), table)


def importance_figure(facts: TrialsFacts) -> go.Figure:
    """Importance of each setting."""
    axis = {"title": "share", "tickformat": ".0%", "range": [0, 1]}
    figure = bars_figure(len(facts.importance), showlegend=False, xaxis=axis)
    figure.add_bar(
        y=text.labels([name for name, _ in facts.importance], 32),
        x=[share for _, share in facts.importance],
        orientation="h",
        marker={"color": BLUE},
        hovertemplate="%{y}: %{x:.0%}<extra></extra>",
    )
    return figure


# === All settings at once ===


def _parallel_chart(facts: TrialsFacts, study: StudyRecord) -> ParallelChart:
    trials = parallel_trials(facts)
    pruned = sum(trial.state == "pruned" for trial in trials)
    see = "Each line is a trial, from setting to setting to its value at the right; the thick one is the best"
    see += ", the blue ones are the better half of the complete trials, the grey ones the others"
    see += f", the dashed {'one was' if pruned == 1 else 'ones were'} pruned" if pruned else ""
    see += ". Drag the handles of an axis to keep the trials between them."
    columns = ("trial", "state", *facts.settings, facts.objective)
    table = trials_table(facts, "Trials of the figure", trials, columns)
    axes = tuple(_parallel_axis(study, name) for name in facts.settings)
    low, high = _ends(facts, trials)
    scale = 100.0 if facts.study.objectives[0] == "accuracy" else 1.0
    last = ParallelAxis(f"{facts.objective}{' in percent' if scale > 1 else ''}", scale * low, scale * high)
    figure = parallel_figure(facts, study)
    return ParallelChart("parallel-figure", "All settings at once", see, figure, table, (*axes, last))


def _parallel_axis(study: StudyRecord, name: str) -> ParallelAxis:
    space = study.space[name]
    if "choices" in space:
        return ParallelAxis(text.name(name), choices=tuple(plain(choice) for choice in space["choices"]))
    return ParallelAxis(text.name(name), float(space["low"]), float(space["high"]), bool(space.get("log")))


def parallel_trials(facts: TrialsFacts) -> list[TrialRecord]:
    """Trials of the figure, the best first: complete ones, then pruned ones that were measured, at most LINES each."""
    pruned = [trial for trial in facts.trials if trial.state == "pruned" and trial.number in facts.values]
    return [*facts.study.ranked()[:LINES], *pruned[:LINES]]


def _ends(facts: TrialsFacts, trials: Sequence[TrialRecord]) -> tuple[float, float]:
    values = [facts.values[trial.number] for trial in trials]
    return min(values), max(values)


def parallel_figure(facts: TrialsFacts, study: StudyRecord) -> go.Figure:
    """Parallel coordinates, a line for each trial; the space of `study` includes every value."""
    trials = parallel_trials(facts)
    heights = [coordinates(study, name, trials) for name in facts.settings]
    low, high = _ends(facts, trials)
    values = np.array([facts.values[trial.number] for trial in trials], dtype=float)
    heights.append((values - low) / ((high - low) or 1.0))
    complete = sum(trial.state == "complete" for trial in trials)
    words = [text.label(name.rpartition(".")[2], 18) for name in facts.settings] + [text.label(facts.objective, 30)]
    figure = new_figure(
        420,
        showlegend=False,
        margin={"l": 44, "r": 44, "t": 16, "b": 48},
        xaxis={
            "tickvals": list(range(len(words))),
            "ticktext": [word.replace("_", "<br>").replace(" ", "<br>") for word in words],
            "range": [-0.45, len(words) - 0.55],
            "showgrid": False,
            "zeroline": False,
        },
        yaxis={"visible": False, "range": [-0.1, 1.1]},
    )
    for axis in range(len(words)):
        figure.add_shape(type="line", x0=axis, x1=axis, y0=0, y1=1, line={"color": GREY, "width": 1}, layer="below")
    for axis, ticks in enumerate([*(_ticks(study, name) for name in facts.settings), _value_ticks(facts, low, high)]):
        for height, tick in ticks:
            figure.add_annotation(
                x=axis, y=height, text=tick, showarrow=False, xanchor="right", xshift=-6, font={"size": 11}
            )
    for k, trial in reversed(list(enumerate(trials))):  # the best last, on top
        settings = [f"{text.label(name, 30)}: {cell(trial.params.get(name))}" for name in facts.settings]
        told = [f"trial {trial.number}, {trial.state}: {facts.shown(facts.values[trial.number])}", *settings]
        figure.add_scatter(
            x=list(range(len(words))),
            y=[None if np.isnan(column[k]) else float(column[k]) for column in heights],
            mode="lines+markers",
            connectgaps=True,
            marker={"size": 5},
            name=f"trial {trial.number}",
            customdata=["<br>".join(told)] * len(words),
            hovertemplate="%{customdata}<extra></extra>",
            **_line(trial, trial.number == facts.best, 2 * k < complete),
        )
    return figure


def _line(trial: TrialRecord, best: bool, good: bool) -> dict[str, Any]:
    """Style of a line; each colour has a contrast of 3:1 with the light and the dark page."""
    if best:
        return {"line": {"color": VERMILLION, "width": 4}}
    if trial.state == "pruned":
        return {"line": {"color": ORANGE, "width": 1.2, "dash": "dash"}}
    return {"line": {"color": BLUE if good else GREY, "width": 1.8 if good else 1.2}}


def _ticks(study: StudyRecord, name: str) -> list[tuple[float, str]]:
    """Heights and texts of an axis' ticks."""
    space = study.space[name]
    if "choices" in space:
        most = max(1, len(space["choices"]) - 1)
        return [(k / most, text.label(plain(choice), 10)) for k, choice in enumerate(space["choices"])]
    low, high = float(space["low"]), float(space["high"])
    if high == low:
        return [(0.0, plain(space["low"]))]
    if space.get("log"):
        shown = log_axis("", low, high)
        pairs = zip(shown["tickvals"], shown["ticktext"], strict=True)
        return [(math.log(v / low) / math.log(high / low), word) for v, word in pairs if low <= v <= high]
    whole = all(isinstance(space[end], int) for end in ("low", "high"))
    return [((v - low) / (high - low), text.number(int(v) if whole else v)) for v in _round_steps(low, high, whole)]


def _value_ticks(facts: TrialsFacts, low: float, high: float) -> list[tuple[float, str]]:
    if high == low:
        return [(0.0, facts.shown(low))]
    return [((value - low) / (high - low), facts.shown(value)) for value in _round_steps(low, high, False)]


def _round_steps(low: float, high: float, whole: bool) -> list[float]:
    """Round values from `low` to `high`, four to eight of them where there are so many."""
    step = 10.0 ** math.floor(math.log10((high - low) / 3))
    step = next(step * times for times in (1, 2, 2.5, 5, 10) if (high - low) / (step * times) <= 6)
    step = max(1.0, round(step)) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [round(step * k, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def coordinates(study: StudyRecord, name: str, trials: Sequence[TrialRecord]) -> np.ndarray:
    """Positions of the trials on a setting's axis, 0 to 1, by place in `choices` for a choice; NaN without a value."""
    space = study.space[name]
    given = [trial.params.get(name) for trial in trials]
    if "choices" in space:
        choices = list(space["choices"])
        places = [float(choices.index(value)) if value in choices else np.nan for value in given]
        low, high = 0.0, float(max(1, len(choices) - 1))
    else:
        scale = np.log if space.get("log") else float
        places = [np.nan if value is None else float(scale(float(value))) for value in given]
        low, high = float(scale(float(space["low"]))), float(scale(float(space["high"])))
    return (np.array(places, dtype=float) - low) / ((high - low) or 1.0)
