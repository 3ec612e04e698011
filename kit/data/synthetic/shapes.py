"""Solid shapes as small facets: petals, discs, globes, strips and leaves.

A head is built in space, its axis along +z and its radius 1, turned, and projected along z; facets are painted from
the farthest to the nearest. So one description of a species serves every angle it is seen from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kit.data.synthetic.species import Bloom, Disc, Globe, Leaf, Palette, Ring

_GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
_FLORETS = 110
_SEEDS = 120
_CALYX = Ring((5, 6), (40, 70), (34, 20), 0.26, 0.6, 0.5, 0.8, 0.02, wrapped=True)
_GREEN = Palette((84, 122, 58), (98, 138, 66))


@dataclass(frozen=True)
class Facets:
    """Flat four-sided pieces in the picture's plane, y downwards.

    Attributes:
        corners: float (n, 4, 2).
        colours: float (n, 4): RGB 0-255, and opacity 0-255.
    """

    corners: np.ndarray
    colours: np.ndarray

    def placed(self, x: float, y: float, scale: float, roll: float = 0.0) -> "Facets":
        """Scaled, turned by `roll` radians clockwise, and moved to (x, y)."""
        cos, sin = scale * np.cos(roll), scale * np.sin(roll)
        across, down = self.corners[..., 0], self.corners[..., 1]
        return Facets(np.stack([x + cos * across - sin * down, y + sin * across + cos * down], -1), self.colours)

    def paint(self, draw: Any) -> None:
        """Paints them in order with a Pillow `ImageDraw` of mode RGBA on an RGB picture."""
        colours = self.colours.clip(0, 255).astype(np.uint32)
        inks = colours[:, 0] | colours[:, 1] << 8 | colours[:, 2] << 16 | colours[:, 3] << 24
        for corners, ink in zip(self.corners.reshape(-1, 8).tolist(), inks.tolist(), strict=True):
            draw.polygon(corners, fill=ink)


@dataclass(frozen=True)
class Solid:
    """Facets in space: corners float (n, 4, 3), colours float (n, 4)."""

    corners: np.ndarray
    colours: np.ndarray


def draw_head(
    bloom: Bloom,
    palette: Palette,
    openness: float,
    tilt: float,
    light: np.ndarray,
    detail: int,
    random: np.random.Generator,
) -> Facets:
    """A head of radius about 1, seen under an angle.

    Args:
        bloom: Its stage.
        palette: Colours of its petals.
        openness: 0 closed to 1 wide open.
        tilt: Radians between its axis and the line of sight; the far end of the axis turns upwards.
        light: Direction of the light, a unit vector (x, y up, z to the viewer).
        detail: 1 coarse to 3 fine.
        random: Source of what differs from petal to petal.
    """
    solids = [petals(ring, palette, openness, place, detail, random) for place, ring in enumerate(bloom.rings)]
    solids.append(petals(_CALYX, _GREEN, openness, 0, detail, random))
    if bloom.disc:
        solids.append(disc(bloom.disc, random))
    if bloom.globe:
        solids.append(globe(bloom.globe, random))
    corners = np.concatenate([solid.corners for solid in solids])
    colours = np.concatenate([solid.colours for solid in solids])
    return project(Solid(corners, colours), tilt, light)


def project(solid: Solid, tilt: float, light: np.ndarray) -> Facets:
    """Turns a solid about the x axis, shades it, and sorts its facets by depth."""
    x, y, z = np.moveaxis(solid.corners, -1, 0)
    cos, sin = np.cos(tilt), np.sin(tilt)
    turned = np.stack([x, y * cos + z * sin, z * cos - y * sin], -1)
    order = turned[..., 2].mean(1).argsort(kind="stable")
    turned, colours = turned[order], solid.colours[order].copy()
    normal = np.cross(turned[:, 2] - turned[:, 0], turned[:, 3] - turned[:, 1])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    normal *= np.where(normal[:, 2:] < 0, -1, 1)  # the side that is seen
    facing = normal @ light
    # petals let light through: the far side glows, too
    colours[:, :3] *= (0.62 + 0.42 * facing.clip(0) + 0.16 * (-facing).clip(0))[:, None]
    return Facets(turned[..., :2] * (1, -1), colours)


def petals(
    ring: Ring, palette: Palette, openness: float, place: int, detail: int, random: np.random.Generator
) -> Solid:
    """One ring, the `place`-th from the outside: inner ones are staggered, and lie in the shade of the outer ones."""
    depth = 1 - 0.75**place
    count = int(random.integers(ring.petals[0], ring.petals[1] + 1))
    azimuth = (np.arange(count) + 0.5 * place + random.normal(0, 0.1, count)) * 2 * np.pi / count
    length = ring.length * random.uniform(0.86, 1.1, count)
    droop = random.normal(0, 5, count)
    tone = random.normal(1, 0.06, count)
    ruffle = random.uniform(0, 2 * np.pi, count)
    along = np.sin(np.linspace(0, np.pi / 2, (2, 4, 6)[detail - 1] + 1))  # closer together towards the tip
    across = np.linspace(-1, 1, ((2, 3, 5) if ring.wrapped else (2, 3, 3))[detail - 1])
    pitch = [closed + (opened - closed) * openness for closed, opened in zip(ring.closed, ring.opened, strict=True)]
    angle = np.radians(pitch[0] + (pitch[1] - pitch[0]) * along + droop[:, None])  # (count, along)
    step = np.diff(along, prepend=0) * length[:, None]
    radius = ring.start + np.cumsum(step * np.cos(angle), 1)
    height = np.cumsum(step * np.sin(angle), 1)
    outline = ring.width * np.sin(np.pi * along ** (np.log(0.5) / np.log(ring.widest))).clip(0) ** ring.blunt
    radius, height, turn = radius[..., None], height[..., None], azimuth[:, None, None]
    if ring.wrapped:
        turn = turn + outline[:, None] * across
        radius = (
            np.abs(radius)
            * (1 + 0.06 * np.sin(3 * across + ruffle[:, None, None]) * along[:, None])
            * np.ones_like(turn)
        )
        points = np.stack([radius * np.cos(turn), radius * np.sin(turn), height + 0 * turn], -1)
    else:
        aside = outline[:, None] * across * length[:, None, None]
        lift = height + 0.3 * np.abs(aside)
        points = np.stack(
            [radius * np.cos(turn) - aside * np.sin(turn), radius * np.sin(turn) + aside * np.cos(turn), lift], -1
        )
    middle = (along[:-1] + along[1:]) / 2
    colours = np.array(palette.base) + (np.array(palette.tip) - palette.base) * middle[:, None] ** 0.8
    shadow = 1 - (0.62 if ring.wrapped else 0.25) * (1 - middle) * (0.4 + 0.6 * depth)
    colours = colours[None, :, None] * tone[:, None, None, None] * shadow[None, :, None, None]
    sides = 1 + 0.05 * np.where(np.arange(len(across) - 1) % 2, 1, -1)[:, None]  # a rib between darker and lighter
    return _facets_of(points, np.broadcast_to(colours * sides, (count, len(middle), len(across) - 1, 3)))


def disc(form: Disc, random: np.random.Generator) -> Solid:
    """A dome of florets in Vogel's spiral (1979, A better way to construct the sunflower head)."""
    place = (np.arange(_FLORETS) + 0.5) / _FLORETS
    size = random.uniform(*form.radius)
    radius, turn = size * np.sqrt(place), np.arange(_FLORETS) * _GOLDEN_ANGLE
    tone = random.normal(1, 0.13, _FLORETS)
    centre = np.stack([radius * np.cos(turn), radius * np.sin(turn), 0.06 + form.height * (1 - place)], -1)
    side = 1.75 * size / np.sqrt(_FLORETS)
    corner = turn[:, None] + np.arange(4) * np.pi / 2
    offset = side * np.stack([np.cos(corner), np.sin(corner), 0 * corner], -1)
    offset[..., 2] -= (offset[..., :2] * centre[:, None, :2]).sum(-1) * 2 * form.height / size**2  # tangent to the dome
    colours = (np.array(form.inner) + (np.array(form.outer) - form.inner) * place[:, None]) * tone[:, None]
    return Solid(centre[:, None] + offset, _opaque(colours))


def globe(form: Globe, random: np.random.Generator) -> Solid:
    """A seed head: stalks on a core, each with a parachute of hairs."""
    turn = np.arange(_SEEDS) * _GOLDEN_ANGLE + random.uniform(0, 2 * np.pi)
    rise = 1 - 1.7 * (np.arange(_SEEDS) + 0.5) / _SEEDS
    flat = np.sqrt(1 - rise**2)
    out = np.stack([flat * np.cos(turn), flat * np.sin(turn), rise], -1)
    out += random.normal(0, 0.05, out.shape)
    out = out[random.random(_SEEDS) > random.uniform(-0.3, 0.5)]  # the wind has taken some
    hairs = np.repeat(out, 6, 0)
    tips = hairs * random.uniform(0.9, 1.05, (len(hairs), 1)) + random.normal(0, 0.13, hairs.shape)
    core = np.array(form.core)
    parts = [
        _lines(out * 0.1, out * 0.24, 0.035, core, 255),
        _lines(out * 0.2, out * 0.7, 0.008, core * 0.4 + np.array(form.colour) * 0.6, 120),
        _lines(hairs * 0.68, tips, 0.016, np.array(form.colour), 120),
    ]
    return Solid(np.concatenate([part.corners for part in parts]), np.concatenate([part.colours for part in parts]))


def _lines(start: np.ndarray, end: np.ndarray, half: float, colour: np.ndarray, opacity: float) -> Solid:
    """Thin facets from each start to each end, all facing z."""
    along = end - start
    aside = np.stack([-along[:, 1], along[:, 0], 0 * along[:, 0]], -1)
    aside *= half / (np.linalg.norm(aside, axis=1, keepdims=True) + 1e-6)
    corners = np.stack([start - aside, start + aside, end + aside, end - aside], 1)
    colours = np.broadcast_to([*colour, opacity], (len(start), 4))
    return Solid(corners, colours)


def strip(points: np.ndarray, half: np.ndarray | float, colour: Sequence[float], light_side: float = 1.16) -> Facets:
    """A stem, twig or blade: a band along points (n, 2) in pixels, its left half darker than its right.

    Args:
        points: float (n, 2), y downwards.
        half: Half of the width at each point, in pixels.
        colour: RGB, 0-255.
        light_side: How much lighter the right half is.
    """
    along = np.gradient(points, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    aside = np.stack([-along[:, 1], along[:, 0]], -1) * np.broadcast_to(half, len(points))[:, None]
    edges = np.stack([points - aside, points, points + aside], 1)
    tones = np.array([light_side, 2 - light_side])[None, :, None] * np.asarray(colour, float)
    return _flat_facets(edges, np.broadcast_to(tones, (len(points) - 1, 2, 3)))


def leaf(form: Leaf, length: float, bend: float, tone: float) -> Facets:
    """A leaf from (0, 0) to the right, of `length` pixels, curved by `bend` radians."""
    pieces = max(6, 4 * form.teeth)
    along = np.linspace(0, 1, pieces + 1)
    angle = bend * (along - 0.2)
    spine = np.cumsum(np.stack([np.cos(angle), np.sin(angle)], -1), 0) * length / pieces
    half = np.sin(np.pi * along ** (np.log(0.5) / np.log(form.widest))).clip(0) ** 0.8
    half = half * (1 - form.bite * ((along * form.teeth) % 1)) * form.width * length + 0.01 * length
    return strip(spine, half, np.array(form.colour) * tone, 1.1)


def join(parts: Sequence[Facets]) -> Facets:
    """All facets, the first part's first."""
    return Facets(np.concatenate([part.corners for part in parts]), np.concatenate([part.colours for part in parts]))


def _facets_of(points: np.ndarray, colours: np.ndarray) -> Solid:
    """Grids of points (petals, along, across, 3) with a colour for each mesh -> facets."""
    corners = np.stack([points[:, :-1, :-1], points[:, :-1, 1:], points[:, 1:, 1:], points[:, 1:, :-1]], -2)
    return Solid(corners.reshape(-1, 4, 3), _opaque(colours.reshape(-1, 3)))


def _flat_facets(points: np.ndarray, colours: np.ndarray) -> Facets:
    corners = np.stack([points[:-1, :-1], points[:-1, 1:], points[1:, 1:], points[1:, :-1]], -2)
    return Facets(corners.reshape(-1, 4, 2), _opaque(colours.reshape(-1, 3)))


def _opaque(colours: np.ndarray) -> np.ndarray:
    return np.concatenate([colours, np.full((len(colours), 1), 255.0)], 1)


def stray(palette: Palette, random: np.random.Generator) -> Palette:
    """The colours of one plant, which differ a little from its palette's."""

    def moved(colour: tuple[int, int, int]) -> tuple[int, int, int]:
        red, green, blue = (np.array(colour) * tone + 255 * shift).clip(0, 255)
        return int(red), int(green), int(blue)

    tone, shift = random.normal(1, palette.stray), random.normal(0, palette.stray, 3)
    return Palette(moved(palette.base), moved(palette.tip))
