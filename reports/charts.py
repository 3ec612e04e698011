"""Palette and layout shared by all figures.

Colours are near Okabe and Ito's (https://jfly.uni-koeln.de/color/), with a contrast of 3:1 to both the light and the
dark page; no meaning rests on colour alone. templates/page.js colours text and grid, so figures set neither.
"""

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

BLUE, VERMILLION, GREEN, PURPLE, ORANGE, GREY = "#2b83ba", "#d55e00", "#009e73", "#b8609a", "#b07d00", "#7f868d"
SERIES = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, GREY)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x")
# from transparent to blue: one scale for the light and the dark page
SHADES = [[0.0, "rgba(43,131,186,0)"], [1.0, "rgba(43,131,186,0.85)"]]
# from vermillion over transparent to blue
DIFFERENCES = [[0.0, "rgba(213,94,0,0.7)"], [0.5, "rgba(127,134,141,0)"], [1.0, "rgba(43,131,186,0.7)"]]
HEIGHT = 360
_LOG_TICKS = 5  # at most, to fit a telephone


def new_figure(height: int = HEIGHT, **layout: Any) -> go.Figure:
    """Empty figure in the common layout, updated with plotly's `layout`."""
    base = {
        "height": height,
        # at the right, room for half of "100%": plotly hides what is cut
        "margin": {"l": 56, "r": 20, "t": 16, "b": 48},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "namelength": -1},
        "template": "none",
    }
    return go.Figure(layout={**base, **layout})


def bars_figure(bars: int, more: int = 0, **layout: Any) -> go.Figure:
    """Empty figure for `bars` horizontal bars from the top down; `more` pixels are added to its height."""
    # without dtick plotly oscillates: a two-line legend makes the plot lower, names are dropped, the margin shrinks,
    # the legend fits one line, the plot grows, names return
    names = {"autorange": "reversed", "type": "category", "dtick": 1}
    return new_figure(max(160, 90 + 24 * bars) + more, yaxis=names, **layout)


def bar(colour: str, pattern: str = "") -> dict[str, Any]:
    """Marker of bars of a colour and a pattern."""
    return {"color": colour, "pattern": {"shape": pattern}}


def between(ranges: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    """Error bars of (low, value, high), as plotly's distances from the value."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for _, value, high in ranges],
        "arrayminus": [value - low for low, value, _ in ranges],
        "color": BLUE,
        "thickness": 1.5,
    }


def share_axis(title: str, **more: Any) -> dict[str, Any]:
    """Axis of shares, shown in percent."""
    # plotly would give a single point an axis of -100% to 100% and more
    return {
        "title": title,
        "tickformat": ".1~%",  # a decimal where ticks are nearer than 1%; `~` leaves out a zero
        "autorangeoptions": {"clipmin": -0.03, "clipmax": 1.03},
        **more,
    }


def log_axis(title: str, low: float, high: float) -> dict[str, Any]:
    """Logarithmic axis for values from `low` > 0 to `high`, with few plain ticks; `title` is escaped already."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    near = [tick for tick in _ticks(powers, (1, 2, 5)) if low / 1.6 <= tick <= high * 1.6]
    if len(near) > _LOG_TICKS:
        near = [tick for tick in _ticks(powers, (1,)) if low / 1.6 <= tick <= high * 1.6]
    shown = near[:: -(-len(near) // _LOG_TICKS)] if near else []
    return {"title": title, "type": "log", "tickvals": shown, "ticktext": [_tick(tick) for tick in shown]}


def _ticks(powers: range, steps: tuple[int, ...]) -> list[float]:
    return [float(f"{step}e{power}") for power in powers for step in steps]


def _tick(value: float) -> str:
    return f"{value:,g}" if 0.001 <= value < 1e6 else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")


def series(place: int) -> dict[str, Any]:
    """Colour, dash and symbol of a curve by its place in the figure."""
    return {
        "line": {"color": SERIES[place % len(SERIES)], "dash": DASHES[place % len(DASHES)], "width": 2},
        "marker": {"color": SERIES[place % len(SERIES)], "symbol": SYMBOLS[place % len(SYMBOLS)], "size": 6},
    }


def whole_ticks(count: int) -> int:
    """Tick distance of an axis of whole numbers, for at most a dozen ticks."""
    return next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10**9) if count <= 12 * step)
