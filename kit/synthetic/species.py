"""Parameters of a species.

Lengths are shares of the head's radius, angles degrees, colours 8-bit RGB. A pair is a range from which each plant or
petal draws its own value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

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
