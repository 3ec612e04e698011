"""What stands where: backdrop, plants, clutter; then the photo of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from kit.data.synthetic.facets import curve, leaf, steps, strip
from kit.data.synthetic.heads import Pose, draw_head
from kit.data.synthetic.light import USUAL, Conditions, develop, soft_noise
from kit.data.synthetic.species import REAL, Colour, Palette, Species, find_species

_OVERSAMPLED = 2  # facets have hard rims: the scene is painted larger and reduced
_BACKDROP = 80  # side of the backdrop before it is enlarged, in pixels: it is out of focus anyway
_GREENS = ((84, 132, 52), (110, 156, 68), (64, 108, 54), (134, 164, 84), (100, 124, 70))
_STRAWS = ((176, 158, 106), (128, 104, 70), (158, 140, 100))


@dataclass(frozen=True)
class Place:
    """A kind of backdrop: how often, its colours above and below, how uneven, and what may stand there."""

    weight: float
    top: Colour
    bottom: Colour
    roughness: float
    plants: float = 0.0  # from which height on, share of the side; 0 is none
    pebbles: bool = False
    boards: bool = False


_PLACES = (
    Place(0.28, (156, 182, 112), (84, 124, 52), 0.32, plants=0.2, pebbles=True),  # a meadow
    Place(0.22, (56, 86, 42), (74, 110, 52), 0.42, plants=0.1),  # foliage
    Place(0.16, (98, 158, 224), (206, 222, 232), 0.12, plants=0.75),  # the sky
    Place(0.1, (132, 108, 82), (104, 80, 58), 0.35, pebbles=True),  # soil
    Place(0.09, (18, 22, 18), (30, 36, 26), 0.4),  # a dark room
    Place(0.09, (206, 198, 186), (160, 150, 136), 0.1, boards=True),  # a fence or a wall
    Place(0.06, (106, 94, 142), (244, 164, 104), 0.18, plants=0.75),  # dusk
)


@dataclass(frozen=True)
class Stand:
    """Where a head is and how large: pixels, y downwards."""

    x: float
    y: float
    radius: float


def draw_photo(number: int, index: int, seed: int, size: int, conditions: Conditions = USUAL) -> Image.Image:
    """Photo `index` of species `number`: RGB, size x size."""
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
    """Where heads are, the farthest first: one, several, or a field of them."""
    kind = random.random()
    if kind < conditions.field:
        rows = np.sort(random.uniform(0.3, 1.05, int(random.integers(9, 22))))
        radii = (0.02 + 0.085 * rows**2) * random.uniform(0.8, 1.2, len(rows))
        columns = random.uniform(-0.05, 1.05, len(rows))
        return [Stand(side * x, side * y, side * r) for x, y, r in zip(columns, rows, radii, strict=True)]
    smallest, largest = conditions.radius
    radius = smallest * (largest / smallest) ** random.random()
    if kind < conditions.field + conditions.crowd:
        radius = min(radius, 0.24)
        count = int(random.integers(2, 7))
        reach = min(0.45, 1.5 * radius * np.sqrt(count))
        places = random.uniform(0.35, 0.65, 2) + random.uniform(-reach, reach, (count, 2))
        radii = radius * random.uniform(0.75, 1.1, count)
        order = places[:, 1].argsort()
        return [Stand(side * places[i, 0], side * places[i, 1], side * radii[i]) for i in order]
    reach = 0.26 if radius < 0.3 else 0.16
    x, y = np.array([0.5, 0.46]) + random.uniform(-reach, reach, 2)
    return [Stand(side * x, side * y, side * radius)]


class Bed:
    """Plants of one species in one photo: they share the light, and mostly their colours and their stage."""

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
        blooms = self._species.blooms
        self._bloom = blooms[_pick([bloom.weight for bloom in blooms], random)]
        palettes = self._bloom.palettes
        self._palette = palettes[_pick([palette.weight for palette in palettes], random)]

    def plant(self, draw: ImageDraw.ImageDraw, stand: Stand, random: np.random.Generator) -> None:
        """Paints a head, its stem, which reaches the ground or leaves the picture, and leaves."""
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
        detail = 1 if stand.radius < 24 else 2 if stand.radius < 80 else 3
        head = draw_head(self._bloom, stray(self._palette, random), pose, detail, random)
        head.placed(*at, stand.radius, lean + random.normal(0, species.nod)).paint(draw)

    def _paint_leaves(
        self, draw: ImageDraw.ImageDraw, stem: np.ndarray, radius: float, tone: float, random: np.random.Generator
    ) -> None:
        form = self._species.leaf
        for _ in range(int(random.integers(form.count[0], form.count[1] + 1))):
            x, y = stem[random.integers(2, len(stem))]
            rise = random.uniform(-0.5, 0.9)
            facing = np.pi + rise if random.random() < 0.5 else -rise
            size = radius * random.uniform(*form.length)
            leaf(form, size, random.uniform(-0.6, 0.9), tone * random.uniform(0.8, 1.15)).placed(
                x, y, roll=facing
            ).paint(draw)


def stray(palette: Palette, random: np.random.Generator) -> Palette:
    """The colours of one plant, which differ a little from its palette's."""
    tone, shift = random.normal(1, palette.stray), 255 * random.normal(0, palette.stray, 3)
    base, tip = ((np.array(colour) * tone + shift).clip(0, 255).tolist() for colour in (palette.base, palette.tip))
    return Palette(tuple(base), tuple(tip))


# === Surroundings ===


def backdrop(side: int, conditions: Conditions, random: np.random.Generator) -> Image.Image:
    """What lies behind, out of focus: RGB, side x side."""
    place = _PLACES[_pick([place.weight for place in _PLACES], random)]
    small = _BACKDROP
    height = np.linspace(0, 1, small)[:, None, None] ** random.uniform(0.6, 1.6)
    colour = np.array(place.top) * (1 - height) + np.array(place.bottom) * height
    texture = sum(weight * soft_noise(random, cells, small) for weight, cells in ((0.5, 4), (0.35, 11), (0.25, 30)))
    colour = colour * (1 + place.roughness * random.uniform(0.5, 1.3) * texture[..., None])
    colour = colour * random.uniform(0.75, 1.2) * random.uniform(0.92, 1.08, 3)
    picture = Image.fromarray(colour.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture, "RGBA")
    if place.boards:
        _boards(draw, small, random)
    if place.plants:
        clutter(draw, small, int(random.integers(4, 26)), place.plants, random)
    if place.pebbles:
        _spots(draw, small, int(random.integers(0, 30)), (0.008, 0.03), (*_STRAWS, *_GREENS), 220, random)
    if random.random() < 0.4:  # points of light, out of focus
        glow = [(210, 226, 170), (250, 244, 214), tuple(min(255, 60 + c) for c in place.top)]
        _spots(draw, small, int(random.integers(3, 22)), (0.015, 0.06), glow, 80, random)
    tips = [bloom.palettes[_pick([p.weight for p in bloom.palettes], random)].tip for bloom in _others(2, random)]
    _spots(draw, small, int(random.integers(0, conditions.bystanders + 1)), (0.02, 0.08), tips, 225, random)
    blur = (0.9, 1.6, 2.8, 4.0)[_pick([0.25, 0.3, 0.3, 0.15], random)]
    return picture.filter(ImageFilter.GaussianBlur(blur)).resize((side, side), Image.Resampling.BICUBIC)


def _others(count: int, random: np.random.Generator) -> list:
    return [REAL[place].blooms[0] for place in random.integers(0, len(REAL), count)]


def clutter(draw: ImageDraw.ImageDraw, side: int, count: int, highest: float, random: np.random.Generator) -> None:
    """Blades, leaves and twigs that start anywhere below `highest` (share of the side, from the top)."""
    for _ in range(count):
        start = np.array([random.uniform(-0.1, 1.1), random.uniform(highest, 1.15)]) * side
        kind, tone = random.random(), random.uniform(0.65, 1.25)
        green = np.array(_GREENS[random.integers(len(_GREENS))]) * tone
        if kind < 0.6:
            end = start + np.array([random.normal(0, 0.16), -random.uniform(0.15, 0.7)]) * side
            _blade(draw, start, end, random.uniform(0.004, 0.014) * side, green, random)
        elif kind < 0.88:
            form = REAL[random.integers(len(REAL))].leaf
            shape = leaf(form, random.uniform(0.12, 0.4) * side, random.uniform(-0.8, 0.8), tone)
            shape.placed(*start, roll=random.uniform(-np.pi, 0.2)).paint(draw)
        else:
            straw = np.array(_STRAWS[random.integers(len(_STRAWS))]) * tone
            _blade(draw, start, start + random.normal(0, 0.4, 2) * side, 0.006 * side, straw, random)


def _blade(
    draw: ImageDraw.ImageDraw,
    start: np.ndarray,
    end: np.ndarray,
    half: float,
    colour: np.ndarray,
    random: np.random.Generator,
) -> None:
    knee = (start + end) / 2 + random.normal(0, 0.08, 2) * np.abs(end - start).max()
    strip(curve(start, knee, end, 5), half * (1.05 - steps(5)), colour).paint(draw)


def _boards(draw: ImageDraw.ImageDraw, side: int, random: np.random.Generator) -> None:
    """Straight bands, upright or level."""
    count, upright = int(random.integers(2, 9)), random.random() < 0.6
    tint = random.uniform(0.55, 1.0, 3)
    for edge in np.arange(count) * side / count:
        end = edge + 0.94 * side / count
        colour = (tint * random.uniform(130, 230)).astype(int).tolist()
        draw.rectangle((edge, 0, end, side) if upright else (0, edge, side, end), fill=(*colour, 200))


def _spots(
    draw: ImageDraw.ImageDraw,
    side: int,
    count: int,
    radius: tuple[float, float],
    colours: Sequence[Sequence[float]],
    opacity: int,
    random: np.random.Generator,
) -> None:
    """Pebbles, points of light, blossoms far away."""
    for _ in range(count):
        x, y = random.uniform(0, side, 2)
        half = random.uniform(*radius) * side
        colour = np.array(colours[random.integers(len(colours))]) * random.uniform(0.8, 1.1)
        fill = (*colour.clip(0, 255).astype(int).tolist(), opacity)
        draw.ellipse((x - half, y - half, x + half, y + half), fill=fill)


def visitor(draw: ImageDraw.ImageDraw, side: int, random: np.random.Generator) -> None:
    """A bee or a ladybird."""
    x, y = random.uniform(0.2, 0.8, 2) * side
    half = random.uniform(0.02, 0.045) * side

    def ellipse(dx: float, dy: float, wide: float, high: float, fill: tuple[int, ...]) -> None:
        box = (x + (dx - wide) * half, y + (dy - high) * half, x + (dx + wide) * half, y + (dy + high) * half)
        draw.ellipse(box, fill=fill)

    bee = random.random() < 0.6
    ellipse(0, 0, 1, 0.62, (196, 138, 34) if bee else (196, 26, 22))
    for part in (-0.45, 0.0, 0.45):
        ellipse(part, 0, 0.12 if bee else 0.16, 0.55 if bee else 0.2, (30, 24, 18))
    ellipse(0.95, 0, 0.3, 0.36, (30, 24, 18))
    if bee:
        ellipse(-0.3, -0.75, 0.55, 0.3, (234, 236, 240, 130))


def _pick(weights: Sequence[float], random: np.random.Generator) -> int:
    """The place of one of them, each as likely as its weight says."""
    return int(np.searchsorted(np.cumsum(weights), random.random() * sum(weights)))
