"""The species: five real ones, and as many made-up ones as anyone asks for."""

import colorsys

import numpy as np

from kit.data.synthetic.species import Bloom, Colour, Disc, Globe, Leaf, Palette, Ring, Species


def _daisy() -> Species:
    ring = Ring((11, 19), (35, 30), (4, -14), 0.76, 0.14, 0.68, 0.5, 0.2)
    palettes = (
        Palette((236, 238, 232), (252, 252, 250), 0.02, 0.66),
        Palette((246, 236, 240), (236, 158, 190), 0.05, 0.16),
        Palette((206, 186, 226), (222, 206, 238), 0.05, 0.09),
        Palette((240, 208, 90), (250, 222, 80), 0.05, 0.09),
    )
    disc = Disc((0.2, 0.3), 0.1, (232, 176, 28), (250, 212, 50))
    leaf = Leaf((0.5, 0.9), 0.2, 0.7, 4, 0.3, (82, 128, 52), (0, 3))
    return Species("daisy", (Bloom(palettes, (ring, ring), disc),), leaf, 0.05, (0, 75))


def _dandelion() -> Species:
    steps = ((30, 0.92, 4, -14), (32, 0.86, 18, -4), (28, 0.74, 34, 12), (24, 0.58, 50, 34), (18, 0.44, 66, 58))
    rings = tuple(
        Ring((count - 8, count), (pitch + 24, tip + 30), (pitch, tip), length, 0.08, 0.72, 0.45, 0.06)
        for count, length, pitch, tip in steps
    )
    yellow = (Palette((232, 150, 10), (252, 214, 30), 0.05), Palette((236, 172, 20), (254, 228, 70), 0.04))
    leaf = Leaf((1.2, 2.4), 0.17, 0.7, 5, 0.75, (76, 124, 48), (2, 6))
    seeds = Bloom(
        (Palette((236, 234, 228), (236, 234, 228)),),
        globe=Globe((238, 238, 236), (120, 96, 66)),
        weight=0.8,
        calyx=False,
    )
    return Species("dandelion", (Bloom(yellow, rings), seeds), leaf, 0.07, (0, 80), (3.0, 1.0))


def _roses() -> Species:
    rings = (
        Ring((5, 6), (62, 92), (6, -22), 0.8, 0.72, 0.66, 0.42, 0.12, wrapped=True),
        Ring((5, 6), (66, 96), (24, 2), 0.74, 0.76, 0.66, 0.4, 0.1, wrapped=True),
        Ring((5, 6), (72, 98), (46, 40), 0.66, 0.8, 0.68, 0.4, 0.09, wrapped=True),
        Ring((4, 5), (78, 100), (64, 72), 0.6, 0.86, 0.7, 0.38, 0.07, wrapped=True),
        Ring((3, 5), (84, 108), (78, 102), 0.56, 1.0, 0.7, 0.36, 0.05, wrapped=True),
        Ring((2, 3), (88, 112), (84, 108), 0.54, 1.3, 0.7, 0.36, 0.02, wrapped=True),
        Ring((4, 4), (20, 20), (10, 10), 0.4, 0.9, 0.5, 0.4, 0.0, wrapped=True),
    )
    palettes = (
        Palette((140, 8, 22), (206, 24, 42), 0.05, 0.3),
        Palette((214, 70, 110), (244, 142, 172), 0.06, 0.26),
        Palette((226, 168, 40), (248, 214, 96), 0.05, 0.16),
        Palette((230, 224, 200), (250, 246, 236), 0.03, 0.16),
        Palette((222, 110, 60), (250, 170, 122), 0.06, 0.12),
    )
    leaf = Leaf((0.6, 1.0), 0.34, 0.42, 7, 0.16, (48, 92, 44), (2, 6))
    return Species("roses", (Bloom(palettes, rings),), leaf, 0.06, (0, 80))


def _sunflowers() -> Species:
    rings = (
        Ring((15, 22), (60, 40), (2, -10), 0.68, 0.17, 0.42, 0.9, 0.36),
        Ring((14, 20), (66, 50), (16, 6), 0.6, 0.18, 0.42, 0.95, 0.34),
    )
    palettes = (
        Palette((226, 140, 8), (252, 200, 18), 0.05),
        Palette((236, 168, 16), (254, 222, 50), 0.04),
        Palette((150, 52, 14), (226, 132, 24), 0.05, 0.12),
    )
    dark = Disc((0.36, 0.48), 0.12, (62, 40, 18), (96, 58, 22))
    green = Disc((0.34, 0.44), 0.1, (116, 112, 40), (120, 74, 22))
    leaf = Leaf((0.9, 1.5), 0.38, 0.34, 6, 0.12, (74, 122, 48), (1, 5))
    blooms = (Bloom(palettes, rings, dark), Bloom(palettes, rings, green, weight=0.35))
    return Species("sunflowers", blooms, leaf, 0.08, (0, 70), nod=0.6)


def _tulips() -> Species:
    rings = (
        Ring((3, 3), (34, 104), (8, 52), 1.45, 0.94, 0.52, 0.66, 0.06, wrapped=True),
        Ring((3, 3), (40, 102), (16, 60), 1.4, 0.9, 0.52, 0.66, 0.05, wrapped=True),
    )
    palettes = (
        Palette((176, 14, 24), (222, 34, 36), 0.05, 0.24),
        Palette((240, 176, 40), (252, 212, 44), 0.05, 0.2),
        Palette((244, 196, 206), (232, 104, 150), 0.06, 0.2),
        Palette((226, 90, 30), (248, 190, 60), 0.05, 0.12),
        Palette((240, 238, 222), (250, 250, 244), 0.03, 0.1),
        Palette((96, 24, 90), (142, 52, 140), 0.05, 0.14),
    )
    heart = Disc((0.1, 0.16), 0.1, (44, 40, 24), (170, 150, 50))
    leaf = Leaf((2.0, 3.4), 0.13, 0.4, 0, 0.0, (96, 142, 92), (1, 4))
    return Species("tulips", (Bloom(palettes, rings, heart, calyx=False),), leaf, 0.09, (20, 92), (1.1, 2.0), 0.1)


REAL = (_daisy(), _dandelion(), _roses(), _sunflowers(), _tulips())


def find_species(number: int) -> Species:
    """Species 0 to 4 are real (REAL); from 5 on they are made up, and the same number is always the same plant."""
    return REAL[number] if number < len(REAL) else _made_up(number)


def species_names(count: int) -> tuple[str, ...]:
    """Names of the first `count` species."""
    return tuple(map(species_name, range(count)))


def species_name(number: int) -> str:
    """The name of one species: of its class, and of its folder."""
    return REAL[number].name if number < len(REAL) else f"species-{number:04d}"


# === Made-up species ===

_DIMENSIONS = 16


def _spread(number: int) -> np.ndarray:
    """Point `number` of a sequence that fills the unit cube evenly, so that no two species come out alike.

    Additive recurrence with the powers of 1/g, g the root of g^(d+1) = g + 1 (Roberts 2018, The unreasonable
    effectiveness of quasirandom sequences): float64 (16,), 0 to 1.
    """
    root = 2.0
    for _ in range(60):
        root = (1 + root) ** (1 / (_DIMENSIONS + 1))
    return (0.5 + number * root ** -np.arange(1.0, _DIMENSIONS + 1)) % 1


def _made_up(number: int) -> Species:
    at = _spread(number)

    def between(place: int, low: float, high: float) -> float:
        return float(low + (high - low) * at[place])

    petals = round(between(0, 4, 24))
    wrapped = bool(at[1] < 0.35)
    if wrapped:
        petals = 3 + petals % 4
    width = between(2, 0.6, 1.0) if wrapped else between(2, 0.8, 2.2) / petals
    pitch = between(3, 0, 40)
    curl = between(4, -30, 50)
    count = 1 + int(at[5] * 3.99)
    rings = tuple(
        Ring(
            (petals, petals + petals // 8),
            (50 + 8 * k, 90),
            (pitch + 14 * k, pitch + curl + 16 * k),
            between(6, 0.6, 0.9) * (1 - 0.14 * k),
            width,
            between(7, 0.35, 0.75),
            between(8, 0.35, 1.1),
            between(9, 0.08, 0.3),
            wrapped,
        )
        for k in range(count)
    )
    hue = between(10, 0.47, 1.2)  # every hue but those of leaves
    base = hsv(hue, between(11, 0.15, 0.95), between(12, 0.55, 1.0))
    tip = hsv(hue + between(13, -0.1, 0.1), between(11, 0.1, 0.8), 0.96)
    disc = Disc(
        (0.06 + 0.3 * at[14],) * 2, 0.12, hsv(0.05 + 0.2 * at[15], 0.8, 0.4), hsv(0.05 + 0.2 * at[15], 0.8, 0.85)
    )
    leaf = Leaf(
        (0.6, 0.9 + 2 * at[15]), 0.12 + 0.25 * at[14], between(7, 0.3, 0.7), int(at[4] * 7), 0.3, (70, 118, 52), (1, 4)
    )
    bloom = Bloom((Palette(base, tip, 0.04),), rings, disc)
    return Species(species_name(number), (bloom,), leaf, between(9, 0.04, 0.1), (0, 80))


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """8-bit RGB of a hue (in turns), saturation and value (0 to 1)."""
    red, green, blue = colorsys.hsv_to_rgb(float(hue) % 1, float(saturation), float(value))
    return round(255 * red), round(255 * green), round(255 * blue)
