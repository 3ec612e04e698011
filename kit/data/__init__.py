"""Images: found, audited, split, decoded, augmented, batched. Here: labelled files, before they are read."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from kit.errors import DataError
from kit.files import is_address
from kit.machine import given_folder

if TYPE_CHECKING:
    from kit.data.corrections import Corrections

SPLITS = ("train", "validation", "test")
OUT_OF_FOLD = "out-of-fold"  # of predictions by models of cross-validation that were not trained on the image


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled file, an image or not.

    Attributes:
        path: As recorded: relative to the root, with `/`; bytes that are not UTF-8 stay as surrogate escapes.
        file: Absolute path.
        split: `train`, `validation` or `test`; None where the source gives none.
        group: Images of one group must share a split; None where the source gives none.
    """

    path: str
    file: Path
    label: str
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Source:
    """Samples of one folder, table or archive, sorted by path.

    Attributes:
        name: Of the folder, table or archive; used for run folders.
        kind: `folder`, `splits`, `table` or `archive`.
        root: Folder to which recorded paths are relative.
        tree: How the folders or columns were understood, a line a level.
        warnings: What was left out, each a sentence.
        corrections: Those that were applied to the samples; None without.
    """

    name: str
    kind: str
    root: Path
    samples: tuple[Sample, ...]
    tree: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    corrections: "Corrections | None" = None

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Labels in codepoint order; class k of the model is the k-th."""
        return tuple(sorted({sample.label for sample in self.samples}))


def require_there(path: str) -> Path:
    """Absolute path of data, read by nobody yet; DataError if nothing is there and the path is not `flowers`."""
    if not path or "\0" in path:
        raise DataError("No data was named.", "Name a folder, a table, an archive, or `flowers`.")
    place = Path(os.path.abspath(Path(path).expanduser()))
    if is_address(path) and not place.exists():
        raise DataError(f"Images must be on this machine, not at the address {path}.", "Download them first.")
    if not os.path.lexists(place) and place.is_relative_to(os.path.abspath(given_folder())):
        raise DataError(
            f"There is no {place}, where the cache kept what a program gave in memory.",
            "Give the same to kit.configure again, and it is kept there again.",
        )
    if path != "flowers" and not os.path.lexists(place):
        raise DataError(f"There is no {place}.", "Check the path; the name `flowers` downloads an example.")
    return place
