"""Augmented views of an image: a pure function of seed, image and view number."""

import hashlib
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import PIL
from PIL import Image, ImageEnhance, features

from kit.config import DataConfig, ViewsConfig
from kit.data.decoding import fit_square, plain_box
from kit.data.images import DECODER_VERSION

_CODECS = ("libjpeg_turbo", "jpg", "jpg_2000", "webp", "avif", "libtiff", "littlecms2")


@dataclass(frozen=True)
class _Draw:
    """Random numbers of one view, in [0, 1), each with one use whatever the settings."""

    mirror: float
    area: float
    ratio: float
    across: float
    down: float
    angle: float
    brightness: float
    contrast: float
    colour: float


def render_views(
    image: Image.Image,
    image_key: str,
    views: tuple[int, ...],
    data: DataConfig,
    config: ViewsConfig,
    seed: int,
    parts: Any = None,
) -> np.ndarray:
    """Augmented views of an RGB image: uint8 (len(views), image_size, image_size, 3), 0-255.

    For given settings, each depends on seed, view number and `image_key` (SHA-256 of the file's bytes, so not on its
    name) alone, on any thread. View 0 is the plain image, as `kit.data.images.decode` gives it. `parts` (kit.parts)
    may hold an augmentation in place of the one of `config`.
    """
    own = parts is not None and parts.augmentation is not None

    def augmented(view: int) -> np.ndarray:
        if own:
            return _by_own(image, _generator(seed, image_key, view), data, parts)
        return _augmented(image, _draw(seed, image_key, view), data, config)

    rendered = [
        augmented(view) if view else fit_square(image, data.image_size, data.resize, data.background) for view in views
    ]
    return np.stack(rendered) if rendered else np.empty((0, data.image_size, data.image_size, 3), np.uint8)


def view_key(data: DataConfig, config: ViewsConfig, seed: int, view: int, parts: Any = None) -> dict[str, Any]:
    """Recipe of one view's store: all settings and versions that decide its pixels."""
    key: dict[str, Any] = {
        "decoder": DECODER_VERSION,
        "pillow": PIL.__version__,
        "codecs": {name: features.version(name) for name in _CODECS},
        "image_size": data.image_size,
        "resize": data.resize,
        "background": list(data.background),
        "grey_range": list(data.grey_range),
        "colour_profiles": data.colour_profiles,
        "view": view,
    }
    if view and parts is not None and parts.augmentation_key:
        key |= {"augmentation": parts.augmentation_key, "seed": seed}
    elif view:
        settings = {name: value for name, value in asdict(config).items() if name != "count"}
        key |= {"views": settings, "seed": seed}
    return key


def _draw(seed: int, image_key: str, view: int) -> _Draw:
    # All are drawn, used or not: disabling the flip must not move the crop.
    return _Draw(*_generator(seed, image_key, view).random(9).tolist())


def _generator(seed: int, image_key: str, view: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}:{image_key}:{view}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16])))


def _by_own(image: Image.Image, rng: np.random.Generator, data: DataConfig, parts: Any) -> np.ndarray:
    """View by an augmentation of one's own, which gets the whole image, or the square where it is layers of Keras."""
    if parts.augments_squares:
        image = Image.fromarray(fit_square(image, data.image_size, data.resize, data.background))
    return fit_square(parts.augment(image, rng), data.image_size, data.resize, data.background)


def _augmented(image: Image.Image, draw: _Draw, data: DataConfig, config: ViewsConfig) -> np.ndarray:
    if data.resize == "pad":  # crops are drawn from the padded square, so that they show what the plain view shows
        image = Image.fromarray(fit_square(image, max(data.image_size, max(image.size)), "pad", data.background))
    angle = math.radians((2 * draw.angle - 1) * config.rotation)
    box = _crop(image, draw, data.resize, config.crop)
    view = _cut(image, box, angle, config.flip and draw.mirror < 0.5, data.image_size)
    for enhance, chance, most in (
        (ImageEnhance.Brightness, draw.brightness, config.brightness),
        (ImageEnhance.Contrast, draw.contrast, config.contrast),
        (ImageEnhance.Color, draw.colour, config.colour),
    ):
        if most:
            view = enhance(view).enhance(1 + (2 * chance - 1) * most)
    return np.array(view)


def _crop(image: Image.Image, draw: _Draw, resize: str, smallest: float) -> tuple[float, float, float, float]:
    """Centre, width and height of the crop, in pixels, before rotation.

    Szegedy et al. 2015 (Going deeper with convolutions, section 6): area uniform from `smallest` to 1, log-uniform
    ratio from 3/4 to 4/3. A box that does not fit is cut to the image instead of drawn again: every draw has one use.
    """
    width, height = image.size
    if smallest == 1:
        left, top, right, bottom = plain_box(image, resize)
        return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    unit = width / height if resize == "stretch" else 1.0  # ratios are those of what the model sees
    area = (smallest + (1 - smallest) * draw.area) * width * height
    ratio = unit * math.exp((2 * draw.ratio - 1) * math.log(4 / 3))
    across, down = min(math.sqrt(area * ratio), width), min(math.sqrt(area / ratio), height)
    across, down = min(across, down * unit * 4 / 3), min(down, across / unit * 4 / 3)
    middle = (across / 2 + draw.across * (width - across), down / 2 + draw.down * (height - down))
    return (*middle, across, down)


def _cut(
    image: Image.Image, crop: tuple[float, float, float, float], angle: float, mirror: bool, size: int
) -> Image.Image:
    """Crop rotated about its middle, at size x size; shrunk and shifted where it would reach over the edge."""
    across, down = crop[2:]
    cosine, sine = math.cos(angle), math.sin(angle)
    # The upright box around the rotated crop, and how much all must shrink for it to fit into the image.
    around = across * cosine + down * abs(sine), across * abs(sine) + down * cosine
    shrink = min(1.0, image.width / around[0], image.height / around[1])
    across, down, wide, high = (length * shrink for length in (across, down, *around))
    left = min(max(crop[0] - wide / 2, 0.0), image.width - wide)
    top = min(max(crop[1] - high / 2, 0.0), image.height - high)
    box = (max(left, 0.0), max(top, 0.0), min(left + wide, image.width), min(top + high, image.height))
    # First to the final scale with antialiasing, which `transform` lacks; then the rotation, at scale 1.
    scaled_size = max(1, round(size * wide / across)), max(1, round(size * high / down))
    scaled = image.resize(scaled_size, Image.Resampling.BILINEAR, box=box, reducing_gap=3.0)
    if angle == 0:
        return scaled.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirror else scaled
    return scaled.transform(
        (size, size),
        Image.Transform.AFFINE,
        _rotation(cosine, sine, (across, down), (wide, high), scaled_size, size, mirror),
        Image.Resampling.BILINEAR,
    )


def _rotation(
    cosine: float,
    sine: float,
    crop: tuple[float, float],
    around: tuple[float, float],
    scaled: tuple[int, int],
    size: int,
    mirror: bool,
) -> tuple[float, ...]:
    """Pillow's affine coefficients: output (u, v) shows the scaled image at (a u + b v + c, d u + e v + f)."""
    per_x, per_y = scaled[0] / around[0], scaled[1] / around[1]
    step_x, step_y = crop[0] / size * (-1 if mirror else 1), crop[1] / size
    a, b = per_x * cosine * step_x, -per_x * sine * step_y
    d, e = per_y * sine * step_x, per_y * cosine * step_y
    # A margin of half a pixel: bilinear sampling beyond the outermost pixel centres would be filled with black.
    inward_x, inward_y = (max(0.0, 1 - 1 / side) for side in scaled)
    a, b, d, e = a * inward_x, b * inward_x, d * inward_y, e * inward_y
    return a, b, scaled[0] / 2 - (a + b) * size / 2, d, e, scaled[1] / 2 - (d + e) * size / 2
