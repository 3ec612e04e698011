"""Surroundings of a flower: a backdrop out of focus, clutter in focus, sometimes an insect."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from kit.synthetic.catalogue import REAL
from kit.synthetic.light import Conditions, soft_noise
from kit.synthetic.species import Colour, curve, leaf, pick, steps, strip

_SIDE = 80  # of the backdrop before it is enlarged, in pixels: it is out of focus anyway
_GREENS = ((84, 132, 52), (110, 156, 68), (64, 108, 54), (134, 164, 84), (100, 124, 70))
_STRAWS = ((176, 158, 106), (128, 104, 70), (158, 140, 100))


@dataclass(frozen=True)
class Place:
    """Kind of backdrop: weight, colours above and below, roughness, and what may stand there."""

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
class Blur:
    """Defocus of the backdrop: a Gaussian's radius, in pixels of 80 across."""

    weight: float
    radius: float


_BLURS = (Blur(0.25, 0.9), Blur(0.3, 1.6), Blur(0.3, 2.8), Blur(0.15, 4.0))


def backdrop(side: int, conditions: Conditions, random: np.random.Generator) -> Image.Image:
    """Background out of focus: RGB, side x side."""
    place = pick(_PLACES, random)
    picture = _ground(place, random)
    draw = ImageDraw.Draw(picture, "RGBA")
    if place.boards:
        _boards(draw, random)
    if place.plants:
        clutter(draw, _SIDE, int(random.integers(4, 26)), place.plants, random)
    if place.pebbles:
        _spots(draw, int(random.integers(0, 30)), (0.008, 0.03), (*_STRAWS, *_GREENS), 220, random)
    if random.random() < 0.4:  # points of light, out of focus
        glow = ((210, 226, 170), (250, 244, 214), (250, 250, 250))
        _spots(draw, int(random.integers(3, 22)), (0.015, 0.06), glow, 80, random)
    others = [REAL[number].blooms[0] for number in random.integers(0, len(REAL), 2)]
    petals = [pick(bloom.palettes, random).tip for bloom in others]
    _spots(draw, int(random.integers(0, conditions.bystanders + 1)), (0.02, 0.08), petals, 225, random)
    blur = pick(_BLURS, random).radius
    return picture.filter(ImageFilter.GaussianBlur(blur)).resize((side, side), Image.Resampling.BICUBIC)


def _ground(place: Place, random: np.random.Generator) -> Image.Image:
    """Colours from top to bottom, in patches: RGB, _SIDE x _SIDE."""
    height = np.linspace(0, 1, _SIDE)[:, None, None] ** random.uniform(0.6, 1.6)
    colour = np.array(place.top) * (1 - height) + np.array(place.bottom) * height
    patches = 0.5 * soft_noise(random, 4, _SIDE) + 0.35 * soft_noise(random, 11, _SIDE)
    patches = patches + 0.25 * soft_noise(random, 30, _SIDE)
    colour = colour * (1 + place.roughness * random.uniform(0.5, 1.3) * patches[..., None])
    colour = colour * random.uniform(0.75, 1.2) * random.uniform(0.92, 1.08, 3)
    return Image.fromarray(colour.clip(0, 255).astype(np.uint8))


def clutter(draw: ImageDraw.ImageDraw, side: int, count: int, highest: float, random: np.random.Generator) -> None:
    """Paint blades, leaves and twigs that start below `highest` (share of the side, from the top)."""
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
            shape.placed(start, roll=random.uniform(-np.pi, 0.2)).paint(draw)
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


def _boards(draw: ImageDraw.ImageDraw, random: np.random.Generator) -> None:
    count, upright = int(random.integers(2, 9)), random.random() < 0.6
    tint = random.uniform(0.55, 1.0, 3)
    for edge in np.arange(count) * _SIDE / count:
        end = edge + 0.94 * _SIDE / count
        colour = (tint * random.uniform(130, 230)).astype(int).tolist()
        draw.rectangle((edge, 0, end, _SIDE) if upright else (0, edge, _SIDE, end), fill=(*colour, 200))


def _spots(
    draw: ImageDraw.ImageDraw,
    count: int,
    radius: tuple[float, float],
    colours: Sequence[Colour],
    opacity: int,
    random: np.random.Generator,
) -> None:
    """Paint pebbles, points of light, distant blossoms."""
    for _ in range(count):
        x, y = random.uniform(0, _SIDE, 2)
        half = random.uniform(*radius) * _SIDE
        colour = np.array(colours[int(random.integers(len(colours)))]) * random.uniform(0.8, 1.1)
        fill = (*colour.clip(0, 255).astype(int).tolist(), opacity)
        draw.ellipse((x - half, y - half, x + half, y + half), fill=fill)


def visitor(draw: ImageDraw.ImageDraw, side: int, random: np.random.Generator) -> None:
    """Paint a bee or a ladybird."""
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
