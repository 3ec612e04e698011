"""Sizes, shapes and colours of the images."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports import text
from reports.charts import BLUE, GREY, bars_figure, new_figure
from reports.elements import Chart, Table

BINS = 24
COLOURS_DRAWN = 60


@dataclass(frozen=True)
class Sizes:
    """Sizes and colours of the images.

    `width` and `height` are (smallest, median, largest) in pixels. `megapixels` and `aspect` (width / height, clipped
    to 1/4 and 4) are histograms, (counts, edges). `colours` are (class, mean red, green, blue), 0-255.
    """

    width: tuple[int, float, int]
    height: tuple[int, float, int]
    megapixels: tuple[tuple[int, ...], tuple[float, ...]]
    aspect: tuple[tuple[int, ...], tuple[float, ...]]
    colours: tuple[tuple[str, tuple[int, int, int]], ...]


def sizes_facts(images: pd.DataFrame, used: pd.DataFrame, classes: Sequence[str]) -> Sizes:
    """Facts of at least one image; classes in the model's order.

    `images` has path, width, height, mean_r, mean_g, mean_b; `used` has path and label.
    """
    width, height = images["width"].to_numpy(np.float64), images["height"].to_numpy(np.float64)
    number = {label: i for i, label in enumerate(classes)}
    label_of = dict(zip(used["path"].tolist(), used["label"].tolist(), strict=True))
    at = np.array([number.get(label_of.get(path, ""), len(classes)) for path in images["path"].tolist()], int)
    seen = np.bincount(at, minlength=len(classes) + 1)
    sums = [
        np.bincount(at, images[name].to_numpy(np.float64), len(classes) + 1) for name in ("mean_r", "mean_g", "mean_b")
    ]
    red, green, blue = (np.rint(channel / np.maximum(seen, 1)).astype(int).tolist() for channel in sums)
    colours = tuple((label, (red[i], green[i], blue[i])) for i, label in enumerate(classes) if seen[i])
    megapixels = width * height / 1e6
    top = float(np.quantile(megapixels, 0.995)) or 1.0
    return Sizes(
        width=(int(width.min()), float(np.median(width)), int(width.max())),
        height=(int(height.min()), float(np.median(height)), int(height.max())),
        megapixels=_histogram(np.minimum(megapixels, top), np.linspace(0, top, BINS + 1)),
        aspect=_histogram(np.clip(width / height, 0.25, 4.0), np.geomspace(0.25, 4.0, BINS + 1)),
        colours=colours,
    )


def _histogram(values: np.ndarray, edges: np.ndarray) -> tuple[tuple[int, ...], tuple[float, ...]]:
    counts, _ = np.histogram(values, edges)
    return tuple(counts.tolist()), tuple(edges.tolist())


# === Figures ===


def size_figures(sizes: Sizes) -> tuple[go.Figure, go.Figure]:
    """Histograms of megapixels and of width / height."""
    ratios = {"tickvals": [0.25, 0.5, 1, 2, 4], "ticktext": ["1:4", "1:2", "1:1", "2:1", "4:1"]}
    return (
        _bars(sizes.megapixels, {"title": "megapixels", "rangemode": "tozero"}, " megapixels"),
        _bars(sizes.aspect, {"title": "width : height", "type": "log", **ratios}, " : 1"),
    )


def _bars(histogram: tuple[tuple[int, ...], tuple[float, ...]], axis: dict[str, Any], unit: str) -> go.Figure:
    counts, edges = histogram
    figure = new_figure(300, xaxis=axis, yaxis={"title": "images"}, showlegend=False)
    figure.add_bar(
        x=[(low + high) / 2 for low, high in pairwise(edges)],
        width=[high - low for low, high in pairwise(edges)],
        y=list(counts),
        marker={"color": BLUE},
        hovertemplate="%{y:,} images at about %{x:.2~f}" + unit + "<extra></extra>",
    )
    return figure


def colours_figure(sizes: Sizes) -> go.Figure:
    """Mean colour of each class, in a bar as long as it is bright."""
    shown = sizes.colours[:COLOURS_DRAWN]
    axis = {"title": "mean brightness (0 to 255)", "range": [0, 255]}
    figure = bars_figure(len(shown), showlegend=False, xaxis=axis)
    figure.add_bar(
        y=text.labels([label for label, _ in shown]),
        x=[_brightness(colour) for _, colour in shown],
        orientation="h",
        marker={"color": [f"rgb{colour}" for _, colour in shown], "line": {"color": GREY, "width": 1}},
        customdata=[f"red {r}, green {g}, blue {b}" for _, (r, g, b) in shown],
        hovertemplate="%{y}: %{customdata}<extra></extra>",
    )
    return figure


def _brightness(colour: tuple[int, int, int]) -> float:
    """Luma, ITU-R BT.601."""
    return round(0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2], 1)


# === Charts ===


def sizes_chart(sizes: Sizes) -> Chart:
    """Histograms of size and shape."""
    (narrow, width, wide), (low, height, high) = sizes.width, sizes.height
    see = (
        f"The median image is {width:,.0f} x {height:,.0f} pixels; widths go from {narrow:,} to {wide:,}, "
        f"heights from {low:,} to {high:,}."
    )
    rows = tuple(
        (what, f"{edges[k]:.3g} to {edges[k + 1]:.3g}", f"{count:,}")
        for what, (counts, edges) in (("megapixels", sizes.megapixels), ("width : height", sizes.aspect))
        for k, count in enumerate(counts)
        if count
    )
    return Chart(
        "sizes-figure",
        "Sizes and shapes",
        see,
        size_figures(sizes),
        Table("Images by size and shape", ("measure", "from, to", "images"), rows),
    )


def colours_chart(sizes: Sizes) -> Chart:
    """Mean colour of each class."""
    by_light = sorted(sizes.colours, key=lambda item: _brightness(item[1]))
    (dark, _), (bright, _) = by_light[0], by_light[-1]
    rows = tuple(
        (text.name(label), *map(str, colour), str(_brightness(colour))) for label, colour in sizes.colours[:200]
    )
    return Chart(
        "colours-figure",
        "Mean colour",
        f"{text.name(dark, 32)} is the darkest class on average, {text.name(bright, 32)} the brightest; colours that "
        "tell classes apart may be what a model learns instead of the subject.",
        colours_figure(sizes),
        Table("Mean colour of each class, 0 to 255", ("class", "red", "green", "blue", "brightness"), rows),
    )
