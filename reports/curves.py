"""Accuracy and loss, epoch by epoch."""

from dataclasses import dataclass

import plotly.graph_objects as go

from kit.training.history import COLUMNS, History
from reports import text
from reports.charts import BLUE, VERMILLION, new_figure, series, share_axis, whole_ticks
from reports.elements import Chart, Section, Table, missing_section


@dataclass(frozen=True)
class PhaseSpan:
    """First, last and kept epoch of a phase, counted from 1 across phases."""

    name: str
    first: int
    last: int
    kept: int


@dataclass(frozen=True)
class CurvesFacts:
    """History with its phases and the epoch whose weights the run kept.

    `kept` is None for an empty history; `gap` is training minus validation accuracy there, None without validation.
    """

    history: History
    phases: tuple[PhaseSpan, ...] = ()
    kept: int | None = None
    gap: float | None = None


def curves_facts(history: History, monitor: str = "val_accuracy") -> CurvesFacts:
    """Facts from history.csv, which may be empty; `monitor` is `training.monitor`."""
    if not len(history):
        return CurvesFacts(history)
    spans = []
    for name in history.phases():
        phase = history.phase(name)
        spans.append(PhaseSpan(name, phase.records[0].epoch, phase.records[-1].epoch, phase.best(monitor).epoch))
    # A later phase that never beats the weights it started from ends with those.
    kept = history.best(monitor)
    gap = None if kept.val_accuracy is None else kept.accuracy - kept.val_accuracy
    return CurvesFacts(history, tuple(spans), kept.epoch, gap)


def curves_figure(facts: CurvesFacts) -> go.Figure:
    """Accuracy, loss and learning rate over the epochs."""
    figure = new_figure(
        560,
        xaxis={"title": "epoch", "anchor": "y3", "dtick": whole_ticks(len(facts.history)), "zeroline": False},
        yaxis=share_axis("accuracy", domain=[0.62, 1.0]),
        yaxis2={"title": "loss (nats)", "domain": [0.22, 0.57], "rangemode": "tozero"},
        yaxis3={
            "title": "learning<br>rate",
            "domain": [0.0, 0.15],
            "rangemode": "tozero",
            "nticks": 3,
            "exponentformat": "e",
        },
        hovermode="x unified",
    )
    epochs = [record.epoch for record in facts.history]
    columns = {name: [getattr(record, name) for record in facts.history] for name in COLUMNS}
    rate = {"line": {"color": BLUE, "width": 1.5, "shape": "hv"}, "marker": {"size": 4}}
    lines = (
        ("training", "accuracy", "y", ".1%", series(1)),
        ("validation", "val_accuracy", "y", ".1%", series(0)),
        ("training loss", "loss", "y2", ".3f", series(1)),
        ("validation loss", "val_loss", "y2", ".3f", series(0)),
        ("learning rate", "learning_rate", "y3", ".2g", rate),
    )
    for name, column, axis, digits, look in lines:
        if any(value is not None for value in columns[column]):
            figure.add_scatter(
                x=epochs,
                y=columns[column],
                yaxis=axis,
                name=name,
                showlegend=axis == "y",
                mode="lines+markers",
                hovertemplate=f"%{{y:{digits}}}",
                **look,
            )
    _mark(figure, facts)
    return figure


def _mark(figure: go.Figure, facts: CurvesFacts) -> None:
    """Shade and name the phases, and mark the kept epoch."""
    for place, span in enumerate(facts.phases):
        figure.add_shape(
            type="rect",
            xref="x",
            yref="paper",
            x0=span.first - 0.5,
            x1=span.last + 0.5,
            y0=0,
            y1=1,
            layer="below",
            line={"width": 0},
            fillcolor="rgba(127,134,141,0.14)" if place % 2 else "rgba(127,134,141,0.04)",
        )
        figure.add_annotation(
            x=span.first - 0.4,
            y=0.595,  # between accuracy and loss, where no curve runs
            yref="paper",
            xanchor="left",
            yanchor="middle",
            showarrow=False,
            text=text.label(span.name, 16),
        )
    if facts.kept is not None:
        line = {"color": VERMILLION, "width": 1, "dash": "dot"}
        figure.add_shape(type="line", xref="x", yref="paper", x0=facts.kept, x1=facts.kept, y0=0, y1=1, line=line)
        figure.add_annotation(
            x=facts.kept, y=0.62, yref="paper", yanchor="bottom", showarrow=False, text="kept", xanchor="right"
        )


def curves_section(facts: CurvesFacts) -> Section:
    """Accuracy, loss and learning rate."""
    if not len(facts.history):
        return missing_section("curves", "Training", "No epoch was recorded.")
    chart = Chart("curves-figure", "Accuracy and loss", _see(facts), curves_figure(facts), _table(facts))
    return Section("curves", "Training", (chart,))


def _see(facts: CurvesFacts) -> str:
    kept = f"Epoch {facts.kept} of {facts.history.records[-1].epoch} is the one that is kept"
    if facts.gap is None:
        return f"{kept}: the last one, for there is no validation split to choose by."
    gap = 100 * facts.gap
    if gap > 3:
        return f"{kept}; there, training is {gap:.0f} points above validation: overfitting."
    if gap < -3:
        below = f"training is {-gap:.0f} points below validation"
        return f"{kept}; there, {below}: it is measured while the epoch still learns, and on augmented views."
    return f"{kept}; there, training and validation lie within {max(1, abs(gap)):.0f} points of each other."


def _table(facts: CurvesFacts) -> Table:
    rates = text.numbers([record.learning_rate for record in facts.history], 2)
    times = text.durations([record.seconds for record in facts.history])
    rows = tuple(
        (
            str(record.epoch),
            text.name(record.phase),
            text.share(record.accuracy),
            text.share(record.val_accuracy),
            f"{record.loss:.3f}",
            "–" if record.val_loss is None else f"{record.val_loss:.3f}",
            rate,
            time,
        )
        for record, rate, time in zip(facts.history, rates, times, strict=True)
    )
    head = ("epoch", "phase", "accuracy", "validation", "loss", "validation loss", "learning rate", "time")
    return Table("Every epoch", head, rows)
