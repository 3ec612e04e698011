"""Palette and layout that all figures share.

Colours are near Okabe and Ito's (https://jfly.uni-koeln.de/color/), with a contrast of 3:1 to both the light and the
dark page; no meaning rests on colour alone. Text and grid take the page's colours in the browser (templates/page.js),
so figures set neither.
"""

from typing import Any

import plotly.graph_objects as go

BLUE, VERMILLION, GREEN, PURPLE, ORANGE, GREY = "#2b83ba", "#d55e00", "#009e73", "#b8609a", "#b07d00", "#7f868d"
SERIES = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, GREY)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x")
# from nothing to blue, on whatever lies below: one scale for light and dark
SHADES = [[0.0, "rgba(43,131,186,0)"], [1.0, "rgba(43,131,186,0.85)"]]
HEIGHT = 360


def new_figure(height: int = HEIGHT, **layout: Any) -> go.Figure:
    """An empty figure in the house's layout; `layout` as plotly's."""
    base = {
        "height": height,
        "margin": {"l": 56, "r": 16, "t": 16, "b": 48},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "namelength": -1},
        "template": "none",
    }
    return go.Figure(layout={**base, **layout})


def share_axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis of shares, shown in percent."""
    return {"title": {"text": title}, "tickformat": ".0%", **more}


def series(place: int) -> dict[str, Any]:
    """Colour, dash and symbol of the place-th curve: told apart without colour too."""
    return {
        "line": {"color": SERIES[place % len(SERIES)], "dash": DASHES[place % len(DASHES)], "width": 2},
        "marker": {"color": SERIES[place % len(SERIES)], "symbol": SYMBOLS[place % len(SYMBOLS)], "size": 6},
    }


def bar_height(bars: int) -> int:
    """Of a figure with horizontal bars."""
    return max(160, 90 + 24 * bars)
