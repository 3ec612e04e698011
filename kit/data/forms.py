"""Forms in which a program gives labelled images: arrays with labels beside them, data sets of other libraries.

Those are known by their protocols, so that none of their packages is imported: `as_numpy_iterator` (tf.data),
`features` and `column_names` (Hugging Face), `__len__` and `__getitem__` (Keras' PyDataset, PyTorch's Dataset), or
iteration (PyTorch's DataLoader and IterableDataset). Items are (image, label), or dictionaries; alone or in batches.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kit.data.folders import meaning
from kit.data.in_memory import is_table, kind_of
from kit.data.tables import parse_columns, usual_column
from kit.errors import DataError

_FORMS = (
    "Give a folder, table or archive, a DataFrame with the columns path and label, images and labels: uint8 (n, "
    "height, width, 3) and (n,), or a data set of (image, label): tf.data, Keras, PyTorch, Hugging Face."
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
    `columns` says which column or key of a data set is what (`data.columns`).
    """
    if isinstance(data, Mapping):
        if labels is not None:
            raise DataError("Splits were given, and labels beside them.", _FORMS)
        return [part for name, one in data.items() for part in _of_split(str(name), one, columns)]
    if labels is None and isinstance(data, tuple | list) and len(data) == 2 and not isinstance(data[0], str):
        data, labels = data
    if labels is not None:
        return [_pairs(data, labels)]
    if (read := _reader(data, columns)) is not None:
        return [read]
    what = "Images came without labels" if _ndim(data) in (3, 4) else f"Images cannot be read from {kind_of(data)}"
    raise DataError(f"{what}.", _FORMS)


def _reader(data: Any, columns: str) -> Part | None:
    """Part of a data set of another library; None if it is none."""
    if isinstance(data, str | bytes | Image.Image) or hasattr(data, "__array__") or is_table(data):
        return None
    given = parse_columns(columns)
    names = _class_names(data)
    if hasattr(data, "as_numpy_iterator"):
        if hasattr(data, "cardinality") and int(data.cardinality()) == -1:
            raise DataError("The tf.data.Dataset repeats for ever.", "Give it without repeat().")
        return Part("dataset", lambda: _examples(data.as_numpy_iterator(), given), names, ordered=False)
    if hasattr(data, "features") and hasattr(data, "column_names"):
        return _hugging_face(data, given)
    if _has_places(data):
        if getattr(data, "num_batches", 0) is None:
            raise DataError("The PyDataset has no end.", "Give one whose num_batches is a number.")
        return Part("dataset", lambda: _examples((data[i] for i in range(len(data))), given), names)
    if hasattr(data, "__iter__"):
        return Part("dataset", lambda: _examples(iter(data), given), names, ordered=False)
    return None


def _has_places(data: Any) -> bool:
    """Whether item i of a data set can be asked for; an IterableDataset inherits what only says that it cannot."""
    if any(base.__name__ == "IterableDataset" for base in type(data).__mro__):
        return False
    return hasattr(data, "__getitem__") and hasattr(data, "__len__")


def _class_names(data: Any, depth: int = 5) -> tuple[str, ...]:
    """Names of classes 0, 1, ... that a data set, or the one inside it, tells of; empty if none does."""
    for name in ("class_names", "classes", "class_indices"):
        found = getattr(data, name, None)
        if isinstance(found, Mapping):  # name -> number
            found = sorted(found, key=dict(found).__getitem__)
        if isinstance(found, list | tuple) and found and all(isinstance(one, str) for one in found):
            return tuple(found)
    inner = getattr(data, "dataset", None)  # of a DataLoader, of a Subset
    return _class_names(inner, depth - 1) if inner is not None and depth else ()


def _hugging_face(data: Any, given: Mapping[str, str]) -> Part:
    """Part of a Hugging Face Dataset: files as they lie in it, names of classes of its label's feature."""
    if data.features is None:
        raise DataError("The data set does not tell its columns.", "Give a data set with features.")
    image, label, _ = _keys(list(data.features), given)
    feature = data.features[image]
    if getattr(feature, "decode", False) and hasattr(data, "cast_column"):
        data = data.cast_column(image, type(feature)(decode=False))  # the bytes of the files rather than their pixels
    info = getattr(data, "info", None)
    name = getattr(info, "dataset_name", None) or getattr(info, "builder_name", None) or "dataset"
    names = tuple(getattr(data.features[label], "names", None) or ())
    ordered = _has_places(data)
    rows = (lambda: (data[i] for i in range(len(data)))) if ordered else (lambda: iter(data))
    return Part(re.sub(r"[^\w-]+", "-", name).strip("-") or "dataset", lambda: _examples(rows(), given), names, ordered)


def _keys(keys: Sequence[Any], given: Mapping[str, str]) -> tuple[Any, Any, Any]:
    """Keys of image, label and group (or None) of an item; DataError if there is no image or no label."""
    usual = next((key for key in ("image", "img", "pixels") if key in keys), None)
    found = {"path": usual or usual_column("path", keys), "label": usual_column("label", keys)}
    found["group"] = usual_column("group", keys)
    found |= {role: name for role, name in given.items() if role in found}
    for role, what in (("path", "image"), ("label", "label")):
        if found[role] not in keys:
            raise DataError(
                f"No column of the data set is the {what}: it has {', '.join(map(str, keys))}.",
                "Say which are: columns='path=image,label=breed'.",
            )
    return found["path"], found["label"], found["group"]


def _examples(items: Iterator[Any], given: Mapping[str, str]) -> Iterator[tuple[Any, Any, str | None]]:
    """Yield image, label and group of each image of items, which are single or batches."""
    for item in items:
        groups: Any = None
        if isinstance(item, Mapping):
            image, label, group = _keys(list(item), given)
            images, labels, groups = item[image], item[label], None if group is None else item[group]
        elif isinstance(item, tuple | list) and len(item) >= 2:
            images, labels = item[:2]  # a third one weighs samples
        else:
            raise DataError(
                f"The data set gives {kind_of(item)}, not pairs of image and label.", "Give one of (image, label)."
            )
        if not _is_batch(images, labels):
            yield _file_of(images), labels, _group(groups)
            continue
        if len(images) != len(labels):
            raise DataError(f"A batch has {len(images)} images and {len(labels)} labels.", "Give a label for each.")
        for i in range(len(images)):
            yield _file_of(images[i]), labels[i], None if groups is None else _group(groups[i])


def _is_batch(images: Any, labels: Any) -> bool:
    if isinstance(images, list | tuple):
        return True
    if getattr(images, "ndim", 0) != 3:
        return getattr(images, "ndim", 0) == 4
    # grey ones, unless it is one image with a one-hot label
    return _ndim(labels) > 0 and len(labels) == len(images) and images.shape[2] not in (1, 3, 4)


def _file_of(image: Any) -> Any:
    """The image, or the bytes of the file that a dictionary of `bytes` or `path` stands for."""
    if isinstance(image, Mapping):
        content, path = image.get("bytes"), image.get("path")
        if content is None and path is not None:
            try:
                content = Path(path).read_bytes()
            except OSError as error:
                raise DataError(
                    f"The data set names the image {path}, which cannot be read: {error.strerror}.",
                    "Put it there, or leave its row out.",
                ) from None
        image = content
    if isinstance(image, bytes | Image.Image) or hasattr(image, "__array__"):
        return image
    raise DataError(
        f"The data set gives {kind_of(image)} for an image.", "Give pixels, images of Pillow or bytes of a file."
    )


def _group(value: Any) -> str | None:
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    return None if value is None or value == "" or value != value else str(value)


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
