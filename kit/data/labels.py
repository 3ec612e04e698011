"""Labels that a classifier cannot learn, or that are one class in two spellings: refused before training."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from kit.data import SPLITS, Source
from kit.data.listing import looks_like_image
from kit.errors import DataError
from kit.progress import some


def require_learnable(source: Source) -> None:
    """Raise DataError if class names look alike, or if a class has no image, or none where train takes them from."""
    splits: defaultdict[str, set[str | None]] = defaultdict(set)
    for sample in source.samples:
        splits[sample.label].add(sample.split)
    if barren := without_images(source):
        raise DataError(
            f"{source.name} has no image of {', '.join(barren[:5])}: none of the files is one.",
            "Put images there, or move what is no class elsewhere.",
        )
    if alike := look_alikes(splits):
        named = "; ".join(" and ".join(_located(label, splits[label]) for label in labels) for labels in alike[:5])
        raise DataError(
            f"Class names of {source.name} differ only in case, blanks or Unicode form: {named}.",
            "Give each class one spelling.",
        )
    lost = [label for label, found in splits.items() if not found & {"train", None}]
    if lost and len(lost) < len(splits):  # where train has nothing at all, the split says so
        named = some([_located(label, splits[label]) for label in lost])
        raise DataError(
            f"{source.name} has no training images of {named}: such a class cannot be learned.",
            "Add images of it to train, or leave it out of the other splits too.",
        )


def without_images(source: Source) -> list[str]:
    """Labels of which no file looks like an image."""
    found: set[str] = set()
    for sample in source.samples:
        if sample.label not in found and looks_like_image(sample.file):
            found.add(sample.label)
    return [label for label in source.classes if label not in found]


def look_alikes(labels: Iterable[str]) -> list[list[str]]:
    """Sets of labels that differ only in case, blanks or Unicode form; single letters may (`a` and `A`)."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for label in labels:
        alike[" ".join(unicodedata.normalize("NFKC", label).casefold().split())].append(label)
    return [sorted(names) for key, names in alike.items() if len(names) > 1 and not _are_letters(names)]


def _are_letters(names: list[str]) -> bool:
    return all(len(name) == 1 for name in names)


def _located(label: str, splits: set[str | None]) -> str:
    """A label in quotes, so that blanks show, and the splits it is in."""
    where = ", ".join(split for split in SPLITS if split in splits)
    return f"{label!r} ({where})" if where else repr(label)
