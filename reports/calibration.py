"""Calibration, and accuracy against coverage."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from kit.significance import wilson_interval
from reports import text
from reports.charts import BLUE, GREY, VERMILLION, bar, between, new_figure, share_axis
from reports.elements import Chart, Section, Table, ThresholdPicker, missing_section
from reports.predictions import scored_split

BINS = 15  # as in the calibration error of metrics.json
THRESHOLDS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99)
TARGET = 0.95


@dataclass(frozen=True)
class Bin:
    """Images whose confidence lies in (low, high], `right` of them predicted correctly.

    `confidence` is their mean, `interval` Wilson's 95% of their accuracy; None for no images.
    """

    low: float
    high: float
    n: int
    right: int
    confidence: float | None
    interval: tuple[float, float] | None

    @property
    def accuracy(self) -> float | None:
        """Share predicted correctly; None for no images."""
        return self.right / self.n if self.n else None


@dataclass(frozen=True)
class Abstention:
    """Coverage and accuracy above a confidence threshold; accuracy is None at coverage 0."""

    threshold: float
    coverage: float
    accuracy: float | None


@dataclass(frozen=True)
class CalibrationFacts:
    """Confidence and accuracy on one split.

    `split` is empty where nothing was scored; `bins` are BINS of equal width; `abstention` is by threshold.
    """

    split: str = ""
    n: int = 0
    bins: tuple[Bin, ...] = ()
    abstention: tuple[Abstention, ...] = ()
    mean_confidence: float | None = None
    accuracy: float | None = None


def calibration_facts(predictions: pd.DataFrame, n_effective: float | None = None) -> CalibrationFacts:
    """Calibration from predictions.csv.

    `n_effective` counts images that are not independent once; None: all are.
    """
    split, scored = scored_split(predictions)
    if not split:
        return CalibrationFacts()
    confidence = np.minimum(scored["confidence"].to_numpy(np.float64), 1.0)
    right = (scored["label"] == scored["predicted"]).to_numpy()
    edges = np.linspace(0, 1, BINS + 1)
    place = np.searchsorted(edges[1:-1], confidence, side="left")
    independent = 1.0 if n_effective is None else n_effective / len(scored)
    bins = tuple(
        _bin(edges[k], edges[k + 1], confidence[place == k], right[place == k], independent) for k in range(BINS)
    )
    abstention = tuple(
        Abstention(threshold, float(spoken.mean()), float(right[spoken].mean()) if spoken.any() else None)
        for threshold in THRESHOLDS
        for spoken in [confidence >= threshold]
    )
    return CalibrationFacts(split, len(scored), bins, abstention, float(confidence.mean()), float(right.mean()))


def _bin(low: float, high: float, confidence: np.ndarray, right: np.ndarray, independent: float) -> Bin:
    n, hits = len(confidence), int(right.sum())
    if not n:
        return Bin(float(low), float(high), 0, 0, None, None)
    interval = wilson_interval(hits * independent, n * independent)
    return Bin(float(low), float(high), n, hits, float(confidence.mean()), interval)


def reliability_figure(facts: CalibrationFacts) -> go.Figure:
    """Reliability diagram: accuracy with its 95% interval over mean confidence, bin by bin."""
    figure = new_figure(
        380,
        xaxis=share_axis("confidence", range=[-0.02, 1.02]),
        yaxis=share_axis("accuracy", range=[-0.05, 1.05]),
    )
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        name="perfectly calibrated",
        hoverinfo="skip",
        line={"color": GREY, "dash": "dot"},
    )
    filled = [one for one in facts.bins if one.n]
    ranges = [(one.interval[0], one.accuracy or 0.0, one.interval[1]) for one in filled if one.interval]
    figure.add_scatter(
        x=[one.confidence for one in filled],
        y=[one.accuracy for one in filled],
        mode="lines+markers",
        name="the model, with 95% intervals",
        line={"color": BLUE, "width": 2},
        error_y=between(ranges),
        marker={"color": BLUE, "size": [6 + 22 * (one.n / facts.n) ** 0.5 for one in filled], "opacity": 0.8},
        customdata=[(f"{one.n:,}", text.interval(one.interval)) for one in filled],
        hovertemplate="confidence %{x:.1%}<br>accuracy %{y:.1%} (%{customdata[1]})<br>%{customdata[0]} images"
        "<extra></extra>",
    )
    return figure


def confidence_figure(facts: CalibrationFacts) -> go.Figure:
    """Histogram of confidence, right below wrong."""
    figure = new_figure(
        300,
        barmode="stack",
        bargap=0.06,
        xaxis=share_axis("confidence", range=[0, 1]),
        yaxis={"title": "images"},
    )
    middle = [(one.low + one.high) / 2 for one in facts.bins]
    for name, counts, colour, pattern in (
        ("right", [one.right for one in facts.bins], BLUE, ""),
        ("wrong", [one.n - one.right for one in facts.bins], VERMILLION, "/"),
    ):
        figure.add_bar(
            x=middle,
            y=counts,
            name=name,
            marker=bar(colour, pattern),
            hovertemplate="about %{x:.0%} sure<br>%{y:,} " + name + "<extra></extra>",
        )
    return figure


def abstention_figure(facts: CalibrationFacts) -> go.Figure:
    """Accuracy and coverage over the confidence threshold."""
    figure = new_figure(
        320,
        xaxis=share_axis("confidence threshold", range=[-0.02, 1.02]),
        yaxis=share_axis("share", range=[-0.05, 1.05]),
    )
    for name, values, colour, dash in (
        ("accuracy of the answers", [one.accuracy for one in facts.abstention], BLUE, "solid"),
        ("coverage", [one.coverage for one in facts.abstention], VERMILLION, "dash"),
    ):
        figure.add_scatter(
            x=[one.threshold for one in facts.abstention],
            y=values,
            mode="lines+markers",
            name=name,
            line={"color": colour, "dash": dash, "width": 2},
            hovertemplate="%{y:.1%} at %{x:.0%}",
        )
    return figure


def calibration_section(facts: CalibrationFacts, picker: ThresholdPicker | None = None) -> Section:
    """Threshold, reliability diagram, histogram of confidence, accuracy and coverage."""
    title = "Confidence"
    if not facts.split:
        return missing_section("calibration", title, "No image was scored.")
    fewest = min(one.n for one in facts.bins if one.n)  # one number of decimals a column
    bins = Table(
        f"Confidence on {facts.split}",
        ("confidence", "images", "right", "wrong", "mean confidence", "accuracy", "95% interval"),
        tuple(
            (
                f"{one.low:.0%} to {one.high:.0%}",
                f"{one.n:,}",
                f"{one.right:,}",
                f"{one.n - one.right:,}",
                text.share(one.confidence),
                text.share(one.accuracy, fewest),
                text.interval(one.interval, fewest),
            )
            for one in facts.bins
        ),
    )
    abstention = Table(
        "What is left above each threshold",
        ("threshold", "coverage", "accuracy"),
        tuple(
            (text.share(one.threshold), text.share(one.coverage, facts.n), text.share(one.accuracy, facts.n))
            for one in facts.abstention
        ),
    )
    return Section(
        "calibration",
        title,
        (
            *([picker] if picker is not None else []),
            Chart("reliability-figure", "Reliability", _see_reliability(facts), reliability_figure(facts), bins),
            Chart("confidence-figure", "Confidence", _see_confidence(facts), confidence_figure(facts), bins),
            Chart(
                "abstention-figure",
                "Coverage and accuracy by threshold",
                _see_abstention(facts),
                abstention_figure(facts),
                abstention,
            ),
        ),
    )


def _see_reliability(facts: CalibrationFacts) -> str:
    sure, right = facts.mean_confidence or 0.0, facts.accuracy or 0.0
    difference = sure - right
    stated = f"the model is {sure:.0%} sure on average and right {right:.0%} of the time"
    if abs(difference) < 0.02:
        return f"On the diagonal confidence is what it says: {stated}."
    side = "Below the diagonal it promises too much" if difference > 0 else "Above the diagonal it is too modest"
    return f"{side}: {stated}."


def _see_confidence(facts: CalibrationFacts) -> str:
    sure = [one for one in facts.bins if one.low >= 0.8 - 1e-9]
    wrong = sum(one.n - one.right for one in sure)
    images = text.count(sum(one.n for one in sure), "image")
    return f"Of {images} on which it is more than 80% sure, {text.count(wrong, 'is', 'are')} wrong."


def _see_abstention(facts: CalibrationFacts) -> str:
    enough = next((one for one in facts.abstention if one.accuracy is not None and one.accuracy >= TARGET), None)
    if enough is None:
        return f"No threshold shown brings the answers to {TARGET:.0%} accuracy."
    if enough.threshold == 0:
        return f"Answering every image, it is right {text.share(enough.accuracy, facts.n)} of the time."
    return (
        f"Unsure below {enough.threshold:.0%}, it has a coverage of {enough.coverage:.0%} of the images and gets "
        f"{text.share(enough.accuracy, facts.n)} of those right."
    )
