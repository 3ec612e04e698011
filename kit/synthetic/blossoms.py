"""Flower heads as solids: petals, discs and seed heads.

A head is built in space, its axis along +z and its radius about 1, turned, and projected along z; its facets are
painted from back to front.
"""

from dataclasses import dataclass

import numpy as np

from kit.synthetic.species import Bloom, Disc, Facets, Globe, Palette, Ring, arch, opaque, steps

_GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
_CALYX = Ring((5, 6), (10, 40), (-10, -30), 0.3, 0.55, 0.5, 0.8, 0.03, wrapped=True)
_GREEN = Palette((84, 122, 58), (98, 138, 66))
_MESHES = {1: (2, 1), 2: (3, 1), 3: (6, 2)}  # detail -> meshes along and across a flat petal
_WRAPPED_MESHES = {1: (2, 2), 2: (3, 3), 3: (7, 8)}
_FLORETS = {1: 25, 2: 60, 3: 120}
_SEEDS = {1: 60, 2: 100, 3: 130}
_HAIRS = {1: 2, 2: 4, 3: 6}  # of each seed


@dataclass(frozen=True)
class Pose:
    """Orientation of a head, how open it is, and its light.

    Attributes:
        openness: 0 closed to 1 wide open.
        tilt: Radians between its axis and the line of sight; the far end of the axis turns upwards.
        light: Direction to the light: a unit vector (x, y upwards, z to the viewer).
    """

    openness: float
    tilt: float
    light: np.ndarray


@dataclass(frozen=True)
class Solid:
    """Facets in space: corners float (n, 4, 3), colours float (n, 4)."""

    corners: np.ndarray
    colours: np.ndarray


def draw_head(bloom: Bloom, palette: Palette, pose: Pose, detail: int, random: np.random.Generator) -> Facets:
    """Draw a head of radius about 1 around (0, 0); `detail` is 1 (coarse) to 3 (fine)."""
    spin = random.uniform(0, 2 * np.pi)
    parts = [petals(_CALYX, _GREEN, 0, pose.openness, detail, random)] if bloom.calyx else []
    for place, ring in enumerate(bloom.rings):
        parts.append(petals(ring, palette, place, pose.openness, detail, random, spin))
    if bloom.disc:
        parts.append(disc(bloom.disc, _FLORETS[detail], random))
    if bloom.globe:
        parts.append(globe(bloom.globe, _SEEDS[detail], _HAIRS[detail], random))
    corners = np.concatenate([part.corners for part in parts])
    if bloom.rings:  # cups stand above their base: to the middle
        corners[..., 2] -= 0.5 * corners[..., 2].max()
    return project(Solid(corners, np.concatenate([part.colours for part in parts])), pose)


def project(solid: Solid, pose: Pose) -> Facets:
    """Turn a solid about the x axis, shade it, and sort its facets by depth."""
    x, y, z = np.moveaxis(solid.corners, -1, 0)
    cos, sin = np.cos(pose.tilt), np.sin(pose.tilt)
    turned = np.stack([x, y * cos + z * sin, z * cos - y * sin], -1)
    order = turned[..., 2].mean(1).argsort(kind="stable")
    turned, colours = turned[order], solid.colours[order]
    normal = np.cross(turned[:, 2] - turned[:, 0], turned[:, 3] - turned[:, 1])
    normal *= np.where(normal[:, 2:] < 0, -1, 1)  # of the side that is seen
    facing = normal @ pose.light / (np.linalg.norm(normal, axis=1) + 1e-9)
    # petals let light through: those lit from behind glow, too
    colours[:, :3] *= (0.66 + 0.42 * facing.clip(0) + 0.2 * (-facing).clip(0))[:, None]
    return Facets(turned[..., :2] * (1, -1), colours)


def petals(
    ring: Ring,
    palette: Palette,
    place: int,
    openness: float,
    detail: int,
    random: np.random.Generator,
    spin: float = 0.0,
) -> Solid:
    """Ring number `place` from the outside: inner rings are staggered, and shaded by outer ones."""
    count = int(random.integers(ring.petals[0], ring.petals[1] + 1))
    azimuth = spin + (np.arange(count) + 0.5 * place + random.normal(0, 0.1, count)) * 2 * np.pi / count
    length = ring.length * random.uniform(0.86, 1.1, count)
    droop = random.normal(0, 5, count)
    ruffle = random.uniform(0, 2 * np.pi, count)
    tone = random.normal(1, 0.06, count)
    meshes = (_WRAPPED_MESHES if ring.wrapped else _MESHES)[detail]
    along = np.sin(np.pi / 2 * steps(meshes[0]))  # closer together towards the tip
    across = 2 * steps(meshes[1]) - 1
    radius, height = _midribs(ring, openness, along, length, droop)
    half = ring.width * arch(along, ring.widest) ** ring.blunt
    turn = azimuth[:, None, None]
    if ring.wrapped:
        turn = turn + half[:, None] * across
        radius = np.abs(radius) * (1 + 0.06 * along[:, None] * np.sin(3 * across + ruffle[:, None, None]))
        points = np.stack(np.broadcast_arrays(radius * np.cos(turn), radius * np.sin(turn), height), -1)
    else:
        aside = half[:, None] * across * length[:, None, None]
        x, y = radius * np.cos(turn) - aside * np.sin(turn), radius * np.sin(turn) + aside * np.cos(turn)
        points = np.stack([x, y, height + 0.3 * np.abs(aside)], -1)  # a little folded along the midrib
    return _facets_of(points, tone[:, None, None, None] * _colours(ring, palette, place, along, meshes[1]))


def _midribs(
    ring: Ring, openness: float, along: np.ndarray, length: np.ndarray, droop: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distance from the axis, and height, of each petal's midrib: float (petals, along, 1) each."""
    base, tip = (closed + (opened - closed) * openness for closed, opened in zip(ring.closed, ring.opened, strict=True))
    pitch = np.radians(base + (tip - base) * along + droop[:, None])
    step = np.diff(along, prepend=0) * length[:, None]
    radius, height = ring.start + np.cumsum(step * np.cos(pitch), 1), np.cumsum(step * np.sin(pitch), 1)
    return radius[..., None], height[..., None]


def _colours(ring: Ring, palette: Palette, place: int, along: np.ndarray, strips: int) -> np.ndarray:
    """RGB of each mesh of a petal: float (along, across, 3)."""
    middle = ((along[:-1] + along[1:]) / 2)[:, None]
    base, tip = np.array(palette.base), np.array(palette.tip)
    inside = 1 - 0.75**place
    shadow = 1 - (0.6 if ring.wrapped else 0.25) * (1 - middle) * (0.4 + 0.6 * inside)
    rib = 1 + (0.012 if ring.wrapped else 0.04) * np.where(np.arange(strips) % 2, 1, -1)[:, None]
    return ((base + (tip - base) * middle**0.8) * shadow)[:, None] * rib


def disc(form: Disc, florets: int, random: np.random.Generator) -> Solid:
    """A dome of `florets` florets in Vogel's spiral (1979, A better way to construct the sunflower head)."""
    place = (np.arange(florets) + 0.5) / florets
    size = random.uniform(*form.radius)
    radius, turn = size * np.sqrt(place), np.arange(florets) * _GOLDEN_ANGLE
    centre = np.stack([radius * np.cos(turn), radius * np.sin(turn), 0.06 + form.height * (1 - place)], -1)
    corner = turn[:, None] + np.arange(4) * np.pi / 2
    offset = 1.75 * size / np.sqrt(florets) * np.stack([np.cos(corner), np.sin(corner), 0 * corner], -1)
    slope = -2 * form.height / size**2 * centre[:, None, :2]
    offset[..., 2] = (offset[..., :2] * slope).sum(-1)  # tangent to the dome
    tone = random.normal(1, 0.13, (florets, 1))
    colours = (np.array(form.inner) + (np.array(form.outer) - form.inner) * place[:, None]) * tone
    return Solid(centre[:, None] + offset, opaque(colours))


def globe(form: Globe, seeds: int, hairs_each: int, random: np.random.Generator) -> Solid:
    """A seed head: stalks on a core, each with a parachute of hairs."""
    turn = np.arange(seeds) * _GOLDEN_ANGLE + random.uniform(0, 2 * np.pi)
    rise = 1 - 1.7 * (np.arange(seeds) + 0.5) / seeds
    flat = np.sqrt(1 - rise**2)
    out = np.stack([flat * np.cos(turn), flat * np.sin(turn), rise], -1) + random.normal(0, 0.05, (seeds, 3))
    out = out[random.random(seeds) > random.uniform(-0.4, 0.5)]  # the wind has taken some
    hairs = np.repeat(out, hairs_each, 0)
    tips = hairs * random.uniform(0.9, 1.05, (len(hairs), 1)) + random.normal(0, 0.13, hairs.shape)
    core, white = np.array(form.core), np.array(form.colour)
    parts = [
        _lines(out * 0.06, out * 0.24, 0.04, core, 255),
        _lines(out * 0.2, out * 0.7, 0.008, 0.4 * core + 0.6 * white, 120),
        _lines(hairs * 0.68, tips, 0.1 / hairs_each, white, 130),
    ]
    return Solid(np.concatenate([part.corners for part in parts]), np.concatenate([part.colours for part in parts]))


def _lines(start: np.ndarray, end: np.ndarray, half: float, colour: np.ndarray, opacity: float) -> Solid:
    """Thin facets from each start to each end, broad sides to the viewer."""
    aside = (end - start)[:, [1, 0, 2]] * (-1, 1, 0)
    aside *= half / (np.linalg.norm(aside, axis=1, keepdims=True) + 1e-6)
    corners = np.stack([start - aside, start + aside, end + aside, end - aside], 1)
    return Solid(corners, np.tile([*colour, opacity], (len(start), 1)))


def _facets_of(points: np.ndarray, colours: np.ndarray) -> Solid:
    """Grids of points (petals, along + 1, across + 1, 3) with a colour for each mesh -> facets."""
    corners = np.stack([points[:, :-1, :-1], points[:, :-1, 1:], points[:, 1:, 1:], points[:, 1:, :-1]], -2)
    return Solid(corners.reshape(-1, 4, 3), opaque(colours.reshape(-1, 3)))
