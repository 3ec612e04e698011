"""Images that a program holds in memory: checked, and as files without loss."""

import io
from typing import Any

import numpy as np
from PIL import Image

from kit.errors import DataError

_AS_READ = (
    "Give them as uint8 before any preprocessing or augmentation, which training does itself. Values from 0 to 1 are "
    "made so by (255 * x).round().astype('uint8'), from -1 to 1 by (127.5 * (x + 1)).round().astype('uint8')."
)


def is_table(value: Any) -> bool:
    """Whether a value is a table or column of pandas."""
    return type(value).__module__.partition(".")[0] == "pandas"


def as_file(image: Any) -> bytes:
    """File of an image, without loss; DataError for pixels that are not uint8 (height, width[, 3 or 4])."""
    if hasattr(image, "read") and not isinstance(image, Image.Image):
        image = image.read()
        if not isinstance(image, bytes | bytearray):
            raise DataError("The open file gives text.", "Open it for bytes: open(path, 'rb').")
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if not isinstance(image, Image.Image):
        pixels = np.asarray(image)
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,), (4,)):
            raise DataError(
                f"Pixels must be uint8 (height, width, 3), 0 to 255, not {pixels.dtype} {pixels.shape}.",
                "Values from 0 to 1 are made so by (255 * pixels).round().astype('uint8').",
            )
        if not pixels.size:
            raise DataError(f"Pixels of shape {pixels.shape} are no image.", "Give at least one pixel.")
        image = Image.fromarray(pixels)
    content, plain = io.BytesIO(), image.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
    try:
        image.save(
            content, "PNG" if plain else "TIFF", exif=image.getexif(), **({"compress_level": 1} if plain else {})
        )
    except (OSError, ValueError, SyntaxError) as error:  # a file that Pillow opened and cannot decode
        raise DataError(f"The image cannot be read: {error}.", "Give a readable image.") from None
    return content.getvalue()


def kind_of(value: Any) -> str:
    """Type of a value, in words."""
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


class PixelCheck:
    """Pixels of many images as uint8, 0 to 255; refuses those that were scaled or normalised.

    Attributes:
        rounded: Whether some were fractions of 0 to 255, as Keras's resizing leaves them, and were rounded.
        turned: Whether some had their channels first, as PyTorch has them.
    """

    def __init__(self) -> None:
        self.rounded = self.turned = False
        self._seen, self._highest, self._kind = 0, 0.0, ""

    def convert(self, image: Any) -> np.ndarray:
        """Pixels of one image, uint8 (height, width), (height, width, 3) or (height, width, 4); DataError otherwise."""
        pixels = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
        if pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4) and pixels.shape[2] not in (1, 3, 4):
            pixels, self.turned = np.moveaxis(pixels, 0, 2), True
        if pixels.ndim == 3 and pixels.shape[2] == 1:
            pixels = pixels[:, :, 0]
        if pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,), (4,)) or not pixels.size:
            raise DataError(
                f"Pixels of the shape {pixels.shape} are no image.",
                "Give uint8 (height, width, 3), or (height, width) for grey, alone or in batches.",
            )
        if pixels.dtype.kind not in "uif":
            raise DataError(f"Pixels must be numbers from 0 to 255, not {pixels.dtype}.", _AS_READ)
        low, high = float(pixels.min()), float(pixels.max())
        self._kind = str(pixels.dtype)
        if not (low >= 0 and high <= 255):
            raise self._scaled(low, high)
        whole = pixels.dtype.kind != "f" or bool((pixels == np.round(pixels)).all())
        if not self._seen and high <= 1 and not whole:
            raise self._scaled(low, high)
        self._seen, self._highest = self._seen + 1, max(self._highest, high)
        self.rounded |= not whole
        return pixels if pixels.dtype == np.uint8 else np.round(pixels).astype(np.uint8)

    def require_unscaled(self) -> None:
        """Raise DataError if no value of all images was above 1."""
        if self._seen and self._highest <= 1:
            raise self._scaled(0, self._highest)

    def _scaled(self, low: float, high: float) -> DataError:
        return DataError(
            f"Pixels must be as they were read, 0 to 255, and these are {self._kind} from {low:.3g} to {high:.3g}: "
            "scaled or preprocessed already.",
            _AS_READ,
        )
