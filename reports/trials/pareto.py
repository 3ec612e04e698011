"""Two objectives against each other."""

import plotly.graph_objects as go

from reports import text
from reports.charts import GREEN, GREY, HEIGHT, new_figure
from reports.elements import Chart, Table
from reports.trials.facts import OBJECTIVES, TrialsFacts, digits, objective_axis


def pareto_figure(facts: TrialsFacts) -> go.Figure:
    """The first two objectives against each other, the front joined."""
    second = facts.study.objectives[1]
    complete = [trial for trial in facts.study.trials if trial.state == "complete"]
    front = [facts.study.trial(number) for number in facts.front]
    figure = new_figure(
        HEIGHT,
        xaxis={"title": {"text": OBJECTIVES[second]}, "exponentformat": "SI"},
        yaxis=objective_axis(facts),
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
            hovertemplate=f"%{{customdata}}: %{{y:{digits(facts)}}}, %{{x:,.3s}}<extra></extra>",
        )
    return figure


def pareto_chart(facts: TrialsFacts) -> Chart:
    """The front, joined."""
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
