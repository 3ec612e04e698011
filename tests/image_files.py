"""Draws small images that a classifier can learn to tell apart: `from image_files import make_images`."""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("ellipse", "rectangle", "triangle", "cross")


def make_images(
    folder: Path, classes: Sequence[str], per_class: int, size: int | tuple[int, int] = (96, 80), seed: int = 0
) -> Path:
    """Writes `folder/CLASS/0000.jpg` and so on, and returns `folder`.

    The class's place in `classes` decides colour and shape. Soft light and dark patches, drawn anew for every image,
    keep perceptual hashes far apart (tests/test_image_files.py measures it), so that none counts as a near duplicate.

    Args:
        folder: Where to write; created.
        classes: Names of the class folders.
        per_class: Images of each class.
        size: Side of a square, or (width, height), in pixels.
        seed: Another seed gives other images of the same classes.
    """
    width, height = (size, size) if isinstance(size, int) else size
    folder = Path(folder)
    for index, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            random = np.random.default_rng([seed, index, number])
            image = draw_image(index, len(classes), width, height, random)
            image.save(folder / name / f"{number:04d}.jpg", quality=90)
    return folder


def draw_image(index: int, count: int, width: int, height: int, random: np.random.Generator) -> Image.Image:
    """One image of class `index` out of `count`: RGB, width x height."""
    patches = Image.fromarray(random.integers(20, 236, (9, 11), dtype=np.uint8)).resize((width, height), Image.BICUBIC)
    hue = index / count + random.uniform(-0.03, 0.03) / count
    tint = np.array(colorsys.hsv_to_rgb(hue % 1, 0.85, 1.0))
    pixels = np.asarray(patches)[..., None] * tint + random.normal(0, 8, (height, width, 3))
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    _draw_shape(ImageDraw.Draw(image), SHAPES[index % len(SHAPES)], width, height, random)
    return image


def _draw_shape(draw: ImageDraw.ImageDraw, shape: str, width: int, height: int, random: np.random.Generator) -> None:
    side = min(width, height) * random.uniform(0.25, 0.45)
    left, top = random.uniform(0, width - side), random.uniform(0, height - side)
    right, bottom, middle = left + side, top + side, left + side / 2
    white = (245, 245, 240)
    if shape == "ellipse":
        draw.ellipse((left, top, right, bottom), fill=white)
    elif shape == "rectangle":
        draw.rectangle((left, top, right, bottom), fill=white)
    elif shape == "triangle":
        draw.polygon([(left, bottom), (right, bottom), (middle, top)], fill=white)
    else:
        draw.rectangle((left, top + side * 0.35, right, top + side * 0.65), fill=white)
        draw.rectangle((left + side * 0.35, top, left + side * 0.65, bottom), fill=white)
