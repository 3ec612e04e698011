"""What mattered: importance of each setting, and where the good values lie."""

import numpy as np
import plotly.graph_objects as go

from reports import text
from reports.charts import BLUE, GREY, SHADES, STATES, VERMILLION, bar_height, log_axis, names_axis, new_figure
from reports.elements import Chart, Note, Table
from reports.trials.facts import (
    TABLE,
    TrialPoint,
    TrialsFacts,
    by_number,
    cell,
    coordinates,
    digits,
    number,
    objective_axis,
    plain,
    ranked_points,
)
from search.importance import FEWEST
from search.records import StudyRecord, TrialRecord, Value

LINES = 100
TREES = 100
GRID = 30  # places each way at which the forest is asked
SLICE_HEIGHT = 250
DEPTH, RATE = "phases.1.unfreeze_depth", "phases.1.learning_rate"


# === Figures ===


def importance_figure(facts: TrialsFacts) -> go.Figure:
    """How much each setting explains."""
    figure = new_figure(
        bar_height(len(facts.importance)),
        showlegend=False,
        xaxis={"title": {"text": "share"}, "tickformat": ".0%", "range": [0, 1]},
        yaxis=names_axis(),
    )
    figure.add_bar(
        y=text.labels([name for name, _ in facts.importance], 32),
        x=[share for _, share in facts.importance],
        orientation="h",
        marker={"color": BLUE},
        hovertemplate="%{y}: %{x:.0%}<extra></extra>",
    )
    return figure


def slice_figures(facts: TrialsFacts) -> tuple[go.Figure, ...]:
    """The objective over each setting."""
    return tuple(_slice(facts, name) for name in facts.settings)


def _slice(facts: TrialsFacts, name: str) -> go.Figure:
    chosen = _measured_with(facts, name)
    category = "choices" in facts.study.space[name]
    figure = new_figure(SLICE_HEIGHT, showlegend=False, yaxis={**objective_axis(facts), "nticks": 5})
    figure.update_layout(xaxis=_axis_of(facts, name, [value for value, _ in chosen]))
    figure.add_scatter(
        x=[cell(value) if category else value for value, _ in chosen],
        y=[point.value for _, point in chosen],
        mode="markers",
        marker={
            "color": [BLUE if point.state == "complete" else GREY for _, point in chosen],
            "symbol": [STATES[point.state] for _, point in chosen],
            "size": 8,
        },
        customdata=[f"trial {point.number}, {point.state}" for _, point in chosen],
        hovertemplate=f"%{{x}}: %{{y:{digits(facts)}}}<br>%{{customdata}}<extra></extra>",
    )
    return figure


def _measured_with(facts: TrialsFacts, name: str) -> list[tuple[Value, TrialPoint]]:
    """(value of the setting, trial) of all trials that have both the setting and a result."""
    return [
        (trial.params[name], point)
        for trial, point in zip(by_number(facts), facts.points, strict=True)
        if name in trial.params and point.value is not None and point.state in STATES
    ]


def _axis_of(facts: TrialsFacts, name: str, values: list[Value]) -> dict:
    space, title = facts.study.space[name], text.label(name, 30)
    if "choices" in space:
        return {"title": {"text": title}, "type": "category"}
    numbers = [float(value) for value in values if not isinstance(value, str)]
    if space.get("log") and numbers:
        return log_axis(title, min(numbers), max(numbers))
    whole = isinstance(space["low"], int) and space["high"] - space["low"] <= 12
    return {"title": {"text": title}, "nticks": 6, **({"dtick": 1} if whole else {})}


def _fine_tuned(study: StudyRecord) -> list[TrialRecord]:
    """Complete trials with a depth and a learning rate."""
    complete = [trial for trial in study.trials if trial.state == "complete" and trial.values]
    return [trial for trial in complete if DEPTH in trial.params and RATE in trial.params]


def contour_figure(facts: TrialsFacts) -> go.Figure | None:
    """The objective over unfreeze depth and learning rate, as a forest sees it; None where there are too few trials."""
    trials = _fine_tuned(facts.study)
    depths, rates = ([float(trial.params[name]) for trial in trials] for name in (DEPTH, RATE))
    if len(trials) < FEWEST or len(set(depths)) < 2 or len(set(rates)) < 2:
        return None
    from sklearn.ensemble import RandomForestRegressor

    values = [trial.values[0] for trial in trials]
    forest = RandomForestRegressor(TREES, random_state=0).fit(np.column_stack([depths, np.log(rates)]), values)
    across = np.linspace(min(depths), max(depths), GRID)
    up = np.geomspace(min(rates), max(rates), GRID)
    grid = np.array([(x, np.log(y)) for y in up for x in across])
    figure = new_figure(
        400,
        showlegend=False,
        xaxis={"title": {"text": "unfreeze depth"}, "dtick": 1 if max(depths) - min(depths) <= 12 else None},
        yaxis=log_axis("learning rate", min(rates), max(rates)),
    )
    surface = {
        "x": across.tolist(),
        "y": up.tolist(),
        "z": forest.predict(grid).reshape(GRID, GRID).tolist(),
        "hoverinfo": "skip",
    }
    bar = {"tickformat": digits(facts), "thickness": 12, "nticks": 6}
    # filled contours would lie upon each other, and their see-through colours add up
    figure.add_heatmap(**surface, colorscale=SHADES, reversescale=not facts.higher, colorbar=bar)
    figure.add_contour(**surface, contours={"coloring": "none"}, line={"color": GREY, "width": 1}, showscale=False)
    figure.add_scatter(
        x=depths,
        y=rates,
        mode="markers",
        marker={"color": VERMILLION, "size": 9, "line": {"color": "white", "width": 1}},
        customdata=[(f"{trial.number}", f"{trial.values[0]:{digits(facts)}}") for trial in trials],
        hovertemplate="trial %{customdata[0]}: %{customdata[1]}<br>depth %{x}, rate %{y:.2g}<extra></extra>",
    )
    return figure


def parallel_figure(facts: TrialsFacts) -> go.Figure:
    """Each trial a line across all settings, to its value; plotly's own kind needs `unsafe-eval`, so drawn as lines."""
    names = list(facts.settings)
    chosen = ranked_points(facts)[:LINES]
    trials = {trial.number: trial for trial in facts.study.trials}
    places = [coordinates(facts.study, name, [trials[point.number] for point in chosen]) for name in names]
    values = np.array([point.value for point in chosen], dtype=float)
    spread = np.ptp(values) or 1.0
    good = (values - values.min()) / spread if facts.higher else (values.max() - values) / spread
    words = [text.label(name.rpartition(".")[2], 18) for name in names] + [text.label(facts.objective, 30)]
    ticks = [one.replace("_", "<br>").replace(" ", "<br>") for one in words]
    figure = new_figure(
        380,
        showlegend=False,
        xaxis={
            "tickvals": list(range(len(ticks))),
            "ticktext": ticks,
            "range": [-0.3, len(ticks) - 0.7],
        },
        yaxis={"tickvals": [0, 1], "ticktext": ["low", "high"], "range": [-0.06, 1.06]},
    )
    for k in reversed(range(len(chosen))):  # the best last, on top
        heights = [*(float(column[k]) for column in places), float((values[k] - values.min()) / spread)]
        best = chosen[k].number == facts.best
        figure.add_scatter(
            x=list(range(len(ticks))),
            y=[None if np.isnan(height) else height for height in heights],
            mode="lines+markers",
            connectgaps=True,
            opacity=1.0 if best else 0.15 + 0.6 * float(good[k]),
            line={"color": VERMILLION if best else BLUE, "width": 3 if best else 1.5},
            marker={"size": 5},
            name=f"trial {chosen[k].number}",
            customdata=[
                *(cell(trials[chosen[k].number].params.get(name)) for name in names),
                number(facts, values[k]),
            ],
            hovertemplate="%{customdata}",
        )
    return figure


# === Charts ===


def settings_charts(facts: TrialsFacts) -> tuple[Chart | Note, ...]:
    """Importance, slices, contour, parallel coordinates: as far as the trials go."""
    table = _settings_table(facts)
    elements: list[Chart | Note] = [_importance(facts)]
    see = "Each point is a trial: look for a side on which the points lie higher."
    if not facts.higher:
        see = see.replace("higher", "lower")
    if facts.settings:
        elements.append(Chart("slices-figure", "One setting at a time", see, slice_figures(facts), table))
    contour = contour_figure(facts)
    if contour is not None:
        see = (
            "The deeper the blue, the better a forest of these two settings expects it; trust it near the points only."
        )
        elements.append(Chart("contour-figure", "Unfreeze depth against learning rate", see, contour, table))
    if ranked_points(facts) and facts.settings:
        see = "Each line is a trial, from setting to setting to its value at the right; the thick one is the best."
        elements.append(Chart("parallel-figure", "All settings at once", see, parallel_figure(facts), table))
    return tuple(elements)


def _importance(facts: TrialsFacts) -> Chart | Note:
    if not facts.importance:
        return Note("Too few complete trials, or all alike: nothing can be said of what mattered.", "missing")
    name, share = facts.importance[0]
    complete = text.count(facts.study.counts.complete, "complete trial")
    see = (
        f"What sets the best quarter of the trials apart is to {share:.0%} {text.name(name)}; from {complete}, a hint."
    )
    rows = tuple((text.name(one), text.share(part)) for one, part in facts.importance)
    table = Table("Importance of each setting (PED-ANOVA)", ("setting", "share"), rows)
    return Chart("importance-figure", "Importance", see, importance_figure(facts), table)


def _settings_table(facts: TrialsFacts) -> Table:
    names = list(facts.settings)
    trials = {trial.number: trial for trial in facts.study.trials}
    rows = tuple(
        (
            str(point.number),
            *(plain(trials[point.number].params.get(name)) for name in names),
            number(facts, point.value),
        )
        for point in ranked_points(facts)[:TABLE]
    )
    return Table("Complete trials, the best first", ("trial", *map(text.name, names), facts.objective), rows)
