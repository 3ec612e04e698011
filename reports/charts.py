"""Palette and layout that all figures share.

Colours are near Okabe and Ito's (https://jfly.uni-koeln.de/color/), with a contrast of 3:1 to both the light and the
dark page; no meaning rests on colour alone. Text and grid take the page's colours in the browser (templates/page.js),
so figures set neither.
"""

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

BLUE, VERMILLION, GREEN, PURPLE, ORANGE, GREY = "#2b83ba", "#d55e00", "#009e73", "#b8609a", "#b07d00", "#7f868d"
SERIES = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, GREY)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x")
# from nothing to blue, on whatever lies below: one scale for light and dark
SHADES = [[0.0, "rgba(43,131,186,0)"], [1.0, "rgba(43,131,186,0.85)"]]
HEIGHT = 360
_LOG_TICKS = 5  # at most, so that they fit a telephone


def new_figure(height: int = HEIGHT, **layout: Any) -> go.Figure:
    """An empty figure in the house's layout; `layout` as plotly's."""
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
    """An empty figure for named horizontal bars, from the top down.

    Args:
        bars: How many.
        more: Pixels to add to the height, such as those of a legend.
        layout: As plotly's.
    """
    # without dtick plotly leaves names out where a legend of two lines makes the plot lower, then finds the margin too
    # wide, the legend on one line and the plot higher, and so on
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
    """An axis of shares, shown in percent."""
    # a single point would stand in the middle of -100% to 100% and more
    return {
        "title": title,
        "tickformat": ".1~%",  # a decimal where ticks are nearer than 1%; `~` leaves out a zero
        "autorangeoptions": {"clipmin": -0.03, "clipmax": 1.03},
        **more,
    }


def log_axis(title: str, low: float, high: float) -> dict[str, Any]:
    """A logarithmic axis with few ticks, written as plain numbers.

    Args:
        title: Safe in a figure.
        low: The smallest value drawn, more than 0.
        high: The greatest.
    """
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
    """Colour, dash and symbol of the place-th curve."""
    return {
        "line": {"color": SERIES[place % len(SERIES)], "dash": DASHES[place % len(DASHES)], "width": 2},
        "marker": {"color": SERIES[place % len(SERIES)], "symbol": SYMBOLS[place % len(SYMBOLS)], "size": 6},
    }


def whole_ticks(count: int) -> int:
    """Distance of the ticks of an axis of whole numbers, at most a dozen."""
    return next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10**9) if count <= 12 * step)
