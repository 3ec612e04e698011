"""Labelled image files, before anything is read from them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

SPLITS = ("train", "validation", "test")
SPLIT_NAMES = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".webp", ".avif", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled file, an image or not.

    Attributes:
        path: As recorded: relative to the root, with `/` between folders. Names that are not UTF-8 keep their bytes as
            surrogate escapes.
        file: Absolute path.
        label: Its class.
        split: `train`, `validation` or `test` where the source gives it, else None.
        group: Images of one group must share a split; None where the source names no group.
    """

    path: str
    file: Path
    label: str
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Source:
    """The samples of one folder, table or archive, sorted by path.

    Attributes:
        name: Short name for run folders: that of the folder, table or archive.
        kind: `folder`, `splits`, `table` or `archive`.
        root: The folder from which recorded paths count.
        samples: Sorted by path.
    """

    name: str
    kind: str
    root: Path
    samples: tuple[Sample, ...]

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Labels in codepoint order; class k of the model is the k-th."""
        return tuple(sorted({sample.label for sample in self.samples}))
