"""Forms in which a program gives labelled images: arrays and lists with labels beside them, splits of such."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from kit.data.folders import meaning
from kit.data.in_memory import is_table, kind_of
from kit.errors import DataError

_FORMS = (
    "Give a folder, table or archive, a DataFrame with the columns path and label, or images and labels: "
    "uint8 (n, height, width, 3) and (n,)."
)


@dataclass(frozen=True)
class Part:
    """Labelled images of one form.

    Attributes:
        name: For run folders.
        items: Yields image, label and group of each; the image is pixels, an image of Pillow, or bytes of a file.
        names: Of the classes that are numbers; empty where the form tells none.
        ordered: Whether the images come in the same order each time.
        again: Whether they lie in memory, so that looking at them twice costs little.
    """

    name: str
    items: Callable[[], Iterator[tuple[Any, Any, str | None]]]
    names: tuple[str, ...] = ()
    ordered: bool = True
    again: bool = False
    split: str | None = None


def parts_of(data: Any, labels: Any = None, columns: str = "") -> list[Part]:
    """Parts of what a program gave; DataError, which says what to give, for what is no form.

    A dictionary names splits: `{"train": (x, y), "test": (x_test, y_test)}`; a pair is images and labels.
    """
    if isinstance(data, Mapping):
        if labels is not None:
            raise DataError("Splits were given, and labels beside them.", _FORMS)
        return [part for name, one in data.items() for part in _of_split(str(name), one, columns)]
    if labels is None and isinstance(data, tuple | list) and len(data) == 2 and not isinstance(data[0], str):
        data, labels = data
    if labels is not None:
        return [_pairs(data, labels)]
    what = "Images came without labels" if _ndim(data) in (3, 4) else f"Images cannot be read from {kind_of(data)}"
    raise DataError(f"{what}.", _FORMS)


def _of_split(name: str, data: Any, columns: str) -> list[Part]:
    split = meaning(name)
    if split is None:
        raise DataError(f"{name!r} is no split.", "Splits are given as {'train': (x, y), 'test': (x_test, y_test)}.")
    return [replace(part, split=split) for part in parts_of(data, None, columns)]


def _pairs(images: Any, labels: Any) -> Part:
    """Images and labels beside them."""
    labels = labels.tolist() if is_table(labels) else labels
    if not hasattr(labels, "__len__") or isinstance(labels, str | bytes) or _ndim(labels) == 0:
        raise DataError(f"Labels cannot be read from {kind_of(labels)}.", "Give one number or text for each image.")
    if hasattr(images, "detach"):
        images = images.detach().cpu()
    if hasattr(images, "__array__") and not isinstance(images, Image.Image):
        images = np.asarray(images)
        if images.ndim not in (3, 4):
            raise DataError(f"Pixels of the shape {images.shape} are not several images.", _FORMS)
    elif not isinstance(images, Sequence) or isinstance(images, str | bytes):
        raise DataError(f"Images cannot be read from {kind_of(images)}.", _FORMS)
    if len(images) != len(labels):
        raise DataError(f"There are {len(images):,} images and {len(labels):,} labels.", "Give a label for each image.")
    strange = next((one for one in images if not _is_image(one)), None) if isinstance(images, list | tuple) else None
    if strange is not None:
        raise DataError(
            f"An image cannot be read from {kind_of(strange)}.",
            "Give arrays, images of Pillow or bytes of files; paths are given in a DataFrame, columns path and label.",
        )
    return Part("arrays", lambda: ((one, label, None) for one, label in zip(images, labels, strict=True)), again=True)


def _is_image(value: Any) -> bool:
    return isinstance(value, bytes | Image.Image) or (hasattr(value, "__array__") and np.ndim(value) in (2, 3))


def _ndim(value: Any) -> int:
    """Number of dimensions of an array, 1 of a list, 0 of anything else."""
    if hasattr(value, "ndim"):
        return int(value.ndim)
    return 1 if isinstance(value, list | tuple) else 0


def describe_label(value: Any, names: Sequence[str] = ()) -> int | str | None:
    """Label as a text, or a number that has no name; one-hot rows are numbers; None for -1 where classes have names.

    Raises DataError for what names no class.
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    found = np.asarray(value)
    if found.size == 1:
        one = found.reshape(-1)[0]
    elif found.ndim == 1 and found.dtype.kind in "buif" and sorted(set(found.tolist())) == [0, 1] and found.sum() == 1:
        one = found.argmax()
    else:
        raise DataError(
            f"A label of the shape {found.shape} names no one class: {str(value)[:60]}.",
            "Give one number or text for each image, or a row with a single 1.",
        )
    if isinstance(one, bytes):
        one = one.decode("utf-8", errors="replace")
    if isinstance(one, str):
        if not one.strip():
            raise DataError("An image has an empty label.", "Give every image a label, or leave it out.")
        return str(one)
    try:
        number = int(one)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or number != one:
        raise DataError(f"A label must be a whole number or a text, not {one!r}.", "Give every image a class.")
    if not names:
        return number
    if number == -1:
        return None
    if not 0 <= number < len(names):
        raise DataError(f"Label {number} has no name: there are {len(names)}.", "Give the labels as texts.")
    return names[number]
