"""Decode image files to upright RGB pixels; ImageProblem is the only error, and no warning escapes."""

import functools
import io
import re
import stat
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from kit.config import DataConfig
from kit.data.decoding import DecodedImage, decode_image, fit_square

DECODER_VERSION = 2  # raise it whenever the same bytes would give other pixels: stores and audit caches depend on it

MAX_PIXELS = 178_956_970  # where Pillow itself raises DecompressionBombError: 2 x 1 GiB / 4 / 3
MAX_FILE_BYTES = 2 << 30

# Left out on purpose: EPS (runs Ghostscript), and TGA and others without a signature (text can look like them).
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "PPM", "JPEG2000", "ICO", "QOI")

_SIGNATURES = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF", b"\0\0\0\x0cjP")
HEIC_BRANDS = (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1")  # from the fifth byte on
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


def decode(file: Path | bytes, config: DataConfig) -> np.ndarray:
    """Decode and resize one file: uint8 (image_size, image_size, 3), 0-255; raises ImageProblem."""
    return fit_square(load_image(file, config), config.image_size, config.resize, config.background)


def load_image(file: Path | bytes, config: DataConfig) -> Image.Image:
    """Decode one file for `fit_square` and `render_views`, large enough for crops of half its side."""
    content = read_file(file) if isinstance(file, Path) else file
    decoded = read_image(
        content, config.background, 2 * config.image_size, config.grey_range, profiles=config.colour_profiles
    )
    return decoded.image


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


def read_image(
    content: bytes,
    background: tuple[int, ...] = (255, 255, 255),
    at_least: int | None = None,
    grey_range: tuple[int, ...] | None = None,
    *,
    profiles: bool = True,
) -> DecodedImage:
    """Decode bytes as `kit.data.decoding.decode_image` does; raises ImageProblem.

    Without `grey_range`, grey of 16 or 32 bits has that of its own bit depth: to be looked at, not compared.
    """
    _quieten_pillow()
    if not content:
        raise ImageProblem("empty", "the file has no bytes")
    try:
        with Image.open(io.BytesIO(content), formats=_formats(content)) as image:
            if image.width * image.height > MAX_PIXELS:
                size = f"{image.width:,} x {image.height:,} pixels"
                raise ImageProblem("bomb", f"{size}; at most {MAX_PIXELS:,} are decoded")
            return decode_image(image, background, grey_range, profiles, at_least)
    except ImageProblem:
        raise
    except Image.DecompressionBombError as error:
        raise ImageProblem("bomb", _one_line(error)) from error
    except UnidentifiedImageError as error:
        raise _unidentified(content) from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged bytes
        raise _undecodable(error) from error


def is_heic(head: bytes) -> bool:
    """Whether a file that begins so is a HEIC image, as telephones take them."""
    return head[4:12].startswith(HEIC_BRANDS)


def _formats(content: bytes) -> tuple[str, ...]:
    return (*FORMATS, "HEIF") if is_heic(content[:16]) and reads_heic() else FORMATS


@functools.cache
def reads_heic() -> bool:
    """Whether pillow-heif is installed; it is registered with Pillow when the first HEIC image comes."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _unidentified(content: bytes) -> ImageProblem:
    head = content[:16]
    if is_heic(head):
        how = "its header is damaged" if reads_heic() else "`pip install pillow-heif` reads it"
        return ImageProblem("truncated" if reads_heic() else "not-an-image", f"a HEIC image: {how}")
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
