"""Slice and contour plots, Optuna's in our colours (why: docs/decisions/0012-study-figures.md), and Pareto front."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from reports import text
from reports.charts import BLUE, GREEN, GREY, SHADES, VERMILLION, log_axis, new_figure, whole_ticks
from reports.elements import Chart, Table
from reports.trials.facts import OBJECTIVES, TrialsFacts, cell
from search.importance import FEWEST
from search.records import StudyRecord, TrialRecord

if TYPE_CHECKING:
    import optuna


SLICE_HEIGHT = 250
_DEPTH = re.compile(r"phases\.(\d+)\.unfreeze_depth")


def slice_figures(facts: TrialsFacts, study: "optuna.Study") -> tuple[go.Figure, ...]:
    """Objective over each setting."""
    used = {name for trial in study.trials if trial.values for name in trial.params}
    return tuple(_slice(facts, study, name) for name in facts.settings if name in used)


def _slice(facts: TrialsFacts, study: "optuna.Study", name: str) -> go.Figure:
    from optuna.visualization import plot_slice

    (points,) = plot_slice(study, [name], target_name=facts.objective).data
    figure = new_figure(SLICE_HEIGHT, showlegend=False, yaxis={**facts.axis, "nticks": 5})
    figure.update_layout(xaxis=_axis(facts.study.space[name], name, points.x))
    points.update(
        marker={"size": 8, "colorscale": SHADES, "showscale": False, "line": {"color": BLUE, "width": 1.5}},
        hovertemplate=f"%{{x}}: %{{y:{facts.digits}}}<br>trial %{{marker.color}}<extra></extra>",
    )
    if "choices" in facts.study.space[name]:
        names = {repr(trial.params[name]): cell(trial.params[name]) for trial in study.trials if name in trial.params}
        points.x = [names[choice] for choice in points.x]
    return figure.add_trace(points)


def _axis(space: Mapping[str, Any], name: str, values: Sequence[Any]) -> dict[str, Any]:
    title = text.label(name, 30)
    if "choices" in space:
        return {"title": title, "type": "category"}
    if space.get("log"):
        return log_axis(title, min(values), max(values))
    whole = isinstance(space["low"], int) and space["high"] - space["low"] <= 12
    return {"title": title, "nticks": 6, **({"dtick": 1} if whole else {})}


def depth_and_rate(settings: Sequence[str]) -> tuple[str, str] | None:
    """Unfreeze depth and learning rate of the last phase that searches both; None if none does."""
    phases = [int(found[1]) for name in settings if (found := _DEPTH.fullmatch(name))]
    pairs = [(f"phases.{phase}.unfreeze_depth", f"phases.{phase}.learning_rate") for phase in sorted(phases)]
    return next((pair for pair in reversed(pairs) if pair[1] in settings), None)


def has_contour(axes: tuple[str, str], ranked: Sequence[TrialRecord]) -> bool:
    """Whether FEWEST complete trials or more have both values, and neither is always the same."""
    both = [[trial.params[name] for name in axes] for trial in ranked if set(axes) <= trial.params.keys()]
    return len(both) >= FEWEST and all(len(set(values)) > 1 for values in zip(*both, strict=True))


def contour_figure(facts: TrialsFacts, study: "optuna.Study", axes: tuple[str, str]) -> go.Figure:
    """Objective over `axes`: an unfreeze depth and a learning rate."""
    from optuna.visualization import plot_contour

    rate = axes[1]
    surface, points, *_ = plot_contour(study, list(axes), target_name=facts.objective).data
    log = facts.study.space[rate].get("log")
    rates = log_axis("learning rate", min(points.x), max(points.x)) if log else {"title": "learning rate"}
    figure = new_figure(
        400,
        showlegend=False,
        xaxis=rates,
        yaxis={"title": "unfreeze depth", "dtick": whole_ticks(max(points.y) - min(points.y))},
    )
    surface.update(
        colorscale=SHADES,
        colorbar={"title": None, "tickformat": facts.digits, "thickness": 12, "nticks": 6},
        line={"color": GREY, "width": 1},
    )
    drawn = [trial for trial in study.trials if trial.values and set(axes) <= trial.params.keys()]
    points.update(
        marker={"color": VERMILLION, "size": 9, "line": {"color": "white", "width": 1}},
        customdata=[(f"{trial.number}", facts.shown(trial.value)) for trial in drawn],
        hovertemplate="trial %{customdata[0]}: %{customdata[1]}<br>rate %{x:.2g}, depth %{y}<extra></extra>",
    )
    return figure.add_traces([surface, points])


def widened(study: StudyRecord) -> StudyRecord:
    """Study whose space is widened to the user's own configuration."""
    given = {name: [trial.params[name] for trial in study.trials if name in trial.params] for name in study.space}
    return replace(study, space={name: _room(space, given[name]) for name, space in study.space.items()})


def _room(space: Mapping[str, Any], values: Sequence[Any]) -> Mapping[str, Any]:
    if "choices" in space:
        return {"choices": list(dict.fromkeys((*space["choices"], *values)))}
    if "fixed" in space:
        return space
    log = space.get("log", False)
    ends = [space["low"], space["high"], *(value for value in values if not log or value > 0)]
    return {"low": min(ends), "high": max(ends), "log": log}


def pareto_chart(facts: TrialsFacts) -> Chart:
    """All complete trials, the Pareto front joined."""
    study, front = facts.study, facts.study.front()
    rows = tuple(
        (
            str(trial.number),
            *(text.number(value, 4) for value in trial.values),
            text.number(study.latency.get(trial.number)),
        )
        for trial in front
    )
    head = ("trial", *(OBJECTIVES[name] for name in study.objectives), "latency (ms an image)")
    count = text.count(len(front), "trial")
    see = f"{count} on the front: none can be bettered in one objective without losing in the other."
    return Chart("pareto-figure", "Trade-off", see, pareto_figure(facts, front), Table("The front", head, rows))


def pareto_figure(facts: TrialsFacts, front: list[TrialRecord]) -> go.Figure:
    """First two objectives against each other."""
    second = OBJECTIVES[facts.study.objectives[1]]
    figure = new_figure(xaxis={"title": second, "exponentformat": "SI"}, yaxis=facts.axis)
    looks = {
        "trials": (facts.study.ranked(), "markers", GREY, "circle"),
        "front": (front, "lines+markers", GREEN, "diamond"),
    }
    for name, (trials, mode, colour, symbol) in looks.items():
        ordered = sorted(trials, key=lambda trial: trial.values[1])
        figure.add_scatter(
            x=[trial.values[1] for trial in ordered],
            y=[trial.values[0] for trial in ordered],
            mode=mode,
            name=name,
            line={"color": colour, "shape": "hv"},
            marker={"color": colour, "size": 9, "symbol": symbol},
            customdata=[f"trial {trial.number}" for trial in ordered],
            hovertemplate=f"%{{customdata}}: %{{y:{facts.digits}}}, %{{x:,.3s}}<extra></extra>",
        )
    return figure
