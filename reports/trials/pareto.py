"""Pareto front of two objectives."""

import plotly.graph_objects as go

from reports import text
from reports.charts import GREEN, GREY, new_figure
from reports.elements import Chart, Table
from reports.trials.facts import OBJECTIVES, TrialsFacts
from search.records import TrialRecord


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
    head = ("trial", *(OBJECTIVES[name] for name in study.objectives), "latency (ms a photo)")
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
