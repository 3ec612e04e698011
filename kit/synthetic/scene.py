"""One image: where flowers stand, and how each is painted."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from kit.synthetic.blossoms import Pose, draw_head
from kit.synthetic.catalogue import find_species
from kit.synthetic.light import USUAL, Conditions, develop
from kit.synthetic.species import Palette, Species, curve, leaf, pick, strip
from kit.synthetic.surroundings import backdrop, clutter, visitor

_OVERSAMPLED = 2  # facets have hard rims: the scene is painted larger and reduced


@dataclass(frozen=True)
class Stand:
    """Position and radius of a head, in pixels, y downwards."""

    x: float
    y: float
    radius: float


def draw_image(number: int, index: int, seed: int, size: int, conditions: Conditions = USUAL) -> Image.Image:
    """Image `index` of species `number`: RGB, size x size."""
    random = np.random.default_rng([seed, number, index])
    species, side = find_species(number), _OVERSAMPLED * size
    scene = backdrop(side, conditions, random)
    draw = ImageDraw.Draw(scene, "RGBA")
    clutter(draw, side, int(random.integers(0, conditions.clutter + 1)), 0.45, random)
    bed = Bed(species, side, random)
    for stand in stands(side, conditions, random):
        bed.plant(draw, stand, random)
    clutter(draw, side, int(random.integers(0, conditions.clutter // 3 + 1)), 0.75, random)
    if random.random() < 0.07:
        visitor(draw, side, random)
    return develop(scene, size, conditions, random)


# === Plants ===


def stands(side: int, conditions: Conditions, random: np.random.Generator) -> list[Stand]:
    """Positions of heads, the farthest first: one, several, or a field of them."""
    kind = random.random()
    if kind < conditions.field:
        return _field(side, int(random.integers(9, 22)), random)
    smallest, largest = conditions.radius
    radius = smallest * (largest / smallest) ** random.random()
    if kind < conditions.field + conditions.crowd:
        return _group(side, min(radius, 0.24), int(random.integers(2, 7)), random)
    reach = 0.26 if radius < 0.3 else 0.16
    x, y = np.array([0.5, 0.46]) + random.uniform(-reach, reach, 2)
    return [Stand(side * x, side * y, side * radius)]


def _field(side: int, count: int, random: np.random.Generator) -> list[Stand]:
    rows = np.sort(random.uniform(0.3, 1.05, count))
    sizes = (0.02 + 0.085 * rows**2) * random.uniform(0.8, 1.2, count)  # those farther down are nearer
    columns = random.uniform(-0.05, 1.05, count)
    return [Stand(side * x, side * y, side * size) for x, y, size in zip(columns, rows, sizes, strict=True)]


def _group(side: int, radius: float, count: int, random: np.random.Generator) -> list[Stand]:
    reach = min(0.45, 1.5 * radius * np.sqrt(count))
    places = random.uniform(0.35, 0.65, 2) + random.uniform(-reach, reach, (count, 2))
    sizes = radius * random.uniform(0.75, 1.1, count)
    order = places[:, 1].argsort()
    return [Stand(side * x, side * y, side * size) for (x, y), size in zip(places[order], sizes[order], strict=True)]


class Bed:
    """Plants of one species in one image, sharing the light and mostly colours and stage."""

    def __init__(self, species: Species, side: int, random: np.random.Generator):
        self._species = species
        self._side = side
        self._mixed = random.random() < 0.2
        self._tone = random.uniform(0.8, 1.25)
        self._tilt = random.random()
        light = np.array([random.uniform(-0.8, 0.8), random.uniform(0.1, 1.0), random.uniform(0.4, 1.0)])
        self._light = light / np.linalg.norm(light)
        self._choose(random)

    def _choose(self, random: np.random.Generator) -> None:
        self._bloom = pick(self._species.blooms, random)
        self._palette = pick(self._bloom.palettes, random)

    def plant(self, draw: ImageDraw.ImageDraw, stand: Stand, random: np.random.Generator) -> None:
        """Paint a head, its leaves, and its stem, which reaches the ground or leaves the image."""
        if self._mixed:
            self._choose(random)
        species, at = self._species, np.array([stand.x, stand.y])
        lean = random.normal(0, 0.2)
        down = np.array([-np.sin(lean), 1.0])
        depth = max(3.5 * stand.radius, 1.05 * self._side - stand.y)
        foot = at + down * depth + (random.normal(0, 0.3) * stand.radius, 0)
        stem = curve(at, at + down * (1.6 * stand.radius), foot, 8)
        tone = self._tone * random.uniform(0.85, 1.15)
        colour = np.array(species.leaf.colour) * (1.15, 1.05, 0.95) * tone
        strip(stem, max(1.0, species.stem * stand.radius), colour).paint(draw)
        self._paint_leaves(draw, stem, stand.radius, tone, random)
        least, most = species.tilt
        tilt = least + (most - least) * np.clip(self._tilt + random.normal(0, 0.15), 0, 1)
        pose = Pose(float(random.beta(*species.openness)), np.radians(tilt), self._light)
        detail = 1 if stand.radius < 28 else 2 if stand.radius < 90 else 3
        head = draw_head(self._bloom, stray(self._palette, random), pose, detail, random)
        head.placed(at, stand.radius, lean + random.normal(0, species.nod)).paint(draw)

    def _paint_leaves(
        self, draw: ImageDraw.ImageDraw, stem: np.ndarray, radius: float, tone: float, random: np.random.Generator
    ) -> None:
        form = self._species.leaf
        for _ in range(int(random.integers(form.count[0], form.count[1] + 1))):
            at = stem[random.integers(2, len(stem))]
            rise = random.uniform(-0.5, 0.9)
            facing = np.pi + rise if random.random() < 0.5 else -rise
            size = radius * random.uniform(*form.length)
            shape = leaf(form, size, random.uniform(-0.6, 0.9), tone * random.uniform(0.8, 1.15))
            shape.placed(at, roll=facing).paint(draw)


def stray(palette: Palette, random: np.random.Generator) -> Palette:
    """Colours of one plant, which differ a little from its palette's."""
    tone, shift = random.normal(1, palette.stray), 255 * random.normal(0, palette.stray, 3)
    base, tip = ((np.array(colour) * tone + shift).clip(0, 255).tolist() for colour in (palette.base, palette.tip))
    return Palette(tuple(base), tuple(tip))
