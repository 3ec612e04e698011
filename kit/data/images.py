"""Decode image files to upright RGB pixels; ImageProblem is the only error, and no warning escapes."""

import io
import re
import stat
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from kit.config import DataConfig

DECODER_VERSION = 1  # raise it whenever the same bytes would give other pixels: stores and audit caches depend on it

MAX_PIXELS = 178_956_970  # where Pillow itself raises DecompressionBombError: 2 x 1 GiB / 4 / 3
MAX_FILE_BYTES = 2 << 30

# Left out on purpose: EPS (runs Ghostscript), and TGA and others without a signature (text can look like them).
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "PPM", "JPEG2000", "ICO", "QOI")

_SIGNATURES = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF", b"\0\0\0\x0cjP")
_HEIC = (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypmif1")
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
_UNSUPPORTED = ("not available", "not supported", "unsupported", "unknown")
_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)

Image.init()  # registers every format before threads could do it at once


class ImageProblem(Exception):
    """Raised for a file that gives no pixels.

    `kind` is `empty`, `not-an-image`, `truncated` (cut short or damaged), `bomb` (too many pixels) or `unreadable`.
    """

    def __init__(self, kind: str, detail: str):
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail

    def __reduce__(self):
        return type(self), (self.kind, self.detail)


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image file.

    Attributes:
        image: Of mode RGB, upright; smaller than the file's where `at_least` allowed it.
        width: Of the file's image as displayed, in pixels, like `height`.
        format: Pillow's name of the file format, such as `JPEG`; `mode` is Pillow's mode of the file, such as `CMYK`.
    """

    image: Image.Image
    width: int
    height: int
    format: str
    mode: str


def decode(file: Path | bytes, config: DataConfig) -> np.ndarray:
    """Decode and resize one file: uint8 (image_size, image_size, 3), 0-255; raises ImageProblem."""
    return fit_square(load_image(file, config), config.image_size, config.resize, config.background)


def load_image(file: Path | bytes, config: DataConfig) -> Image.Image:
    """Decode one file for `fit_square` and `render_views`, large enough for crops of half its side."""
    return load_rgb(file, config.background, at_least=2 * config.image_size)


def load_rgb(
    file: Path | bytes, background: tuple[int, ...] = (255, 255, 255), at_least: int | None = None
) -> Image.Image:
    """Decode a path or bytes to RGB, upright, transparency on the background (0-255); raises ImageProblem.

    `at_least` lets a JPEG be decoded at 1/2, 1/4 or 1/8 of its size (much faster) while its shorter side keeps that
    many pixels.
    """
    return read_image(read_file(file) if isinstance(file, Path) else file, background, at_least).image


def read_file(file: Path) -> bytes:
    """Read a file; raises ImageProblem if unreadable, not a regular file (a pipe would block) or over 2 GiB."""
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageProblem("unreadable", "not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise ImageProblem("bomb", f"{status.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
        return file.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise ImageProblem("unreadable", getattr(error, "strerror", None) or _one_line(error)) from error


def read_image(content: bytes, background: tuple[int, ...], at_least: int | None = None) -> DecodedImage:
    """Decode bytes as `load_rgb` does, with size, format and mode of the file."""
    _quieten_pillow()
    if not content:
        raise ImageProblem("empty", "the file has no bytes")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return _decoded(image, background, at_least)
    except ImageProblem:
        raise
    except Image.DecompressionBombError as error:
        raise ImageProblem("bomb", _one_line(error)) from error
    except UnidentifiedImageError as error:
        raise _unidentified(content) from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged bytes
        raise _undecodable(error) from error


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


def _resized(image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float]) -> Image.Image:
    # The gap of 3 keeps within a level or two of exact resampling, per Pillow's documentation of `reducing_gap`.
    return image.resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=3.0)


def _decoded(image: Image.Image, background: tuple[int, ...], at_least: int | None) -> DecodedImage:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageProblem("bomb", f"{width:,} x {height:,} pixels; at most {MAX_PIXELS:,} are decoded")
    kind, mode = image.format or "", image.mode
    if at_least:
        image.draft("RGB", (at_least, at_least))
    image.load()
    # Read after loading: a PNG may store it behind its pixels, and Pillow turns a TIFF while loading it.
    orientation = _orientation(image)
    rgb = _to_rgb(image, background)
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    if orientation >= 5:
        width, height = height, width
    return DecodedImage(rgb, width, height, kind, mode)


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(_ORIENTATION, 1)
        return found if found in _UPRIGHT else 1
    except Exception:  # a damaged EXIF block must not cost the image
        return 1


def _to_rgb(image: Image.Image, background: tuple[int, ...]) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _scaled_to_8_bits(image).convert("RGB")
    if image.mode in _MAY_BE_TRANSPARENT and image.has_transparency_data:
        layer = image.convert("RGBA")
        canvas = Image.new("RGB", layer.size, tuple(background))
        canvas.paste(layer, mask=layer.getchannel("A"))
        return canvas
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


def _scaled_to_8_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and floating-point grey to 8 bits, by the smallest usual range that holds all values.

    Usual are 0 to 1 (floating point), 0 to 255 and 0 to 65535; else the values' own range. 16-bit types always use 0 to
    65535, so that images of one camera stay comparable.
    """
    values = np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I;16"):
        low, high = 0.0, 65535.0
    elif low >= 0:
        tops = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        low, high = 0.0, next((top for top in tops if high <= top), high)
    scaled = (values - low) * (255.0 / max(high - low, 1e-12))
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))


def _unidentified(content: bytes) -> ImageProblem:
    head = content[:16]
    if any(brand in head for brand in _HEIC):
        return ImageProblem("not-an-image", "a HEIC image, which Pillow cannot read: convert it to JPEG")
    if head.startswith(_SIGNATURES) or head[4:11] == b"ftypavi":
        return ImageProblem("truncated", "begins like an image, but its header is damaged or cut short")
    text = content[:512].isascii() and b"\0" not in content[:512]
    return ImageProblem("not-an-image", "a text file" if text else f"none of {', '.join(FORMATS)}")


def _undecodable(error: Exception) -> ImageProblem:
    words = str(error).lower()
    unsupported = isinstance(error, NotImplementedError | MemoryError) or any(word in words for word in _UNSUPPORTED)
    damaged = isinstance(error, OSError | SyntaxError | EOFError | struct.error | zlib.error | LookupError | ValueError)
    return ImageProblem("truncated" if damaged and not unsupported else "unreadable", _one_line(error))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _quieten_pillow() -> None:
    """Ignore warnings from Pillow's own modules.

    One filter, added again if removed: `warnings.catch_warnings` swaps those of the process, which is not thread-safe.
    """
    if _QUIET not in warnings.filters:
        warnings.filterwarnings("ignore", category=Warning, module=_QUIET[3].pattern)
