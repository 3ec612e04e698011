"""Lens, light and sensor: from a painted scene to an image, knowing nothing of flowers."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter


@dataclass(frozen=True)
class Conditions:
    """Difficulty of the images, tuned here alone. Shares are of images, pairs are ranges.

    Attributes:
        radius: Of a head that is the subject, share of the image's side.
        crowd: Share of images with several heads.
        field: Share of images of a whole field of small heads.
        clutter: Most blades, leaves and twigs in focus around and before the heads.
        bystanders: Most out-of-focus blossoms, of any colour.
        defocus: Gaussian blur, in 160ths of the side.
        motion: Share of images blurred by motion.
        exposure: Factor on the light, as `saturation` is on the colours.
        cast: Strongest colour cast: red against blue, as a factor's excess over 1.
        noise: Standard deviation of the sensor's noise, in grey levels.
    """

    radius: tuple[float, float] = (0.2, 0.55)
    crowd: float = 0.4
    field: float = 0.05
    clutter: int = 12
    bystanders: int = 6
    defocus: tuple[float, float] = (0.0, 0.9)
    motion: float = 0.06
    exposure: tuple[float, float] = (0.8, 1.3)
    cast: float = 0.1
    saturation: tuple[float, float] = (0.75, 1.2)
    noise: tuple[float, float] = (1.0, 4.0)
    quality: tuple[int, int] = (68, 92)


USUAL = Conditions()


def develop(scene: Image.Image, size: int, conditions: Conditions, random: np.random.Generator) -> Image.Image:
    """Render an image of `size` pixels from a scene painted larger."""
    unit = size / 160
    image = scene.reduce(scene.width // size)
    sigma = random.uniform(*conditions.defocus) * unit
    moved, direction = random.random() < conditions.motion, random.uniform(0, np.pi)
    distance = random.uniform(2.0, 6.0) * unit
    if sigma > 0.3:
        image = image.filter(ImageFilter.GaussianBlur(sigma))
    if moved:
        image = _smear(image, distance, direction)
    return Image.fromarray(_expose(np.asarray(image, np.float32), conditions, random))


def _smear(image: Image.Image, distance: float, direction: float) -> Image.Image:
    """Mean of copies shifted along a line of `distance` pixels."""
    steps = np.linspace(-0.5, 0.5, 6) * distance
    moved = [
        image.transform(
            image.size,
            Image.Transform.AFFINE,
            (1, 0, s * np.cos(direction), 0, 1, s * np.sin(direction)),
            Image.Resampling.BILINEAR,
        )
        for s in steps
    ]
    mixed = moved[0]
    for count, copy in enumerate(moved[1:], start=2):
        mixed = Image.blend(mixed, copy, 1 / count)
    return mixed.crop(_inside(image.size, distance)).resize(image.size, Image.Resampling.BILINEAR)


def _inside(size: tuple[int, int], distance: float) -> tuple[int, int, int, int]:
    edge = int(np.ceil(distance / 2))
    return edge, edge, size[0] - edge, size[1] - edge


def _expose(pixels: np.ndarray, conditions: Conditions, random: np.random.Generator) -> np.ndarray:
    """Uneven light, exposure, colour cast, contrast, saturation, vignette and noise: uint8, same shape."""
    size = len(pixels)
    place = np.linspace(-1, 1, size, dtype=np.float32)
    slope = random.uniform(-0.22, 0.22, 2).astype(np.float32)
    patches = soft_noise(random, 5, size) * max(0.0, random.uniform(-0.2, 0.3))
    corners = random.uniform(0, 0.28)
    light: np.ndarray = 1 + slope[0] * place[:, None] + slope[1] * place[None] + patches
    light -= corners * (place[:, None] ** 2 + place[None] ** 2) / 2
    warm = random.uniform(-conditions.cast, conditions.cast)
    gain = np.array([1 + warm, 1 + random.uniform(-0.06, 0.06), 1 - warm]) * random.uniform(*conditions.exposure)
    contrast = random.uniform(-0.35, 0.35)
    saturation = np.float32(random.uniform(*conditions.saturation))
    noise = np.float32(random.uniform(*conditions.noise))
    lit = (pixels * (light[..., None] / 255) * gain.astype(np.float32)).clip(0, 1)
    lit += np.float32(contrast) * lit * (1 - lit)
    grey = lit.mean(-1, keepdims=True)
    lit = 255 * (grey + saturation * (lit - grey))
    lit += noise * random.standard_normal((size, size, 1), np.float32)
    return lit.clip(0, 255).astype(np.uint8)


def soft_noise(random: np.random.Generator, cells: int, size: int) -> np.ndarray:
    """Smooth patches of about size / cells pixels: float32 (size, size), about -1 to 1."""
    grid = Image.fromarray(random.uniform(-1, 1, (cells, cells)).astype(np.float32))
    return np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC))
