"""Coloured polygons, from which all things in focus are painted: heads, stems, leaves, blades."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import ImageDraw

from kit.synthetic.species import Leaf


@dataclass(frozen=True)
class Facets:
    """Polygons of equally many corners in the image plane, y downwards.

    `corners` are float (n, corners of each, 2); `colours` float (n, 4): RGB and opacity, 0-255.
    """

    corners: np.ndarray
    colours: np.ndarray

    def placed(self, at: np.ndarray, scale: float = 1.0, roll: float = 0.0) -> "Facets":
        """Scale, rotate by `roll` radians clockwise, and move (0, 0) to `at`."""
        cos, sin = scale * np.cos(roll), scale * np.sin(roll)
        across, down = self.corners[..., 0], self.corners[..., 1]
        corners = np.empty_like(self.corners)
        corners[..., 0] = at[0] + cos * across - sin * down
        corners[..., 1] = at[1] + sin * across + cos * down
        return Facets(corners, self.colours)

    def paint(self, draw: ImageDraw.ImageDraw) -> None:
        """Paint the polygons in order; `draw` must blend: mode RGBA on an RGB image."""
        colours = self.colours.clip(0, 255).astype(np.uint32)
        inks = colours[:, 0] | colours[:, 1] << 8 | colours[:, 2] << 16 | colours[:, 3] << 24
        for corners, ink in zip(self.corners.reshape(len(inks), -1).tolist(), inks.tolist(), strict=True):
            draw.polygon(corners, fill=ink)


def strip(points: np.ndarray, half: np.ndarray | float, colour: np.ndarray, contrast: float = 0.16) -> Facets:
    """A stem, twig or blade: a band along points, one of its halves lighter than the other.

    `points` are float (n, 2), y downwards, and `half` is half the width at each, in pixels. `colour` is RGB, 0-255;
    `contrast` is the share by which the halves are lighter and darker.
    """
    along = np.empty_like(points)
    along[1:-1] = points[2:] - points[:-2]
    along[0], along[-1] = points[1] - points[0], points[-1] - points[-2]
    along *= (half / (np.hypot(along[:, 0], along[:, 1]) + 1e-9))[:, None]
    aside = along[:, ::-1] * (-1, 1)
    back = points[::-1]
    halves = np.stack([np.concatenate([points + aside, back]), np.concatenate([points - aside, back])])
    return Facets(halves, opaque(np.array([[1 + contrast], [1 - contrast]]) * colour))


def curve(start: np.ndarray, knee: np.ndarray, end: np.ndarray, pieces: int) -> np.ndarray:
    """Points of a quadratic Bézier curve: float (pieces + 1, 2)."""
    along = steps(pieces)[:, None]
    return (1 - along) ** 2 * start + 2 * along * (1 - along) * knee + along**2 * end


def leaf(form: Leaf, length: float, bend: float, tone: float) -> Facets:
    """A leaf from (0, 0) to the right: `length` in pixels, curved by `bend` radians, `tone` times its colour."""
    pieces = max(8, 4 * form.teeth)
    along = steps(pieces)
    angle = bend * (along - 0.2)
    spine = np.cumsum(np.stack([np.cos(angle), np.sin(angle)], -1), 0) * length / pieces
    half = arch(along, form.widest) ** 0.8 * (1 - form.bite * ((along * form.teeth) % 1)) * form.width * length
    return strip(spine, half + 0.01 * length, np.array(form.colour) * tone, 0.1)


@cache
def steps(pieces: int) -> np.ndarray:
    """0 to 1 in equal steps: float (pieces + 1,), read-only."""
    places = np.linspace(0, 1, pieces + 1)
    places.flags.writeable = False
    return places


def arch(along: np.ndarray, widest: float) -> np.ndarray:
    """Outline: 0 at both ends (0 and 1) and 1 at `widest`."""
    return np.sin(np.pi * along ** (np.log(0.5) / np.log(widest))).clip(0)


def opaque(colours: np.ndarray) -> np.ndarray:
    """RGB (n, 3) with full opacity: (n, 4)."""
    return np.concatenate([colours, np.full((len(colours), 1), 255.0)], 1)
