"""Decode an image to upright sRGB pixels, and fit it into a square, by Pillow and NumPy alone.

An export holds a copy of this file, preprocessing.py beside preprocessing.json: the model is served what it was trained
on. From it, `load_pixels("photo.jpg")` gives an image's pixels. Part of transferkit, Apache-2.0.
"""

import functools
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

SRGB_WITHIN = 2  # levels by which a profile may differ from sRGB and still count as it
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MAY_BE_TRANSPARENT = ("1", "L", "P", "RGB", "LA", "PA", "RGBA", "RGBa")
_PROFILED = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # a profile's colour space -> the mode it describes


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image file.

    Attributes:
        image: Of mode RGB, upright; smaller than the file's where `at_least` allowed it.
        width: Of the file's image as displayed, in pixels, like `height`.
        format: Pillow's name of the file format, such as `JPEG`; `mode` is Pillow's mode of the file, such as `CMYK`.
        values: Least and greatest value of a grey image of 16 or 32 bits, or of a colour image of 16 bits a channel, of
            which Pillow reads the upper 8 (`reduced`); None for others.
        profile: `converted` from the embedded colour profile, `unusable` if that is damaged or of another kind of
            image, or empty: none, or sRGB.
    """

    image: Image.Image
    width: int
    height: int
    format: str
    mode: str
    values: tuple[int, int] | None = None
    reduced: bool = False
    profile: str = ""


def load_pixels(file: Any) -> np.ndarray:
    """Pixels as the preprocessing.json beside this file says: uint8 (side, side, 3), 0-255.

    `file`: whatever `PIL.Image.open` takes.
    """
    rules = json.loads(Path(__file__).with_name("preprocessing.json").read_text(encoding="utf-8"))
    side, background = rules["input"]["shape"][1], tuple(rules["resize"]["background"])
    with Image.open(file) as image:
        decoded = decode_image(
            image, background, tuple(rules["grey_range"]), rules["colour_profiles"] != "ignored", at_least=2 * side
        )
    return fit_square(decoded.image, side, rules["resize"]["mode"], background)


def decode_image(
    image: Image.Image,
    background: tuple[int, ...],
    grey_range: tuple[int, ...] | None = (),
    profiles: bool = True,
    at_least: int | None = None,
) -> DecodedImage:
    """Decode an opened image to RGB, upright, transparency on the background (0-255).

    Args:
        grey_range: Values of 16- and 32-bit grey that become 0 and 255. Empty: 0 to 65535, or for 32 bits the smallest
            of a few usual ranges; None: that of the image's own bit depth.
        profiles: Convert embedded colour profiles to sRGB.
        at_least: Lets a JPEG be decoded at 1/2, 1/4 or 1/8 of its size (much faster) while its shorter side keeps that
            many pixels.
    """
    width, height = image.size
    kind, mode = image.format or "", image.mode
    reduced = mode.startswith("RGB") and any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    if at_least:
        image.draft("RGB", (at_least, at_least))
    image.load()
    # Read after loading: a PNG may store it behind its pixels, and Pillow turns a TIFF while loading it.
    orientation = _orientation(image)
    values = _values(image, reduced)
    profile = image.info.get("icc_profile") if profiles else None
    rgb, converted = _to_rgb(image, background, grey_range, profile)
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    if orientation >= 5:
        width, height = height, width
    return DecodedImage(rgb, width, height, kind, mode, values, reduced, converted)


def fit_square(image: Image.Image, size: int, resize: str, background: tuple[int, ...]) -> np.ndarray:
    """Resize an RGB image to uint8 (size, size, 3), 0-255, by antialiased bilinear resampling.

    `resize`: `crop` (middle square), `stretch` (all, distorted) or `pad` (all, on the background, RGB 0-255).
    """
    width, height = image.size
    if resize == "pad":
        scale = size / max(width, height)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        canvas = Image.new("RGB", (size, size), tuple(background))
        whole = _resized(image, inner, plain_box(image, "stretch"))
        canvas.paste(whole, ((size - inner[0]) // 2, (size - inner[1]) // 2))
        return np.array(canvas)
    return np.array(_resized(image, (size, size), plain_box(image, resize)))


def plain_box(image: Image.Image, resize: str) -> tuple[float, float, float, float]:
    """Crop box of the plain view: left, top, right, bottom, in pixels."""
    width, height = image.size
    side = min(width, height)
    across, down = (side, side) if resize == "crop" else (width, height)
    return ((width - across) / 2, (height - down) / 2, (width + across) / 2, (height + down) / 2)


def usual_range(low: float, high: float) -> tuple[int, int]:
    """Black and white of whole numbers from `low` to `high`: 0 and that of the bit depth, 8 or more; or themselves."""
    if low < 0:
        return int(low), max(int(high), int(low) + 1)
    return 0, 2 ** max(8, int(high).bit_length()) - 1


def _resized(image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float]) -> Image.Image:
    # The gap of 3 keeps within a level or two of exact resampling, per Pillow's documentation of `reducing_gap`.
    return image.resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=3.0)


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(_ORIENTATION, 1)
        return found if found in _UPRIGHT else 1
    except Exception:  # a damaged EXIF block must not cost the image
        return 1


def _values(image: Image.Image, reduced: bool) -> tuple[int, int] | None:
    if image.mode.startswith("I"):
        pixels = np.asarray(image)
        return int(pixels.min()), int(pixels.max())
    if reduced:
        pixels = np.asarray(image)[..., :3]
        return 256 * int(pixels.min()), 256 * int(pixels.max()) + 255
    return None


def _to_rgb(
    image: Image.Image, background: tuple[int, ...], grey_range: tuple[int, ...] | None, profile: bytes | None
) -> tuple[Image.Image, str]:
    """RGB on the background, and what became of the profile."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _scaled_to_8_bits(image, grey_range)
    if image.mode in _MAY_BE_TRANSPARENT and image.has_transparency_data:
        layer = image.convert("RGBA")
        colours = image.convert("L") if image.mode in ("1", "L", "LA") else layer.convert("RGB")
        rgb, converted = _to_srgb(colours, profile)
        canvas = Image.new("RGB", layer.size, tuple(background))
        canvas.paste(rgb, mask=layer.getchannel("A"))
        return canvas, converted
    return _to_srgb(image, profile)


def _to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    found = _transform(profile) if profile else None
    if found is None:
        return _plain_rgb(image), ""
    mode, transform = found
    if image.mode in ("1", "L") and mode == "L":
        image = image.convert("L")
    elif image.mode != "CMYK":
        image = _plain_rgb(image)
    if transform is None or image.mode != mode:
        return _plain_rgb(image), "unusable"
    try:
        return transform.apply(image), "converted"
    except Exception:  # what little CMS refuses only when it is used
        return _plain_rgb(image), "unusable"


def _plain_rgb(image: Image.Image) -> Image.Image:
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


@functools.lru_cache(maxsize=64)
def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform | None] | None:
    """Mode that a profile describes, and the transform to sRGB (None: unusable); None if the profile is sRGB."""
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _PROFILED[embedded.profile.xcolor_space.strip()]
        # perceptual, as browsers do; for profiles without tables it is relative colorimetric
        transform = ImageCms.buildTransform(
            embedded, ImageCms.createProfile("sRGB"), mode, "RGB", ImageCms.Intent.PERCEPTUAL
        )
        if mode != "CMYK" and _moves_by(transform, mode) <= SRGB_WITHIN:
            return None
        return mode, transform
    except Exception:  # damaged profiles, other colour spaces, a Pillow without little CMS
        return "", None


def _moves_by(transform: ImageCms.ImageCmsTransform, mode: str) -> int:
    """Most levels by which a transform changes a channel of RGB or grey."""
    steps = np.arange(0, 256, 17, dtype=np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3) if mode == "RGB" else steps[None]
    after = np.asarray(transform.apply(Image.fromarray(cube)), np.int16)
    return int(np.abs(after - (cube if mode == "RGB" else cube[..., None])).max())


def _scaled_to_8_bits(image: Image.Image, grey_range: tuple[int, ...] | None) -> Image.Image:
    """Scale 16-bit, 32-bit and floating-point grey to 8 bits.

    Without a range given: 0 to 65535 for 16-bit types; for others the smallest of 0 to 1 (floating point), 0 to 255 and
    0 to 65535 that holds all values, else the values' own.
    """
    values = np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if image.mode != "F" and grey_range != ():
        low, high = usual_range(low, high) if grey_range is None else grey_range
    elif image.mode.startswith("I;16"):
        low, high = 0.0, 65535.0
    elif low >= 0:
        tops = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        low, high = 0.0, next((top for top in tops if high <= top), high)
    scaled = (values - low) * (255.0 / max(high - low, 1e-12))
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))
