"""A study: its trials over time, what mattered, and where the best ones lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import plotly.graph_objects as go

from reports import text
from reports.blocks import Chart, Note, Section, Table
from reports.charts import BLUE, GREEN, GREY, HEIGHT, SHADES, VERMILLION, bar_height, new_figure
from search.records import DIRECTIONS, StudyRecord, TrialRecord

CURVES = 60
LINES = 100
TABLE = 500
FEWEST = 4  # complete trials below which nothing is said of what mattered
TREES = 100
GRID = 30  # places each way at which the forest is asked
DEPTH, RATE = "phases.1.unfreeze_depth", "phases.1.learning_rate"
OBJECTIVES = {
    "accuracy": "validation accuracy",
    "log_loss": "validation log loss (nats)",
    "parameters": "parameters trained",
    "multiply_adds": "multiply-adds",
}
_SYMBOLS = {"complete": "circle", "pruned": "x-thin-open", "failed": "square-open"}


@dataclass(frozen=True)
class TrialPoint:
    """One trial as a point.

    Attributes:
        number: Its number.
        state: As recorded.
        value: The first objective: of a pruned trial the best epoch so far; None where nothing was measured.
        best: The best value of any complete trial up to this one; None before the first.
        own: It is the user's own configuration.
    """

    number: int
    state: str
    value: float | None
    best: float | None
    own: bool


@dataclass(frozen=True)
class TrialsFacts:
    """What a study's figures draw.

    Attributes:
        study: The record.
        objective: The first objective, in words.
        higher: Whether more of it is better.
        points: Every trial, by number.
        best: Number of the trial that is kept; None before one is complete.
        gain: How much better the best is than the user's own configuration; None where that is not known.
        importance: (setting, share of the explained variance), most important first; empty where there are too few.
        workers: Names of those that ran trials.
        front: Numbers of the Pareto front; empty for one objective.
    """

    study: StudyRecord
    objective: str
    higher: bool
    points: tuple[TrialPoint, ...]
    best: int | None
    gain: float | None
    importance: tuple[tuple[str, float], ...]
    workers: tuple[str, ...]
    front: tuple[int, ...]


def trials_facts(study: StudyRecord) -> TrialsFacts:
    """From the record of a study."""
    higher = DIRECTIONS[study.objectives[0]] == "maximize"
    points: list[TrialPoint] = []
    best: float | None = None
    for trial in sorted(study.trials, key=lambda trial: trial.number):
        value = _value(study, trial)
        if trial.state == "complete" and value is not None:
            best = value if best is None else (max if higher else min)(best, value)
        points.append(TrialPoint(trial.number, trial.state, value, best, trial.own))
    ranked = study.ranked()
    kept = study.best if study.best is not None else (ranked[0].number if ranked else None)
    own = next((point.value for point in points if point.own and point.state == "complete"), None)
    found = next((point.value for point in points if point.number == kept), None)
    return TrialsFacts(
        study=study,
        objective=OBJECTIVES[study.objectives[0]],
        higher=higher,
        points=tuple(points),
        best=kept,
        gain=None if own is None or found is None else (found - own if higher else own - found),
        importance=_importance(study),
        workers=tuple(dict.fromkeys(trial.worker for trial in study.trials if trial.worker)),
        front=tuple(trial.number for trial in study.front()) if len(study.objectives) > 1 else (),
    )


def _value(study: StudyRecord, trial: TrialRecord) -> float | None:
    if trial.values:
        return trial.values[0]
    kept = trial.kept(study.monitor)
    if trial.state != "pruned" or kept is None:
        return None
    return {"accuracy": kept.val_accuracy, "log_loss": kept.val_loss}.get(study.objectives[0])


def _importance(study: StudyRecord) -> tuple[tuple[str, float], ...]:
    """Share of the variance of the first objective that a random forest explains by each setting.

    The forest behind fANOVA (F. Hutter, H. Hoos, K. Leyton-Brown, ICML 2014), with its mean decrease in impurity (L.
    Breiman, Random forests, 2001). On few trials it is a hint.
    """
    complete = [trial for trial in study.trials if trial.state == "complete" and trial.values]
    settings = [name for name in study.space if len({trial.params.get(name) for trial in complete}) > 1]
    values = np.array([trial.values[0] for trial in complete])
    if len(complete) < FEWEST or not settings or np.ptp(values) == 0:
        return ()
    from sklearn.ensemble import RandomForestRegressor

    columns = [coordinates(study, name, complete) for name in settings]
    filled = [np.nan_to_num(column, nan=-1.0) for column in columns]
    forest = RandomForestRegressor(TREES, random_state=0).fit(np.column_stack(filled), values)
    shares = zip(settings, forest.feature_importances_.tolist(), strict=True)
    return tuple(sorted(shares, key=lambda item: -item[1]))


def coordinates(study: StudyRecord, name: str, trials: Sequence[TrialRecord]) -> np.ndarray:
    """Place of each trial on a setting's axis, 0 to 1 (logarithmic where the space is), NaN where it has no value.

    A choice counts by its place in `choices`.
    """
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


# === Figures ===


def history_figure(facts: TrialsFacts) -> go.Figure:
    """Every trial in order, and the best so far."""
    figure = new_figure(HEIGHT, xaxis={"title": {"text": "trial"}}, yaxis=_axis(facts))
    for state, colour in (("complete", BLUE), ("pruned", GREY)):
        chosen = [point for point in facts.points if point.state == state and point.value is not None]
        if chosen:
            figure.add_scatter(
                x=[point.number for point in chosen],
                y=[point.value for point in chosen],
                mode="markers",
                name=state,
                marker={"color": colour, "size": 9, "symbol": _SYMBOLS[state], "line": {"width": 2, "color": colour}},
                hovertemplate=f"trial %{{x}}: %{{y:{_digits(facts)}}}",
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


def importance_figure(facts: TrialsFacts) -> go.Figure:
    """How much each setting explains."""
    figure = new_figure(
        bar_height(len(facts.importance)),
        showlegend=False,
        xaxis=share_of_variance(),
        yaxis={"autorange": "reversed", "automargin": True, "type": "category"},
    )
    figure.add_bar(
        y=text.labels([name for name, _ in facts.importance], 32),
        x=[share for _, share in facts.importance],
        orientation="h",
        marker={"color": BLUE},
        hovertemplate="%{y}: %{x:.0%}<extra></extra>",
    )
    return figure


def share_of_variance() -> dict[str, Any]:
    """The axis of `importance_figure`."""
    return {"title": {"text": "share of the explained variance"}, "tickformat": ".0%", "range": [0, 1]}


def slices_figure(facts: TrialsFacts) -> go.Figure:
    """The objective over each setting."""
    names = list(facts.study.space)
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = new_figure(60 + 250 * rows, showlegend=False)
    for place, name in enumerate(names):
        axis = "" if place == 0 else str(place + 1)
        column, row = place % columns, place // columns
        space = facts.study.space[name]
        chosen = [
            (trial.params[name], point)
            for trial, point in zip(_by_number(facts), facts.points, strict=True)
            if name in trial.params and point.value is not None and point.state in ("complete", "pruned")
        ]
        kind = "category" if "choices" in space else "log" if space.get("log") else "linear"
        width, height = 1 / columns, 1 / rows
        # the last row's axis titles need room below, each row's own below it
        figure.update_layout(
            {
                f"xaxis{axis}": {
                    "title": {"text": text.label(name, 30)},
                    "type": kind,
                    "anchor": f"y{axis}",
                    "domain": [column * width + 0.04 * (column > 0), (column + 1) * width - 0.02],
                    "nticks": 5,
                    "exponentformat": "power",
                },
                f"yaxis{axis}": {
                    **_axis(facts, titled=column == 0),
                    "anchor": f"x{axis}",
                    "domain": [1 - (row + 1) * height + (0.16 if rows > 1 else 0), 1 - row * height],
                    "nticks": 5,
                },
            }
        )
        figure.add_scatter(
            x=[_cell(value) if kind == "category" else value for value, _ in chosen],
            y=[point.value for _, point in chosen],
            xaxis=f"x{axis}",
            yaxis=f"y{axis}",
            mode="markers",
            marker={
                "color": [BLUE if point.state == "complete" else GREY for _, point in chosen],
                "symbol": [_SYMBOLS[point.state] for _, point in chosen],
                "size": 8,
            },
            customdata=[f"trial {point.number}, {point.state}" for _, point in chosen],
            hovertemplate=f"%{{x}}: %{{y:{_digits(facts)}}}<br>%{{customdata}}<extra></extra>",
        )
    return figure


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
        yaxis={"title": {"text": "learning rate"}, "type": "log", "exponentformat": "power"},
    )
    surface = {
        "x": across.tolist(),
        "y": up.tolist(),
        "z": forest.predict(grid).reshape(GRID, GRID).tolist(),
        "hoverinfo": "skip",
    }
    bar = {"tickformat": _digits(facts), "thickness": 12}
    # filled contours would lie upon each other, and their see-through colours add up
    figure.add_heatmap(**surface, colorscale=SHADES, reversescale=not facts.higher, colorbar=bar)
    figure.add_contour(**surface, contours={"coloring": "none"}, line={"color": GREY, "width": 1}, showscale=False)
    figure.add_scatter(
        x=depths,
        y=rates,
        mode="markers",
        marker={"color": VERMILLION, "size": 9, "line": {"color": "white", "width": 1}},
        customdata=[(f"{trial.number}", f"{trial.values[0]:{_digits(facts)}}") for trial in trials],
        hovertemplate="trial %{customdata[0]}: %{customdata[1]}<br>depth %{x}, rate %{y:.2g}<extra></extra>",
    )
    return figure


def parallel_figure(facts: TrialsFacts) -> go.Figure:
    """Each trial a line across all settings, to its value; plotly's own kind needs `unsafe-eval`, so drawn as lines."""
    names = list(facts.study.space)
    chosen = _ordered(facts)[:LINES]
    trials = {trial.number: trial for trial in facts.study.trials}
    places = [coordinates(facts.study, name, [trials[point.number] for point in chosen]) for name in names]
    values = np.array([point.value for point in chosen], dtype=float)
    spread = np.ptp(values) or 1.0
    good = (values - values.min()) / spread if facts.higher else (values.max() - values) / spread
    ticks = [*(text.label(name.rpartition(".")[2], 18) for name in names), text.label(facts.objective, 24)]
    figure = new_figure(
        380,
        showlegend=False,
        xaxis={"tickvals": list(range(len(ticks))), "ticktext": ticks, "range": [-0.2, len(ticks) - 0.8]},
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
                *(_cell(trials[chosen[k].number].params.get(name)) for name in names),
                _number(facts, values[k]),
            ],
            hovertemplate="%{customdata}",
        )
    return figure


def curves_figure(facts: TrialsFacts) -> go.Figure:
    """Validation accuracy of the trials, epoch by epoch; pruned ones end early."""
    figure = new_figure(
        HEIGHT,
        showlegend=False,
        xaxis={"title": {"text": "epoch"}},
        yaxis={"title": {"text": "validation accuracy"}, "tickformat": ".0%"},
    )
    for trial in reversed(_drawn_curves(facts)):
        best = trial.number == facts.best
        colour = VERMILLION if best else BLUE if trial.state == "complete" else GREY
        epochs = [record.epoch for record in trial.history]
        figure.add_scatter(
            x=epochs,
            y=[record.val_accuracy for record in trial.history],
            mode="lines+markers",
            name=f"trial {trial.number}, {trial.state}",
            opacity=1.0 if best else 0.6,
            line={"color": colour, "width": 3 if best else 1.2, "dash": "dot" if trial.state == "pruned" else "solid"},
            marker={
                "size": [9 if trial.state == "pruned" and epoch == epochs[-1] else 4 for epoch in epochs],
                "symbol": ["x" if trial.state == "pruned" and epoch == epochs[-1] else "circle" for epoch in epochs],
            },
            hovertemplate="epoch %{x}: %{y:.1%}",
        )
    return figure


def timeline_figure(facts: TrialsFacts) -> go.Figure:
    """When each worker ran which trial."""
    timed = [trial for trial in facts.study.trials if trial.started and trial.seconds is not None]
    begin = min(datetime.fromisoformat(trial.started or "") for trial in timed)
    lanes = {worker: f"worker {place + 1}" for place, worker in enumerate(facts.workers)}
    figure = new_figure(
        bar_height(max(1, len(lanes))) + 40,
        barmode="overlay",
        xaxis={"title": {"text": "minutes since the first trial began"}},
        yaxis={"autorange": "reversed", "automargin": True, "type": "category"},
    )
    for state, colour, pattern in (("complete", BLUE, ""), ("pruned", GREY, "/"), ("failed", VERMILLION, "x")):
        chosen = [trial for trial in timed if trial.state == state]
        if chosen:
            figure.add_bar(
                y=[lanes.get(trial.worker or "", "worker") for trial in chosen],
                x=[(trial.seconds or 0.0) / 60 for trial in chosen],
                base=[(datetime.fromisoformat(trial.started or "") - begin).total_seconds() / 60 for trial in chosen],
                name=state,
                orientation="h",
                marker={"color": colour, "pattern": {"shape": pattern}, "line": {"color": "white", "width": 1}},
                customdata=[f"trial {trial.number}: {text.seconds(trial.seconds)}" for trial in chosen],
                hovertemplate="%{customdata}",
            )
    return figure


def pareto_figure(facts: TrialsFacts) -> go.Figure:
    """The first two objectives against each other, the front joined."""
    second = facts.study.objectives[1]
    complete = [trial for trial in facts.study.trials if trial.state == "complete"]
    front = [facts.study.trial(number) for number in facts.front]
    figure = new_figure(
        HEIGHT,
        xaxis={"title": {"text": OBJECTIVES[second]}, "exponentformat": "SI"},
        yaxis=_axis(facts),
    )
    for trials, name, colour, mode in ((complete, "trials", GREY, "markers"), (front, "front", GREEN, "lines+markers")):
        ordered = sorted(trials, key=lambda trial: trial.values[1])
        figure.add_scatter(
            x=[trial.values[1] for trial in ordered],
            y=[trial.values[0] for trial in ordered],
            mode=mode,
            name=name,
            line={"color": colour, "shape": "hv"},
            marker={"color": colour, "size": 9, "symbol": "diamond" if name == "front" else "circle"},
            customdata=[f"trial {trial.number}" for trial in ordered],
            hovertemplate=f"%{{customdata}}: %{{y:{_digits(facts)}}}, %{{x:,.3s}}<extra></extra>",
        )
    return figure


def _axis(facts: TrialsFacts, *, titled: bool = True) -> dict[str, Any]:
    title = {"title": {"text": facts.objective}} if titled else {}
    return {**title, **({"tickformat": ".0%"} if facts.study.objectives[0] == "accuracy" else {})}


def _digits(facts: TrialsFacts) -> str:
    return ".1%" if facts.study.objectives[0] == "accuracy" else ".4g"


def _number(facts: TrialsFacts, value: float | None) -> str:
    return "–" if value is None else format(value, _digits(facts))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return text.label(str(value), 24) if value is not None else "–"


def _by_number(facts: TrialsFacts) -> list[TrialRecord]:
    return sorted(facts.study.trials, key=lambda trial: trial.number)


def _ordered(facts: TrialsFacts) -> list[TrialPoint]:
    """Complete trials, best first."""
    done = [point for point in facts.points if point.state == "complete" and point.value is not None]
    return sorted(done, key=lambda point: -(point.value or 0.0) if facts.higher else (point.value or 0.0))


def _drawn_curves(facts: TrialsFacts) -> list[TrialRecord]:
    """Trials whose epochs are drawn: the best ones, then the pruned."""
    trials = {trial.number: trial for trial in facts.study.trials}
    complete = [trials[point.number] for point in _ordered(facts)]
    others = [trial for trial in facts.study.trials if trial.state != "complete"]
    drawn = [trial for trial in (*complete, *others) if len(trial.history)]
    return [trial for trial in drawn if any(record.val_accuracy is not None for record in trial.history)][:CURVES]


# === Sections ===


def trials_sections(facts: TrialsFacts) -> tuple[Section, ...]:
    """All sections but those of the best run."""
    measured = [point for point in facts.points if point.value is not None]
    if not measured:
        return (Section("trials", "Trials", (Note(_nothing(facts), "missing"), *_table(facts))),)
    return (
        Section("history", "Trials", (_history(facts), *_curves(facts), *_timeline(facts))),
        Section("settings", "What mattered", _settings(facts)),
        *((Section("pareto", "Pareto front", (_pareto(facts),)),) if facts.front else ()),
        Section("table", "All trials", _table(facts)),
    )


def _nothing(facts: TrialsFacts) -> str:
    if not facts.points:
        return "This study has no trial yet."
    counts = facts.study.counts
    return f"No trial has been measured yet: {counts.waiting} wait, {counts.running} run, {counts.failed} failed."


def _history(facts: TrialsFacts) -> Chart:
    rows = tuple(
        (str(point.number), point.state, _number(facts, point.value), _number(facts, point.best))
        for point in facts.points[:TABLE]
    )
    counts = facts.study.counts
    when = next((point.number for point in facts.points if point.number == facts.best), None)
    see = f"{counts.complete} trials ran to their end and {counts.pruned} were stopped early"
    see += f"; the best is trial {when} of {len(facts.points)}." if when is not None else "."
    table = Table("Trials in order", ("trial", "state", facts.objective, "best so far"), rows)
    return Chart("history-figure", "History", see, history_figure(facts), table)


def _curves(facts: TrialsFacts) -> tuple[Chart, ...]:
    drawn = _drawn_curves(facts)
    if not drawn:
        return ()
    rows = tuple(
        (str(trial.number), trial.state, str(len(trial.history)), text.share(last.val_accuracy))
        for trial in drawn
        for last in [trial.history.records[-1]]
    )
    pruned = sum(trial.state == "pruned" for trial in drawn)
    see = f"Each line is a trial; the {pruned} that end in a cross were pruned." if pruned else "Each line is a trial."
    table = Table("Where each trial ended", ("trial", "state", "epochs", "validation accuracy"), rows)
    return (Chart("epochs-figure", "Epoch by epoch", f"{see} The best one is thick.", curves_figure(facts), table),)


def _timeline(facts: TrialsFacts) -> tuple[Chart, ...]:
    timed = [trial for trial in facts.study.trials if trial.started and trial.seconds is not None]
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


def _settings(facts: TrialsFacts) -> tuple:
    blocks: list = []
    table = _settings_table(facts)
    if facts.importance:
        name, share = facts.importance[0]
        few = len([point for point in facts.points if point.state == "complete"])
        see = f"{text.name(name)} explains {share:.0%} of what a forest explains; with {few} trials that is a hint."
        rows = tuple((text.name(one), text.share(part)) for one, part in facts.importance)
        importance = Table("Importance of each setting", ("setting", "share"), rows)
        blocks.append(Chart("importance-figure", "Importance", see, importance_figure(facts), importance))
    else:
        blocks.append(Note("Too few complete trials, or all alike: nothing can be said of what mattered.", "missing"))
    blocks.append(
        Chart(
            "slices-figure",
            "One setting at a time",
            "Look for a side on which the points lie better.",
            slices_figure(facts),
            table,
        )
    )
    contour = contour_figure(facts)
    if contour is not None:
        see = "The darker, the better a forest of these two settings expects it; trust it near the points only."
        blocks.append(Chart("contour-figure", "Unfreeze depth against learning rate", see, contour, table))
    if _ordered(facts):
        see = "Each line is a trial, from setting to setting to its value at the right; the thick one is the best."
        blocks.append(Chart("parallel-figure", "All settings at once", see, parallel_figure(facts), table))
    return tuple(blocks)


def _settings_table(facts: TrialsFacts) -> Table:
    names = list(facts.study.space)
    trials = {trial.number: trial for trial in facts.study.trials}
    shown = _ordered(facts)[:TABLE]
    rows = tuple(
        (
            str(point.number),
            *(_plain(trials[point.number].params.get(name)) for name in names),
            _number(facts, point.value),
        )
        for point in shown
    )
    return Table("Complete trials, the best first", ("trial", *map(text.name, names), facts.objective), rows)


def _pareto(facts: TrialsFacts) -> Chart:
    study = facts.study
    names = [OBJECTIVES[name] for name in study.objectives]
    rows = tuple(
        (
            str(trial.number),
            *(text.number(value, 4) for value in trial.values),
            text.number(study.latency.get(trial.number)),
        )
        for trial in (study.trial(number) for number in facts.front)
    )
    count = text.count(len(facts.front), "trial")
    see = f"{count} on the front: none can be bettered in one objective without losing in the other."
    table = Table("The front", ("trial", *names, "latency (ms a photo)"), rows)
    return Chart("pareto-figure", "Trade-off", see, pareto_figure(facts), table)


def _table(facts: TrialsFacts) -> tuple:
    if not facts.points:
        return ()
    names = list(facts.study.space)
    rows = tuple(
        (
            str(trial.number),
            trial.state + (", your own" if trial.own else ""),
            *(_plain(trial.params.get(name)) for name in names),
            _number(facts, point.value),
            text.seconds(trial.seconds),
            text.name(trial.error, 80) if trial.error else "",
        )
        for trial, point in list(zip(_by_number(facts), facts.points, strict=True))[:TABLE]
    )
    more = len(facts.points) - len(rows)
    head = ("trial", "state", *map(text.name, names), facts.objective, "time", "error")
    return (Table("Every trial", head, rows, f"{more:,} more are in trials.csv." if more else ""),)


def _plain(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else text.name(str(value), 32) if value is not None else "–"
