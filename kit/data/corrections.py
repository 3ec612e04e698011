"""Corrections of labels by a person: which images are kept as they are, relabelled or dropped.

The pages of runs and inspections write them: a CSV file with `path` as the data list it, `label` as it is there (so
that a stale file is noticed), `action`, and `new_label` where that is `relabel`.
"""

import difflib
import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kit.csv_tables import CORRECTION_COLUMNS, unescape_cell
from kit.data import Sample, Source
from kit.data.tables import csv_rows
from kit.errors import DataError
from kit.files import write_bytes
from kit.progress import printable, some

FILE = "corrections.csv"  # in a record folder: the file that was given
KEEP, RELABEL, DROP = ACTIONS = ("keep", "relabel", "drop")
_COLUMNS = ",".join(CORRECTION_COLUMNS)
_HINT = f"Give the file that a run's or an inspection's page downloads; its columns are {_COLUMNS}."
_CLASSES_NAMED = 20


@dataclass(frozen=True, slots=True)
class Correction:
    """Verdict on one image: `action` is one of ACTIONS; `new_label` is empty unless that is `relabel`."""

    path: str
    label: str
    action: str
    new_label: str = ""


@dataclass(frozen=True)
class Corrections:
    """Corrections that a source was listed with.

    Attributes:
        name: Of the file; `content` are its bytes.
        rows: One an image, in the file's order.
        listed: Samples as the data list them, before any correction.
    """

    name: str
    content: bytes
    rows: tuple[Correction, ...]
    listed: tuple[Sample, ...]

    def describe(self) -> dict[str, Any]:
        """Name and SHA-256 of the file, and how many images it keeps, relabels and drops, as JSON values."""
        return {"file": self.name, "sha256": hashlib.sha256(self.content).hexdigest(), **self._counts()}

    def sentence(self) -> str:
        """Line on what was applied, for the tree of a source."""
        said = self.describe()
        counts = ", ".join(f"{count:,} {what}" for what, count in self._counts().items())
        return f"{self.name} (SHA-256 {said['sha256'][:12]}...): {counts}"

    def _counts(self) -> dict[str, int]:
        actions = Counter(row.action for row in self.rows)
        return {"relabelled": actions[RELABEL], "dropped": actions[DROP], "kept": actions[KEEP]}


def correct(source: Source, file: Path) -> Source:
    """Relabel and drop samples of a source as a file of corrections says.

    Raises:
        DataError: If a row names no image of the source, another label than the image has there, or a class that there
            is not; if two rows contradict each other; as `read_corrections`.
    """
    content, numbered = _read(file)
    listed = {sample.path: sample for sample in source.samples}
    first = source.samples[0].path if source.samples else ""
    _refuse(
        f"{file} names images that {source.name} does not have",
        [(number, row.path) for number, row in numbered if row.path not in listed],
        "Paths are as the page or `transferkit inspect DATA --csv` has them, such as "
        f"{printable(first)}: name the same folder, table or archive as there.",
    )
    _refuse(
        f"{file} is of other labels than {source.name} has now",
        [
            (number, f"{row.path} is {listed[row.path].label}, not {row.label}")
            for number, row in numbered
            if row.label != listed[row.path].label
        ],
        "Labels were changed since the page was drawn. Draw it anew, or remove the rows.",
    )
    by_path: dict[str, Correction] = {}
    twice = [(number, row.path) for number, row in numbered if by_path.setdefault(row.path, row) != row]
    _refuse(f"{file} says two things of one image", twice, "Keep one row for each image: remove the wrong ones.")
    relabelled = [(number, row.new_label) for number, row in numbered if row.action == RELABEL]
    strange = [(number, label) for number, label in relabelled if label not in source.classes]
    if strange:
        near = difflib.get_close_matches(strange[0][1], source.classes, n=1)
        nearest = f" The nearest to {strange[0][1]} is {near[0]}." if near else ""
        _refuse(
            f"{file} relabels images as what is no class of {source.name}",
            strange,
            printable(f"The classes are {some(source.classes, _CLASSES_NAMED)}.{nearest}"),
        )
    corrections = Corrections(file.name, content, tuple(by_path.values()), source.samples)
    samples = [
        replace(sample, label=row.new_label) if row and row.action == RELABEL else sample
        for sample in source.samples
        if not (row := by_path.get(sample.path)) or row.action != DROP
    ]
    corrected = replace(source, samples=tuple(samples), corrections=corrections)
    gone = [label for label in source.classes if label not in corrected.classes]
    ended = f"; no image of {some(gone)} is left" if gone else ""
    return replace(corrected, tree=(*source.tree, printable(corrections.sentence() + ended)))


def read_corrections(file: Path) -> tuple[Correction, ...]:
    """Rows of a file of corrections.

    Raises:
        DataError: If there is no such file, it lacks a column, or a row has an unknown action, or a new label that its
            action does not take.
    """
    return tuple(row for _, row in _read(file)[1])


def write_copy(folder: Path, corrections: Corrections | None) -> None:
    """Write the file that was given into a record folder; without corrections, remove what an earlier record left."""
    if corrections is None:
        (folder / FILE).unlink(missing_ok=True)
    else:
        write_bytes(folder / FILE, corrections.content)


def _read(file: Path) -> tuple[bytes, list[tuple[int, Correction]]]:
    """Bytes of a file, and its rows with their numbers, counted from 2 on."""
    try:
        content = file.read_bytes()
    except OSError as error:
        why = f"There is no file {file}." if not file.exists() else f"{file} cannot be read: {error.strerror}."
        raise DataError(why, _HINT) from None
    header, cells = csv_rows(content, file, _HINT)
    names = [name.strip().lower() for name in header]
    if lacking := [name for name in CORRECTION_COLUMNS if name not in names]:
        raise DataError(f"{file} lacks the column{'s' * (len(lacking) > 1)} {', '.join(lacking)}.", _HINT)
    places = [names.index(name) for name in CORRECTION_COLUMNS]
    numbered = [
        (number, _correction([row[place] if place < len(row) else "" for place in places]))
        for number, row in enumerate(cells, start=2)
        if any(row)
    ]
    _refuse(
        f"{file} has actions that transferkit does not know",
        [(number, row.action or "none") for number, row in numbered if row.action not in ACTIONS],
        f"An action is {', '.join(ACTIONS[:-1])} or {ACTIONS[-1]}.",
    )
    _refuse(
        f"{file} relabels images without saying as what",
        [(number, row.path) for number, row in numbered if row.action == RELABEL and not row.new_label],
        "Fill in the column new_label.",
    )
    _refuse(
        f"{file} has new labels of images that it does not relabel",
        [(number, row.path) for number, row in numbered if row.action != RELABEL and row.new_label],
        f"Empty the column new_label there, or make the action {RELABEL}.",
    )
    return content, numbered


def _correction(cells: list[str]) -> Correction:
    path, label, action, new_label = (unescape_cell(cell) or "" for cell in cells)
    label, new_label = (unicodedata.normalize("NFC", name) for name in (label, new_label))
    return Correction(path, label, action.strip().lower(), new_label)


def _refuse(fault: str, rows: Iterable[tuple[int, str]], hint: str) -> None:
    """Raise DataError if there are rows with a fault: (number, what it is in)."""
    if named := [f"row {number} ({printable(what)})" for number, what in rows]:
        raise DataError(f"{fault}: {some(named)}; the header is row 1.", hint)
