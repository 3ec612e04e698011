"""The five real species, and any number of made-up ones."""

import colorsys
from dataclasses import replace

import numpy as np

from kit.synthetic.species import Bloom, Colour, Disc, Globe, Leaf, Palette, Ring, Species

_TRAITS = 24  # more than a made-up species draws


def _daisy() -> Species:
    ring = Ring((11, 19), (35, 30), (4, -14), length=0.76, width=0.14, widest=0.68, blunt=0.5, start=0.2)
    palettes = (
        Palette((236, 238, 232), (252, 252, 250), 0.02, 0.66),
        Palette((246, 236, 240), (236, 158, 190), 0.05, 0.16),
        Palette((206, 186, 226), (222, 206, 238), 0.05, 0.09),
        Palette((240, 208, 90), (250, 222, 80), 0.05, 0.09),
    )
    disc = Disc((0.2, 0.3), 0.1, (232, 176, 28), (250, 212, 50))
    leaf = Leaf((0.5, 0.9), width=0.2, widest=0.7, teeth=4, bite=0.3, colour=(82, 128, 52), count=(0, 3))
    return Species("daisy", (Bloom(palettes, (ring, ring), disc),), leaf, stem=0.05, tilt=(0, 75))


def _dandelion() -> Species:
    steps = ((30, 0.92, 4, -14), (32, 0.86, 18, -4), (28, 0.74, 34, 12), (24, 0.58, 50, 34), (18, 0.44, 66, 58))
    rings = tuple(
        Ring(
            (count - 8, count),
            (pitch + 24, tip + 30),
            (pitch, tip),
            length,
            width=0.08,
            widest=0.72,
            blunt=0.45,
            start=0.06,
        )
        for count, length, pitch, tip in steps
    )
    yellow = (Palette((232, 150, 10), (252, 214, 30), 0.05), Palette((236, 172, 20), (254, 228, 70), 0.04))
    leaf = Leaf((1.2, 2.4), width=0.17, widest=0.7, teeth=5, bite=0.75, colour=(76, 124, 48), count=(2, 6))
    seeds = Bloom(
        (Palette((236, 234, 228), (236, 234, 228)),),
        globe=Globe((238, 238, 236), (120, 96, 66)),
        weight=0.8,
        calyx=False,
    )
    return Species("dandelion", (Bloom(yellow, rings), seeds), leaf, stem=0.07, tilt=(0, 80), openness=(3.0, 1.0))


def _roses() -> Species:
    rings = (
        Ring((5, 6), (62, 92), (6, -22), length=0.8, width=0.72, widest=0.66, blunt=0.42, start=0.12, wrapped=True),
        Ring((5, 6), (66, 96), (24, 2), length=0.74, width=0.76, widest=0.66, blunt=0.4, start=0.1, wrapped=True),
        Ring((5, 6), (72, 98), (46, 40), length=0.66, width=0.8, widest=0.68, blunt=0.4, start=0.09, wrapped=True),
        Ring((4, 5), (78, 100), (64, 72), length=0.6, width=0.86, widest=0.7, blunt=0.38, start=0.07, wrapped=True),
        Ring((3, 5), (84, 108), (78, 102), length=0.56, width=1.0, widest=0.7, blunt=0.36, start=0.05, wrapped=True),
        Ring((2, 3), (88, 112), (84, 108), length=0.54, width=1.3, widest=0.7, blunt=0.36, start=0.02, wrapped=True),
        Ring((4, 4), (20, 20), (10, 10), length=0.4, width=0.9, widest=0.5, blunt=0.4, start=0.0, wrapped=True),
    )
    palettes = (
        Palette((140, 8, 22), (206, 24, 42), 0.05, 0.3),
        Palette((214, 70, 110), (244, 142, 172), 0.06, 0.26),
        Palette((226, 168, 40), (248, 214, 96), 0.05, 0.16),
        Palette((230, 224, 200), (250, 246, 236), 0.03, 0.16),
        Palette((222, 110, 60), (250, 170, 122), 0.06, 0.12),
    )
    leaf = Leaf((0.6, 1.0), width=0.34, widest=0.42, teeth=7, bite=0.16, colour=(48, 92, 44), count=(2, 6))
    return Species("roses", (Bloom(palettes, rings),), leaf, stem=0.06, tilt=(0, 80))


def _sunflowers() -> Species:
    rings = (
        Ring((15, 22), (60, 40), (2, -10), length=0.68, width=0.17, widest=0.42, blunt=0.9, start=0.36),
        Ring((14, 20), (66, 50), (16, 6), length=0.6, width=0.18, widest=0.42, blunt=0.95, start=0.34),
    )
    palettes = (
        Palette((226, 140, 8), (252, 200, 18), 0.05),
        Palette((236, 168, 16), (254, 222, 50), 0.04),
        Palette((150, 52, 14), (226, 132, 24), 0.05, 0.12),
    )
    dark = Disc((0.36, 0.48), 0.12, (62, 40, 18), (96, 58, 22))
    green = Disc((0.34, 0.44), 0.1, (116, 112, 40), (120, 74, 22))
    leaf = Leaf((0.9, 1.5), width=0.38, widest=0.34, teeth=6, bite=0.12, colour=(74, 122, 48), count=(1, 5))
    blooms = (Bloom(palettes, rings, dark), Bloom(palettes, rings, green, weight=0.35))
    return Species("sunflowers", blooms, leaf, stem=0.08, tilt=(0, 70), nod=0.6)


def _tulips() -> Species:
    rings = (
        Ring((3, 3), (34, 104), (8, 52), length=1.45, width=0.94, widest=0.52, blunt=0.66, start=0.06, wrapped=True),
        Ring((3, 3), (40, 102), (16, 60), length=1.4, width=0.9, widest=0.52, blunt=0.66, start=0.05, wrapped=True),
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
    leaf = Leaf((2.0, 3.4), width=0.13, widest=0.4, teeth=0, bite=0.0, colour=(96, 142, 92), count=(1, 4))
    return Species(
        "tulips",
        (Bloom(palettes, rings, heart, calyx=False),),
        leaf,
        stem=0.09,
        tilt=(20, 92),
        openness=(1.1, 2.0),
        nod=0.1,
    )


REAL = (_daisy(), _dandelion(), _roses(), _sunflowers(), _tulips())


def find_species(number: int) -> Species:
    """Species 0 to 4 are real (REAL); from 5 on they are made up, always the same for a number."""
    return REAL[number] if number < len(REAL) else _made_up(number)


def species_names(count: int) -> tuple[str, ...]:
    """Names of the first `count` species."""
    return tuple(map(species_name, range(count)))


def species_name(number: int) -> str:
    """Name of a species: of its class, and of its folder."""
    return REAL[number].name if number < len(REAL) else f"species-{number:04d}"


# === Made-up species ===


def _made_up(number: int) -> Species:
    traits = iter(_spread(number).tolist())

    def draw(low: float, high: float) -> float:
        return low + (high - low) * next(traits)

    wrapped = draw(0, 1) < 0.35
    petals = round(draw(3, 6) if wrapped else draw(4, 24))
    width = draw(0.6, 1.0) if wrapped else draw(0.8, 2.2) / petals
    ring = Ring(
        (petals, petals + petals // 8),
        closed=(50, 90),
        opened=(pitch := draw(0, 40), pitch + draw(-30, 50)),
        length=draw(0.6, 0.9),
        width=width,
        widest=draw(0.35, 0.75),
        blunt=draw(0.35, 1.1),
        start=draw(0.08, 0.3),
        wrapped=wrapped,
    )
    rings = tuple(_inner(ring, place) for place in range(int(draw(1, 4.99))))
    hue = draw(0.47, 1.2)  # every hue but those of leaves
    base = _hsv(hue, draw(0.15, 0.95), draw(0.55, 1.0))
    tip = _hsv(hue + draw(-0.1, 0.1), draw(0.1, 0.8), 0.96)
    centre = draw(0.05, 0.25)
    size = draw(0.06, 0.36)
    disc = Disc((size, size), 0.12, _hsv(centre, 0.8, 0.4), _hsv(centre, 0.8, 0.85))
    leaf = Leaf(
        length=(0.6, draw(0.9, 2.9)),
        width=draw(0.12, 0.37),
        widest=draw(0.3, 0.7),
        teeth=int(draw(0, 7)),
        bite=0.3,
        colour=(70, 118, 52),
        count=(1, 4),
    )
    bloom = Bloom((Palette(base, tip, 0.04),), rings, disc)
    return Species(species_name(number), (bloom,), leaf, stem=draw(0.04, 0.1), tilt=(0, 80))


def _inner(ring: Ring, place: int) -> Ring:
    """The `place`-th ring inside another: shorter and steeper."""
    closed, (base, tip) = ring.closed, ring.opened
    return replace(
        ring,
        closed=(closed[0] + 8 * place, closed[1]),
        opened=(base + 14 * place, tip + 16 * place),
        length=ring.length * (1 - 0.14 * place),
    )


def _spread(number: int) -> np.ndarray:
    """Point `number` of a sequence that fills the unit cube evenly, so that species differ: float64 (_TRAITS,).

    Additive recurrence with the powers of 1/g, g the root of g^(d+1) = g + 1 (Roberts 2018, The unreasonable
    effectiveness of quasirandom sequences).
    """
    root = 2.0
    for _ in range(60):
        root = (1 + root) ** (1 / (_TRAITS + 1))
    return (0.5 + number * root ** -np.arange(1.0, _TRAITS + 1)) % 1


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    """8-bit RGB of a hue (in turns), saturation and value (0 to 1)."""
    red, green, blue = colorsys.hsv_to_rgb(float(hue) % 1, float(saturation), float(value))
    return round(255 * red), round(255 * green), round(255 * blue)
