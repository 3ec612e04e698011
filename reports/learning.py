"""What a linear model on the stored features adds: doubtful labels, and whether more photos would help."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from reports import text
from reports.blocks import Chart, Note, Photo, Photos, Section, Table
from reports.charts import BLUE, new_figure, share_axis

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]  # its stubs are a package of their own, not needed to run

SHOWN = 24
LISTED = 100
WORTH = 0.005
CLEAR = 0.02  # standard error up to which a flat curve is called flat


@dataclass(frozen=True)
class Doubt:
    """A photo whose label a model that never saw it finds unlikely.

    Attributes:
        path: As recorded.
        split: Where the photo is.
        label: What it is called.
        predicted: What the model takes it for.
        p_label: Probability of the label.
        p_predicted: Probability of what it is taken for.
    """

    path: str
    split: str
    label: str
    predicted: str
    p_label: float
    p_predicted: float


@dataclass(frozen=True)
class CurvePoint:
    """Validation accuracy after training on a part of the photos.

    Attributes:
        photos: In the part.
        mean: Accuracy over the draws.
        low: The lowest.
        high: The highest.
    """

    photos: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class LearningFacts:
    """What the linear model says.

    Attributes:
        doubts: Most doubted first.
        curve: By number of photos.
        gain: Accuracy gained by the last doubling; None with fewer than two points.
        error: Standard error of an accuracy on this many validation photos; None where it is not known.
        missing: What is not there -> why.
    """

    doubts: tuple[Doubt, ...]
    curve: tuple[CurvePoint, ...]
    gain: float | None
    error: float | None
    missing: tuple[tuple[str, str], ...] = ()


def learning_facts(
    doubted: "pandas.DataFrame", curve: "pandas.DataFrame", validation: int, missing: Mapping[str, str]
) -> LearningFacts:
    """From insights/doubted.csv and learning_curve.csv.

    Args:
        doubted: DOUBTED_COLUMNS.
        curve: photos, draw, accuracy.
        validation: Photos that the curve was measured on.
        missing: Of the insights' summary.
    """
    names = ("path", "split", "label", "predicted", "p_label", "p_predicted")
    doubts = tuple(Doubt(*row) for row in zip(*(doubted[name].tolist() for name in names), strict=True))
    points = tuple(
        CurvePoint(int(photos), float(part.mean()), float(part.min()), float(part.max()))
        for photos, part in curve.groupby("photos")["accuracy"]
    )
    gain = points[-1].mean - points[-2].mean if len(points) > 1 else None
    error = (points[-1].mean * (1 - points[-1].mean) / validation) ** 0.5 if points and validation else None
    return LearningFacts(doubts, points, gain, error, tuple(sorted(missing.items())))


def learning_curve_figure(facts: LearningFacts) -> go.Figure:
    """Accuracy over the number of photos, which doubles from point to point."""
    figure = new_figure(
        320,
        showlegend=False,
        xaxis={
            "title": {"text": "training photos"},
            "type": "log",
            "tickvals": [point.photos for point in facts.curve],
            "ticktext": [f"{point.photos:,}" for point in facts.curve],
        },
        yaxis=share_axis("validation accuracy"),
    )
    figure.add_scatter(
        x=[point.photos for point in facts.curve],
        y=[point.mean for point in facts.curve],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [point.high - point.mean for point in facts.curve],
            "arrayminus": [point.mean - point.low for point in facts.curve],
            "color": BLUE,
            "thickness": 1.5,
        },
        mode="lines+markers",
        line={"color": BLUE, "width": 2},
        marker={"size": 7},
        customdata=[(f"{point.low:.1%}", f"{point.high:.1%}") for point in facts.curve],
        hovertemplate="%{x:,} photos: %{y:.1%}<br>draws from %{customdata[0]} to %{customdata[1]}<extra></extra>",
    )
    return figure


def learning_section(facts: LearningFacts) -> Section:
    """Would more photos help?"""
    title = "Would more photos help?"
    if not facts.curve:
        why = dict(facts.missing).get("learning_curve", "This run recorded no learning curve.")
        return Section("learning", title, (Note(why, "missing"),))
    rows = tuple(
        (f"{point.photos:,}", text.share(point.mean), text.share(point.low), text.share(point.high))
        for point in facts.curve
    )
    table = Table("Accuracy of the linear model", ("photos", "mean", "lowest draw", "highest draw"), rows)
    chart = Chart("learning-figure", "Learning curve", _see(facts), learning_curve_figure(facts), table)
    lead = (
        "A linear model on the pretrained features, trained on parts of the training photos and measured on "
        "validation: a cheap stand-in for the network, not the accuracy of the network itself."
    )
    return Section("learning", title, (chart,), lead)


def _see(facts: LearningFacts) -> str:
    if facts.gain is None:
        return "One size only: nothing to compare."
    doubled = f"The last doubling, to {facts.curve[-1].photos:,} photos, brought {text.points(facts.gain)}"
    noise = facts.error or 0.0
    if facts.gain > max(WORTH, noise):
        return f"{doubled}: the curve still rises, so more photos are worth having."
    if facts.gain < -noise:
        return f"{doubled}: the newer photos differ from the older ones, or their labels are worse."
    if noise > CLEAR:
        return f"{doubled}, within the noise (±{100 * noise:.0f} points): too few validation photos to tell."
    return f"{doubled}: the curve is flat, so better labels or other photos may help more than many of the same."


def doubts_section(facts: LearningFacts, album: Mapping[str, bytes]) -> Section:
    """A list to review."""
    title = "Labels worth a second look"
    if not facts.doubts:
        why = dict(facts.missing).get("doubted")
        return Section("doubts", title, (Note(why, "missing") if why else Note("No label is doubted."),))
    shown = tuple(
        Photo(
            text.name(doubt.path),
            album.get(doubt.path),
            (
                f"called {text.name(doubt.label, 32)}",
                f"looks like {text.name(doubt.predicted, 32)} {doubt.p_predicted:.0%}",
            ),
        )
        for doubt in facts.doubts[:SHOWN]
        if doubt.path in album
    )
    listed = facts.doubts[:LISTED]
    rows = tuple(
        (
            text.name(doubt.path, 80),
            doubt.split,
            text.name(doubt.label),
            text.name(doubt.predicted),
            text.share(doubt.p_label, 99),
            text.share(doubt.p_predicted, 99),
        )
        for doubt in listed
    )
    more = len(facts.doubts) - len(listed)
    table = Table(
        "The list",
        ("photo", "split", "label", "looks like", "p(label)", "p(looks like)"),
        rows,
        f"{more} more are in insights/doubted.csv." if more else "",
    )
    see = (
        "Each was judged by a linear model that was trained on other photos only: some are labelled wrongly, some show "
        "two classes, some are merely hard."
    )
    blocks = (Photos("doubted", "Most doubted", see, shown), table) if shown else (Note(see), table)
    return Section("doubts", title, blocks)
