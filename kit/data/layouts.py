"""Samples of class folders, alone or inside split folders, and of CSV and Parquet tables."""

import csv
import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from kit.data import IMAGE_SUFFIXES, SPLIT_NAMES, Sample, Source
from kit.errors import DataError
from kit.progress import say

_IGNORED = {"__macosx", "thumbs.db", "desktop.ini"}
_COLUMNS = ("path", "label", "split", "group")
_HINT = "The first row names the columns: path,label and, if you like, split,group; paths count from its folder."


def read_folder(root: Path, name: str) -> Source:
    """List the samples of class folders: `roses/`, `tulips/`, or `train/` and `val/` holding those."""
    root = Path(os.path.abspath(root))
    folders, _ = visible(root)
    split_of = {folder: SPLIT_NAMES[folder.name.lower()] for folder in folders if folder.name.lower() in SPLIT_NAMES}
    # `train` alone may be a class, beside `bus` and `car`
    if "train" not in split_of.values() or len(set(split_of.values())) == 1:
        return _source(name, "folder", root, list(_class_folders(root, root, None)))
    if others := [folder.name for folder in folders if folder not in split_of]:
        raise DataError(
            f"{root} holds split folders ({', '.join(f.name for f in split_of)}) and also {', '.join(others[:5])}.",
            "Move what is no split elsewhere, so that it is clear what is a class.",
        )
    listed = [entry for folder, split in split_of.items() for entry in _class_folders(root, folder, split)]
    return _source(name, "splits", root, listed)


def visible(folder: Path) -> tuple[list[Path], list[Path]]:
    """Folders and files, sorted, without hidden ones; a broken link counts as a file, a pipe as nothing."""
    folders, files = [], []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith(".") or entry.name.lower() in _IGNORED:
            continue
        try:
            mode = os.stat(entry.path).st_mode
        except OSError:  # a broken link, a loop of links: the audit reports it
            mode = stat.S_IFREG
        if stat.S_ISDIR(mode):
            folders.append(Path(entry.path))
        elif stat.S_ISREG(mode):
            files.append(Path(entry.path))
    return folders, files


def _source(name: str, kind: str, root: Path, listed: list[Sample | str]) -> Source:
    samples = tuple(sorted((entry for entry in listed if isinstance(entry, Sample)), key=lambda sample: sample.path))
    empty = {entry for entry in listed if isinstance(entry, str)} - {sample.label for sample in samples}
    if empty and samples:
        raise DataError(
            f"{root} has class folders without a single file: {', '.join(sorted(empty)[:5])}.",
            "Put images into them, or remove them.",
        )
    return Source(name, kind, root, samples)


def _class_folders(root: Path, parent: Path, split: str | None) -> Iterator[Sample | str]:
    """Yield a sample for each file of the class folders in `parent`, and the label of each empty one."""
    folders, files = visible(parent)
    loose = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    if loose and not folders:
        raise DataError(
            f"{parent} holds images ({loose[0].name}, ...) but no class folders.",
            "Sort the images into one folder a class, or list them in a table with the columns path,label.",
        )
    if loose:
        say(f"{len(loose)} images lie beside the class folders of {parent}, have no label and are left out.")
    for folder in folders:
        label = unicodedata.normalize("NFC", folder.name)  # macOS may list `é` as two codepoints, Linux as one
        # A link back to a parent would give every image of every class this label.
        files = list(_walk(folder, seen={_identity(root), _identity(parent)}))
        yield from (Sample(file.relative_to(root).as_posix(), file, label, split) for file in files)
        if not files:
            yield label


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Yield all files below `folder`; links are followed, each real folder is entered once."""
    identity = _identity(folder)
    if identity in seen:
        return
    seen.add(identity)
    folders, files = visible(folder)
    yield from files
    for inner in folders:
        yield from _walk(inner, seen)


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def read_table(table: Path) -> Source:
    """List the samples of a table with the columns path and label, and optionally split and group."""
    numbers, cells = _cells(table)
    _refuse_faults(table, numbers, cells)
    samples = [_sample(table.parent, *cell) for cell in cells]
    times = Counter(sample.file for sample in samples)
    repeated = [number for number, sample in zip(numbers, samples, strict=True) if times[sample.file] > 1]
    _refuse(table, "a path that another row has too", repeated, "Keep one row for each image.")
    if not any(sample.file.exists() for sample in samples):
        raise DataError(
            f"None of the {len(samples)} files that {table} lists exists; the first is {samples[0].file}.",
            "Relative paths count from the table's folder.",
        )
    return Source(table.stem, "table", table.parent, tuple(sorted(samples, key=lambda sample: sample.path)))


def _cells(table: Path) -> tuple[list[int], list[list[str]]]:
    """Numbers of the rows that are not empty, and their stripped path, label, split and group."""
    header, rows = _parquet_rows(table) if table.suffix.lower() == ".parquet" else _csv_rows(table)
    columns = [name.strip().lower() for name in header]
    if missing := [name for name in _COLUMNS[:2] if name not in columns]:
        raise DataError(
            f"{table} lacks the column {' and '.join(missing)}; it has {', '.join(columns) or 'none'}.", _HINT
        )
    if twice := [name for name in _COLUMNS if columns.count(name) > 1]:
        raise DataError(f"{table} has the column {twice[0]} more than once.", _HINT)
    rows = [(number, row) for number, row in rows if any(cell.strip() for cell in row)]
    too_wide = [number for number, row in rows if len(row) > len(columns)]
    _refuse(table, "more cells than the header has columns", too_wide, "Put quotes around cells that hold a comma.")
    if not rows:
        raise DataError(f"{table} has no rows.", _HINT)
    places = [columns.index(name) if name in columns else len(columns) for name in _COLUMNS]
    cells = [[row[place].strip() if place < len(row) else "" for place in places] for _, row in rows]
    return [number for number, _ in rows], cells


def _refuse_faults(table: Path, numbers: list[int], cells: list[list[str]]) -> None:
    paired = list(zip(numbers, cells, strict=True))
    pathless = [n for n, (path, *_) in paired if not path or "\0" in path]
    unlabelled = [n for n, (_, label, *_) in paired if not label]
    unknown = [n for n, (_, _, split, _) in paired if split and split.lower() not in SPLIT_NAMES]
    _refuse(table, "no path", pathless, "Fill in the column path.")
    _refuse(table, "no label", unlabelled, "Fill in the column label, or remove the rows.")
    _refuse(table, "an unknown split", unknown, "A split is train, val (or valid, validation), test, or empty.")


def _refuse(table: Path, fault: str, rows: list[int], hint: str) -> None:
    if rows:
        named = ", ".join(map(str, rows[:10])) + (f" and {len(rows) - 10} more" if len(rows) > 10 else "")
        raise DataError(
            f"{table} has {fault} in row{'s' if len(rows) > 1 else ''} {named} (the header is row 1).", hint
        )


def _sample(root: Path, path: str, label: str, split: str, group: str) -> Sample:
    file = Path(os.path.abspath(root / path))
    if "\\" in path and not file.exists():  # written on Windows
        file = Path(os.path.abspath(root / path.replace("\\", "/")))
    try:
        recorded = Path(os.path.relpath(file, root)) if not Path(path).is_absolute() else file.relative_to(root)
    except ValueError:  # absolute and elsewhere
        recorded = file
    label = unicodedata.normalize("NFC", label)
    return Sample(recorded.as_posix(), file, label, SPLIT_NAMES.get(split.lower()), group or None)


def _csv_rows(table: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    # newline="" as the csv module asks; surrogateescape, because file names need not be UTF-8
    with open(table, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        first = file.readline()
        file.seek(0)
        delimiter = max(",;\t", key=first.count)  # spreadsheets write semicolons where the comma is the decimal point
        try:
            rows = list(csv.reader(file, delimiter=delimiter))
        except csv.Error as error:
            raise DataError(f"{table} is not a readable CSV file: {error}.", _HINT) from None
    if not rows:
        raise DataError(f"{table} is empty.", _HINT)
    return rows[0], list(enumerate(rows[1:], start=2))


def _parquet_rows(table: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise DataError(
            f"{table} is a Parquet table, and pyarrow, which reads those, is not installed.",
            "Run `pip install 'transferkit[parquet]'`, or save the table as CSV.",
        ) from None
    try:
        names = parquet.read_schema(table).names
        wanted = [name for name in names if name.strip().lower() in _COLUMNS]
        # Other columns are not read: some tables carry the images' bytes.
        columns = parquet.read_table(table, columns=wanted).to_pydict()
    except (ValueError, OSError) as error:
        raise DataError(f"{table} is not a readable Parquet table: {str(error).splitlines()[0]}.", _HINT) from None
    cells = [["" if value is None or value != value else str(value) for value in columns[name]] for name in wanted]
    header = wanted if {"path", "label"} <= {name.strip().lower() for name in wanted} else names
    return header, list(enumerate(map(list, zip(*cells, strict=True)), start=2))
