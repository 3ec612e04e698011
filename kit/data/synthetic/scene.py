"""What stands where: backdrop, plants, clutter, then the photo of it."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from kit.data.synthetic import shapes
from kit.data.synthetic.light import USUAL, Conditions, develop, soft_noise
from kit.data.synthetic.species import REAL, Bloom, Species, find_species, hsv

_OVERSAMPLED = 2  # facets have hard rims: the scene is painted larger and reduced
_GREENS = ((70, 116, 44), (96, 140, 58), (52, 92, 46), (120, 150, 74), (86, 108, 62))
_STRAWS = ((168, 150, 98), (120, 96, 62), (150, 132, 92))

# name: weight, colour at the top, colour at the bottom, roughness
_BACKDROPS = {
    "meadow": (0.26, (128, 158, 92), (62, 98, 40), 0.3),
    "foliage": (0.24, (44, 70, 34), (60, 92, 44), 0.4),
    "sky": (0.14, (92, 148, 214), (196, 214, 226), 0.12),
    "soil": (0.1, (118, 96, 72), (92, 70, 50), 0.35),
    "night": (0.1, (16, 18, 16), (26, 30, 22), 0.3),
    "wall": (0.1, (196, 188, 174), (150, 140, 126), 0.1),
    "dusk": (0.06, (96, 84, 132), (238, 150, 90), 0.18),
}


def draw_photo(number: int, index: int, seed: int, size: int, conditions: Conditions = USUAL) -> Image.Image:
    """Photo `index` of species `number`: RGB, size x size."""
    random = np.random.default_rng([seed, number, index])
    species = find_species(number)
    side = _OVERSAMPLED * size
    light = _unit(random.uniform(-0.8, 0.8), random.uniform(0.1, 1.0), random.uniform(0.4, 1.0))
    scene = backdrop(side, conditions, random)
    draw = ImageDraw.Draw(scene, "RGBA")
    clutter(draw, side, random.integers(0, conditions.clutter + 1), 0.45, random)
    for x, y, radius in heads(side, conditions, random):
        plant(draw, species, (x, y), radius, side, light, random)
    clutter(draw, side, random.integers(0, conditions.clutter // 3 + 1), 0.75, random)
    if random.random() < 0.08:
        visitor(draw, side, random)
    return develop(scene, size, conditions, random)


# === Plants ===


def heads(side: int, conditions: Conditions, random: np.random.Generator) -> list[tuple[float, float, float]]:
    """Where heads are, the farthest first: x, y and radius in pixels."""
    smallest, largest = conditions.radius
    radius = side * smallest * (largest / smallest) ** random.random()
    kind = random.random()
    if kind < conditions.field:
        count = int(random.integers(9, 22))
        rows = np.sort(random.uniform(0.3, 1.0, count))
        return [
            (side * random.uniform(-0.05, 1.05), side * row, side * (0.02 + 0.085 * row**2) * random.uniform(0.8, 1.2))
            for row in rows
        ]
    if kind < conditions.field + conditions.crowd:
        radius = min(radius, 0.24 * side)
        count = int(random.integers(2, 7))
        middle, reach = random.uniform(0.35, 0.65, 2), min(0.45, 1.5 * radius / side * np.sqrt(count))
        places = middle + random.uniform(-reach, reach, (count, 2))
        return [(side * x, side * y, radius * random.uniform(0.75, 1.1)) for x, y in places[places[:, 1].argsort()]]
    away = 0.3 if radius < 0.3 * side else 0.16
    return [(side * random.uniform(0.5 - away, 0.5 + away), side * random.uniform(0.45 - away, 0.45 + away), radius)]


def plant(
    draw: ImageDraw.ImageDraw,
    species: Species,
    at: tuple[float, float],
    radius: float,
    side: int,
    light: np.ndarray,
    random: np.random.Generator,
) -> None:
    """One head with its stem and leaves; the stem reaches the ground or leaves the picture."""
    lean = random.normal(0, 0.22)
    tilt = np.radians(random.uniform(*species.tilt))
    foot = np.array(
        [at[0] - np.sin(lean) * side * 0.6 + random.normal(0, 0.04) * side, max(at[1] + 3.5 * radius, 1.05 * side)]
    )
    knee = np.array([at[0] - np.sin(lean) * 1.4 * radius, at[1] + 1.6 * radius])
    along = np.linspace(0, 1, 9)[:, None]
    points = along**2 * foot + 2 * along * (1 - along) * knee + (1 - along) ** 2 * np.array(at)
    tone = random.uniform(0.75, 1.2)
    stem = np.array(species.leaf.colour) * tone * (1.1, 1.0, 0.9)
    shapes.strip(points, max(1.0, species.stem * radius), stem).paint(draw)
    _leaves(draw, species, points, radius, tone, random)
    bloom = species.blooms[_pick([bloom.weight for bloom in species.blooms], random)]
    head = _head(bloom, radius, tilt, light, random)
    head.placed(*at, radius, lean).paint(draw)


def _head(bloom: Bloom, radius: float, tilt: float, light: np.ndarray, random: np.random.Generator) -> shapes.Facets:
    palette = bloom.palettes[_pick([palette.weight for palette in bloom.palettes], random)]
    own = shapes.stray(palette, random)
    detail = 1 if radius < 30 else 2 if radius < 90 else 3
    return shapes.draw_head(bloom, own, random.beta(1.6, 1.1), tilt, light, detail, random)


def _leaves(
    draw: ImageDraw.ImageDraw,
    species: Species,
    points: np.ndarray,
    radius: float,
    tone: float,
    random: np.random.Generator,
) -> None:
    for _ in range(int(random.integers(species.leaf.count[0], species.leaf.count[1] + 1))):
        x, y = points[random.integers(2, len(points))]
        sideways = random.uniform(-0.9, 0.5)
        left = random.random() < 0.5
        length = radius * random.uniform(*species.leaf.length)
        leaf = shapes.leaf(species.leaf, length, random.uniform(-0.6, 0.9), tone * random.uniform(0.8, 1.15))
        leaf.placed(x, y, 1, np.pi - sideways if left else sideways).paint(draw)


# === Surroundings ===


def backdrop(side: int, conditions: Conditions, random: np.random.Generator) -> Image.Image:
    """What lies behind, out of focus: RGB, side x side."""
    names = list(_BACKDROPS)
    name = names[_pick([_BACKDROPS[name][0] for name in names], random)]
    _, top, bottom, rough = _BACKDROPS[name]
    small = 80
    height = np.linspace(0, 1, small)[:, None, None] ** random.uniform(0.6, 1.6)
    field = np.array(top) * (1 - height) + np.array(bottom) * height
    texture = (
        0.5 * soft_noise(random, 4, small) + 0.35 * soft_noise(random, 11, small) + 0.25 * soft_noise(random, 30, small)
    )
    field = field * (1 + rough * texture[..., None] * random.uniform(0.5, 1.3)) * random.uniform(0.7, 1.2)
    field = field * random.uniform(0.9, 1.1, 3)
    picture = Image.fromarray(field.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture, "RGBA")
    if name in ("meadow", "foliage", "sky", "dusk"):
        clutter(draw, small, int(random.integers(4, 26)), 0.75 if name in ("sky", "dusk") else 0.2, random)
    if name == "wall":
        _boards(draw, small, random)
    if name in ("soil", "meadow"):
        _spots(draw, small, int(random.integers(0, 30)), (0.008, 0.03), [*_STRAWS, *_GREENS], 220, random)
    bright = [tuple(random.integers(150, 256, 3)) for _ in range(3)]
    if random.random() < 0.45:
        _spots(draw, small, int(random.integers(3, 24)), (0.015, 0.07), [*_GREENS, *bright], 90, random)
    colours = [hsv(random.random() ** 1.3, random.uniform(0.2, 0.95), random.uniform(0.6, 1)) for _ in range(2)]
    _spots(draw, small, int(random.integers(0, conditions.bystanders + 1)), (0.02, 0.09), colours, 230, random)
    blur = (0.4, 1.2, 2.5, 4.0)[_pick([0.25, 0.3, 0.3, 0.15], random)]
    return picture.filter(ImageFilter.GaussianBlur(blur)).resize((side, side), Image.Resampling.BICUBIC)


def clutter(draw: ImageDraw.ImageDraw, side: int, count: int, highest: float, random: np.random.Generator) -> None:
    """Blades, leaves and twigs that start anywhere below `highest` (share of the side, from the top)."""
    for _ in range(count):
        start = np.array([random.uniform(-0.1, 1.1), random.uniform(highest, 1.15)]) * side
        kind, tone = random.random(), random.uniform(0.6, 1.25)
        colour = np.array(_GREENS[random.integers(len(_GREENS))]) * tone
        if kind < 0.6:
            end = start + np.array([random.normal(0, 0.16), -random.uniform(0.15, 0.7)]) * side
            _blade(draw, start, end, random.uniform(0.004, 0.014) * side, colour, random)
        elif kind < 0.88:
            form = REAL[random.integers(len(REAL))].leaf
            leaf = shapes.leaf(form, random.uniform(0.12, 0.4) * side, random.uniform(-0.8, 0.8), tone)
            leaf.placed(*start, 1, random.uniform(-np.pi, 0.2)).paint(draw)
        else:
            end = start + random.normal(0, 0.4, 2) * side
            straw = np.array(_STRAWS[random.integers(len(_STRAWS))]) * tone
            _blade(draw, start, end, random.uniform(0.004, 0.01) * side, straw, random)


def _blade(
    draw: ImageDraw.ImageDraw,
    start: np.ndarray,
    end: np.ndarray,
    half: float,
    colour: np.ndarray,
    random: np.random.Generator,
) -> None:
    along = np.linspace(0, 1, 6)[:, None]
    knee = (start + end) / 2 + random.normal(0, 0.08, 2) * np.abs(end - start).max()
    points = (1 - along) ** 2 * start + 2 * along * (1 - along) * knee + along**2 * end
    shapes.strip(points, half * (1.05 - along[:, 0]), colour).paint(draw)


def _boards(draw: ImageDraw.ImageDraw, side: int, random: np.random.Generator) -> None:
    """A fence, a wall, a window sill: straight bands."""
    count, upright, tint = int(random.integers(2, 9)), random.random() < 0.6, random.uniform(0.4, 1.0, 3)
    for edge in np.arange(count) * side / count:
        shade = tuple(int(c) for c in tint * random.uniform(120, 230))
        band = (edge, 0, edge + side / count * 0.94, side) if upright else (0, edge, side, edge + side / count * 0.94)
        draw.rectangle(band, fill=(*shade, 200))


def _spots(
    draw: ImageDraw.ImageDraw,
    side: int,
    count: int,
    radius: tuple[float, float],
    colours: list,
    opacity: int,
    random: np.random.Generator,
) -> None:
    """Pebbles, points of light, blossoms far away."""
    for _ in range(count):
        x, y = random.uniform(0, side, 2)
        half = random.uniform(*radius) * side
        colour = np.array(colours[random.integers(len(colours))]) * random.uniform(0.8, 1.1)
        draw.ellipse((x - half, y - half, x + half, y + half), fill=(*(int(min(c, 255)) for c in colour), opacity))


def visitor(draw: ImageDraw.ImageDraw, side: int, random: np.random.Generator) -> None:
    """A bee or a ladybird somewhere."""
    x, y = random.uniform(0.2, 0.8, 2) * side
    half = random.uniform(0.02, 0.05) * side
    bee = random.random() < 0.6
    draw.ellipse((x - half, y - 0.6 * half, x + half, y + 0.6 * half), fill=(190, 132, 30) if bee else (190, 24, 20))
    for part in (-0.5, 0.0, 0.5):
        draw.ellipse(
            (x + part * half - 0.18 * half, y - 0.5 * half, x + part * half + 0.18 * half, y + 0.5 * half),
            fill=(28, 22, 16),
        )
    if bee:
        for up in (-1, 1):
            draw.ellipse(
                (x - 0.7 * half, y - up * 0.2 * half - half * 0.5, x + 0.5 * half, y - up * 0.9 * half + half * 0.4),
                fill=(230, 232, 236, 120),
            )


def _pick(weights: list[float], random: np.random.Generator) -> int:
    return int(np.searchsorted(np.cumsum(weights), random.random() * sum(weights)))


def _unit(*direction: float) -> np.ndarray:
    vector = np.array(direction)
    return vector / np.linalg.norm(vector)
