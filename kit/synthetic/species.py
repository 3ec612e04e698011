"""Parameters of a species, and the flat coloured polygons (facets) that stems, leaves and blades are painted from.

Lengths are shares of the head's radius, angles degrees, colours 8-bit RGB. A pair is a range from which each plant or
petal draws its own value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol, TypeVar

import numpy as np
from PIL import ImageDraw

Colour = tuple[int, int, int]
Range = tuple[float, float]


class Weighted(Protocol):
    """One of several options, drawn with a weight."""

    @property
    def weight(self) -> float: ...


Option = TypeVar("Option", bound=Weighted)


@dataclass(frozen=True)
class Ring:
    """Petals that stand in one circle.

    Attributes:
        petals: Least and most petals.
        closed: Pitch at a petal's base and at its tip while the flower is closed; 0 lies flat, 90 stands upright.
        opened: The same when wide open.
        length: From base to tip, along the petal.
        width: Half of the greatest width: a share of the length, or radians around the axis where `wrapped`.
        widest: Where along the petal it is widest, 0 to 1.
        blunt: Exponent of the outline: 1 is a sine arch, less is blunter, more is more pointed.
        start: Distance of the bases from the axis.
        wrapped: Whether petals bend around the axis, as those of cups do, or are flat, as rays are.
    """

    petals: tuple[int, int]
    closed: Range
    opened: Range
    length: float
    width: float
    widest: float = 0.6
    blunt: float = 0.7
    start: float = 0.1
    wrapped: bool = False


@dataclass(frozen=True)
class Palette:
    """Petal colours from base to tip, how far plants stray from them, and the palette's weight."""

    base: Colour
    tip: Colour
    stray: float = 0.06
    weight: float = 1.0


@dataclass(frozen=True)
class Disc:
    """The centre: florets in a spiral on a dome."""

    radius: Range
    height: float
    inner: Colour
    outer: Colour


@dataclass(frozen=True)
class Globe:
    """A seed head: parachutes on a ball."""

    colour: Colour
    core: Colour


@dataclass(frozen=True)
class Leaf:
    """Outline of a leaf, and number of leaves on a stem (`count`, least and most).

    Attributes:
        width: Half of the greatest width, a share of the length.
        widest: Where along the leaf it is widest, 0 to 1.
        teeth: Teeth on each side; 0 is a smooth rim.
        bite: Depth of the teeth, share of the half width.
        colour: Of the lit side.
    """

    length: Range
    width: float
    widest: float
    teeth: int
    bite: float
    colour: Colour
    count: tuple[int, int]


@dataclass(frozen=True)
class Bloom:
    """A head at one stage of its life; a species may have several."""

    palettes: tuple[Palette, ...]
    rings: tuple[Ring, ...] = ()
    disc: Disc | None = None
    globe: Globe | None = None
    weight: float = 1.0
    calyx: bool = True  # green sepals below the petals


@dataclass(frozen=True)
class Species:
    """Parameters of one species; `blooms` are the stages of its heads.

    Attributes:
        stem: Half of the stem's thickness, share of the head's radius.
        tilt: Angle between the head's axis and the line of sight: 0 looks into the flower, 90 sees it from the side.
        openness: Parameters of the beta distribution of how far heads are open, 0 to 1.
        nod: Standard deviation of the angle, in radians, by which heads lean off their stem.
    """

    name: str
    blooms: tuple[Bloom, ...]
    leaf: Leaf
    stem: float
    tilt: Range
    openness: Range = (2.0, 1.2)
    nod: float = 0.25


def pick(options: Sequence[Option], random: np.random.Generator) -> Option:
    """Draw one option by the weights."""
    bounds = np.cumsum([option.weight for option in options])
    return options[int(np.searchsorted(bounds, random.random() * bounds[-1], side="right"))]


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
