"""Importance of each setting, and its good values."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from reports import text
from reports.charts import BLUE, VERMILLION, bars_figure, new_figure
from reports.elements import Chart, Note, Table
from reports.trials.facts import TrialsFacts, cell, trials_table
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
    lines = "Each line is a trial, from setting to setting to its value at the right; the thick one is the best."
    charts: tuple[Chart | Note | None, ...] = (
        _importance_chart(facts),
        Chart("slices-figure", "One setting at a time", slices, slice_figures(facts, copy), table),
        _contour(facts, copy, table),
        Chart("parallel-figure", "All settings at once", lines, parallel_figure(facts, study), table),
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
    see = "The deeper the blue, the better; between the points it is interpolated: trust it near them only."
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


def parallel_figure(facts: TrialsFacts, study: StudyRecord) -> go.Figure:
    """Parallel coordinates, a line for each trial; the space of `study` includes every value."""
    ranked = facts.study.ranked()[:LINES]
    heights = [coordinates(study, name, ranked) for name in facts.settings]
    values = np.array([trial.values[0] for trial in ranked], dtype=float)
    heights.append((values - values.min()) / (np.ptp(values) or 1.0))
    good = heights[-1] if facts.higher else 1 - heights[-1]
    words = [text.label(name.rpartition(".")[2], 18) for name in facts.settings] + [text.label(facts.objective, 30)]
    figure = new_figure(
        380,
        showlegend=False,
        xaxis={
            "tickvals": list(range(len(words))),
            "ticktext": [word.replace("_", "<br>").replace(" ", "<br>") for word in words],
            "range": [-0.3, len(words) - 0.7],
        },
        yaxis={"tickvals": [0, 1], "ticktext": ["low", "high"], "range": [-0.06, 1.06]},
    )
    for k, trial in reversed(list(enumerate(ranked))):  # the best last, on top
        best = trial.number == facts.best
        figure.add_scatter(
            x=list(range(len(words))),
            y=[None if np.isnan(column[k]) else float(column[k]) for column in heights],
            mode="lines+markers",
            connectgaps=True,
            opacity=1.0 if best else 0.15 + 0.6 * float(good[k]),
            line={"color": VERMILLION if best else BLUE, "width": 3 if best else 1.5},
            marker={"size": 5},
            name=f"trial {trial.number}",
            customdata=[*(cell(trial.params.get(name)) for name in facts.settings), facts.shown(trial.values[0])],
            hovertemplate="%{customdata}",
        )
    return figure


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
