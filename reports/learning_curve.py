"""Learning curve of the linear probe: would more images help?"""

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from kit.significance import wilson_interval
from reports import text
from reports.charts import BLUE, between, new_figure, share_axis
from reports.elements import Chart, Section, Table, missing_section

WORTH = 0.005  # least gain that makes more images worthwhile
ONE_SIGMA = 0.6827
CLEAR = 0.02  # greatest standard error of a curve called flat
LEAD = (
    "A linear model on the pretrained features, trained on parts of the training images and measured on "
    "validation: a cheap stand-in for the network, not the accuracy of the network itself."
)


@dataclass(frozen=True)
class CurvePoint:
    """Validation accuracy at a training size: mean, lowest and highest of the draws."""

    images: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class LearningCurveFacts:
    """Validation accuracy by number of training images, doubled at each point.

    `gain` is that of the last doubling, None with fewer than two points; `error` half the width of Wilson's 68%
    interval of the last accuracy (about its standard error), None where it is not known.
    """

    points: tuple[CurvePoint, ...] = ()
    gain: float | None = None
    error: float | None = None


def learning_curve_facts(curve: pd.DataFrame, validation: int) -> LearningCurveFacts:
    """Facts from insights/learning_curve.csv (photos, draw, accuracy), measured on `validation` images."""
    points = tuple(
        CurvePoint(int(images), float(part.mean()), float(part.min()), float(part.max()))
        for images, part in curve.groupby("photos")["accuracy"]
    )
    gain = points[-1].mean - points[-2].mean if len(points) > 1 else None
    if not points or not validation:
        return LearningCurveFacts(points, gain)
    low, high = wilson_interval(points[-1].mean * validation, validation, ONE_SIGMA)
    return LearningCurveFacts(points, gain, (high - low) / 2)


def learning_curve_figure(facts: LearningCurveFacts) -> go.Figure:
    """Accuracy over the number of images, on a logarithmic axis."""
    sizes = [point.images for point in facts.points]
    figure = new_figure(
        320,
        showlegend=False,
        xaxis={
            "title": "training images",
            "type": "log",
            "tickvals": sizes,
            "ticktext": [f"{size:,}" for size in sizes],
        },
        yaxis=share_axis("validation accuracy"),
    )
    figure.add_scatter(
        x=sizes,
        y=[point.mean for point in facts.points],
        error_y=between([(point.low, point.mean, point.high) for point in facts.points]),
        mode="lines+markers",
        line={"color": BLUE, "width": 2},
        marker={"size": 7},
        customdata=[(f"{point.low:.1%}", f"{point.high:.1%}") for point in facts.points],
        hovertemplate="%{x:,} images: %{y:.1%}<br>draws from %{customdata[0]} to %{customdata[1]}<extra></extra>",
    )
    return figure


def learning_curve_section(facts: LearningCurveFacts, missing: str = "") -> Section:
    """Learning curve; `missing` says why the record has none."""
    title = "Would more images help?"
    if not facts.points:
        return missing_section("learning", title, missing or "This run recorded no learning curve.")
    rows = tuple(
        (f"{point.images:,}", text.share(point.mean), text.share(point.low), text.share(point.high))
        for point in facts.points
    )
    table = Table("Accuracy of the linear model", ("images", "mean", "lowest draw", "highest draw"), rows)
    chart = Chart("learning-figure", "Learning curve", _see(facts), learning_curve_figure(facts), table)
    return Section("learning", title, (chart,), LEAD)


def _see(facts: LearningCurveFacts) -> str:
    if facts.gain is None:
        return "One size only: nothing to compare."
    doubled = f"The last doubling, to {facts.points[-1].images:,} images, brought {text.points(facts.gain)}"
    noise = facts.error or 0.0
    if facts.gain > max(WORTH, noise):
        return f"{doubled}: the curve still rises, so more images are worth having."
    if facts.gain < -noise:
        return f"{doubled}: the newer images differ from the older ones, or their labels are worse."
    if noise > CLEAR:
        return f"{doubled}, within the noise (±{100 * noise:.0f} points): too few validation images to tell."
    return f"{doubled}: the curve is flat, so better labels or other images may help more than many of the same."
