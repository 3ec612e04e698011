"""Samples of CSV, Parquet and JSON Lines tables, whatever their columns are called and however they are encoded."""

import codecs
import csv
import io
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kit.csv_tables import CORRECTION_COLUMNS
from kit.data import Sample, Source
from kit.data.folders import meaning
from kit.data.listing import Tree, looks_like_image
from kit.errors import ConfigError, DataError
from kit.machine import install_command
from kit.progress import some

SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl")
# Names that a column goes by elsewhere, in the order in which they are looked for.
_ALIASES = {
    "path": (
        *("path", "file_path", "filepath", "file_name", "filename", "file", "image_path", "image_name", "image"),
        *("img_path", "img", "image_id", "img_id", "id"),
    ),
    "label": ("label", "labels", "class", "class_name", "category", "target"),
    "split": ("split",),
    "group": ("group",),
}
_TRUTH = {"0": False, "0.0": False, "false": False, "": False, "1": True, "1.0": True, "true": True}
_HINT = "The first row names the columns: path,label and, if you like, split,group; paths count from its folder."
_NAME_THEM = "Name the columns path and label, or train with `--columns path=COLUMN,label=COLUMN`."


@dataclass(frozen=True)
class _Table:
    """Cells of a table, stripped; `rows` with their numbers, empty ones left out.

    `name` stands in messages; `counted` says how rows are counted.
    """

    name: str
    header: list[str]
    rows: list[tuple[int, list[str]]]
    counted: str = "the header is row 1"

    def place(self, name: str) -> int | None:
        """Index of a column, whatever the case of its name."""
        names = [column.lower() for column in self.header]
        if names.count(name.lower()) > 1:
            raise DataError(f"{self.name} has the column {name} more than once.", _HINT)
        return names.index(name.lower()) if name.lower() in names else None

    def column(self, place: int | None) -> list[str]:
        """Cells of a column; empty ones where there is none."""
        return [row[place] if place is not None and place < len(row) else "" for _, row in self.rows]

    def refuse(self, fault: str, faulty: Sequence[bool], hint: str) -> None:
        """Raise DataError for the rows that have a fault."""
        if rows := [number for (number, _), wrong in zip(self.rows, faulty, strict=True) if wrong]:
            where = f"row{'s' if len(rows) > 1 else ''} {some(rows, 10)} ({self.counted})"
            raise DataError(f"{self.name} has {fault} in {where}.", hint)


def read_table(file: Path, columns: str = "", root: Path | None = None) -> Source:
    """List the samples of a table.

    `columns` says which column is what (`path=img,label=breed`); else path and label, and split and group where there
    are any, are found by their usual names. Without a label, columns of 0 and 1 with one 1 a row are the classes.
    `root` is the folder from which paths count; None: the table's.
    """
    table, root = _read(file), root or file.parent
    if {*CORRECTION_COLUMNS} <= {name.lower() for name in table.header}:
        raise DataError(
            f"{file} holds corrections of labels, not images.",
            "Name the images beside it: `transferkit train DATA --corrections FILE`.",
        )
    samples, line = _samples(table, root, columns)
    warnings = []
    if any(map(_is_undecoded, (*table.header, *(cell for _, row in table.rows for cell in row)))):
        warnings.append(f"{file} is not UTF-8 and was read as Windows-1252, as Excel writes it.")
    if not any(sample.file.exists() for sample in samples):
        samples = _found_by_name(file, root, samples)
        warnings.append(f"The images of {file} were found by their names in the folders beside it.")
    _require_once(table, samples)
    ordered = tuple(sorted(samples, key=lambda sample: sample.path))
    return Source(file.stem, "table", root, ordered, (f"{file.name}: {line}",), tuple(warnings))


def read_frame(frame: Any, columns: str = "") -> Source:
    """List the samples of a DataFrame, as those of a table; its paths count from the current folder."""
    if frame.index.name is not None:
        frame = frame.reset_index()
    header = [str(name).strip() for name in frame.columns]
    cells = zip(*(map(_frame_cell, frame.iloc[:, i].tolist()) for i in range(len(header))), strict=True)
    table = _Table("The DataFrame", header, list(enumerate(map(list, cells))), "the first row is 0")
    if not table.rows:
        raise DataError("The DataFrame has no rows.", "It names one image a row: columns path,label, split,group.")
    root = Path.cwd()
    samples, line = _samples(table, root, columns)
    if not any(sample.file.exists() for sample in samples):
        raise DataError(
            f"None of the {len(samples):,} files of the DataFrame is there; the first is {samples[0].file}.",
            "Paths count from the current folder, with their suffix: frame['path'] = 'photos/' + frame['id'] + '.jpg'.",
        )
    _require_once(table, samples)
    return Source("DataFrame", "table", root, tuple(samples), (f"DataFrame: {line}",))


def _frame_cell(value: Any) -> str:
    """Text of a cell; empty for None, NaN and NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return ""
    if isinstance(value, str | os.PathLike):
        return os.fspath(value).strip()
    return "" if value != value else str(value)


def _samples(table: _Table, root: Path, columns: str) -> tuple[list[Sample], str]:
    """Samples in the order of the rows, and how the columns were understood."""
    places, label_words, labels = _understand(table, parse_columns(columns))
    paths, splits, groups = (table.column(places.get(role)) for role in ("path", "split", "group"))
    table.refuse("no path", [not path or "\0" in path for path in paths], "Fill in the column path.")
    table.refuse("no label", [not label for label in labels], "Fill in the column label, or remove the rows.")
    unknown = [bool(split) and meaning(split) is None for split in splits]
    table.refuse("an unknown split", unknown, "A split is train, val (or valid, validation), test, or empty.")
    labels, splits, groups = (list(map(_decoded, cells)) for cells in (labels, splits, groups))
    found = [f"{role} = {table.header[place]}" for role, place in places.items() if role != "label"]
    line = f"{len(table.rows):,} rows; {', '.join([*found, f'label = {label_words}'])}"
    return [_sample(root, *cells) for cells in zip(paths, labels, splits, groups, strict=True)], line


def _require_once(table: _Table, samples: list[Sample]) -> None:
    times = Counter(sample.file for sample in samples)
    repeated = [times[sample.file] > 1 for sample in samples]
    table.refuse("a path that another row has too", repeated, "Keep one row for each image.")


def find_table(folder: Path, columns: str = "") -> Source | None:
    """Samples of the only table in a folder that lists images, or None; DataError if several do."""
    found = []
    for file in Tree().look(folder).files:
        # a Kaggle competition's sample_submission.csv lists the test images, under labels that are none
        if file.name.lower().endswith(SUFFIXES) and "submission" not in file.stem.lower():
            try:
                found.append((file, read_table(file, columns)))
            except DataError:
                continue
    if len(found) > 1:
        names = ", ".join(file.name for file, _ in found[:5])
        raise DataError(f"{folder} holds several tables of images: {names}.", "Name one of them instead of the folder.")
    return found[0][1] if found else None


def parse_columns(columns: str) -> dict[str, str]:
    """Role -> column of `path=img,label=breed`; ConfigError if it is something else."""
    parts = [part.partition("=") for part in columns.split(",")] if columns else []
    given = {role.strip(): name.strip() for role, _, name in parts}
    if len(given) < len(parts) or not given.keys() <= _ALIASES.keys() or not all(given.values()):
        raise ConfigError(
            f"data.columns must name columns as in path=file_name,label=breed, not {columns!r}.",
            f"Each of {', '.join(_ALIASES)} may be named once.",
        )
    return given


def usual_column(role: str, names: Sequence[object]) -> Any:
    """The first of a table's columns that goes by a usual name of a role (`path`, `label`), or None."""
    lower = {str(name).lower(): name for name in reversed(names)}
    return next((lower[alias] for alias in _ALIASES[role] if alias in lower), None)


def _understand(table: _Table, given: dict[str, str]) -> tuple[dict[str, int], str, list[str]]:
    """Role -> index of its column, the label's column in words, and the labels."""
    places: dict[str, int] = {}
    for role, aliases in _ALIASES.items():
        wanted = (given[role],) if role in given else aliases
        place = next((place for name in wanted if (place := table.place(name)) is not None), None)
        if place is not None:
            places[role] = place
        elif role in given:
            raise _lacks(table, given[role], f"The settings say that it holds the {role}: call that column so.")
    if "path" not in places:
        raise _lacks(table, "path" if "label" in places else "path and label")
    if "label" in places:
        return places, table.header[places["label"]], table.column(places["label"])
    taken = set(places.values())
    classes = [i for i in range(len(table.header)) if i not in taken and _is_binary(table.column(i))]
    if len(classes) < 2:
        raise _lacks(table, "label")
    marks = list(zip(*([_TRUTH[cell.lower()] for cell in table.column(i)] for i in classes), strict=True))
    table.refuse(
        "more than one class, or none,",
        [sum(row) != 1 for row in marks],
        "A classifier needs one class an image: keep one 1 a row, or remove the rows.",
    )
    labels = [table.header[classes[row.index(True)]] for row in marks]
    return places, f"the one of {len(classes)} columns that is 1", labels


def _is_binary(cells: list[str]) -> bool:
    return any(cells) and all(cell.lower() in _TRUTH for cell in cells)


def _lacks(table: _Table, names: str, hint: str = f"{_HINT} {_NAME_THEM}") -> DataError:
    has = ", ".join(table.header[:20]) or "none"
    return DataError(f"{table.name} lacks the column{'s' * (' and ' in names)} {names}; it has {has}.", hint)


def _sample(root: Path, path: str, label: str, split: str, group: str) -> Sample:
    file = Path(os.path.abspath(root / path))
    if _is_undecoded(path) and not file.exists():
        path = _decoded(path)
        file = Path(os.path.abspath(root / path))
    if "\\" in path and not file.exists():  # written on Windows
        file = Path(os.path.abspath(root / path.replace("\\", "/")))
    return Sample(_recorded(file, root, path), file, unicodedata.normalize("NFC", label), meaning(split), group or None)


def _recorded(file: Path, root: Path, path: str = "") -> str:
    try:
        return Path(os.path.relpath(file, root) if not Path(path).is_absolute() else file.relative_to(root)).as_posix()
    except ValueError:  # absolute and elsewhere
        return file.as_posix()


def _found_by_name(table: Path, root: Path, samples: list[Sample]) -> list[Sample]:
    """Samples whose files lie somewhere below the table's folder, by name with or without suffix."""
    known: dict[str, list[Path]] = {}
    for file in filter(looks_like_image, Tree().files(root, set())):
        for name in {file.name, file.stem}:
            known.setdefault(name, []).append(file)
    split = meaning(table.stem)  # train.csv names what is in train/, where test/ has files of the same names
    for name, files in known.items():
        if len(files) > 1 and split:
            own = [file for file in files if meaning(file.relative_to(root).parts[0]) == split]
            known[name] = own if len(own) == 1 else files
    matches = [known.get(sample.file.name, []) if "/" not in sample.path else [] for sample in samples]
    if not any(matches):
        raise DataError(
            f"None of the {len(samples)} files that {table} lists exists; the first is {samples[0].file}.",
            "Relative paths count from the table's folder.",
        )
    if twice := next((files for files in matches if len(files) > 1), None):
        raise DataError(
            f"{table} lists {twice[0].stem}, and several files are called so: {', '.join(map(str, twice[:3]))}.",
            "Write the folder in front of each path.",
        )
    return [
        replace(sample, path=_recorded(files[0], root), file=files[0]) if files else sample
        for sample, files in zip(samples, matches, strict=True)
    ]


# === Reading ===


def _read(file: Path) -> _Table:
    kind = file.suffix.lower()
    if kind == ".parquet":
        header, rows = _parquet_rows(file)
    else:
        header, rows = (_json_rows if kind == ".jsonl" else csv_rows)(file.read_bytes(), file)
    stripped = [(number, [cell.strip() for cell in row]) for number, row in enumerate(rows, start=2)]
    table = _Table(str(file), [_decoded(name.strip()) for name in header], [item for item in stripped if any(item[1])])
    too_wide = [len(row) > len(header) for _, row in table.rows]
    table.refuse("more cells than the header has columns", too_wide, "Put quotes around cells that hold a comma.")
    if not table.rows:
        raise DataError(f"{file} has no rows.", _HINT)
    return table


def csv_rows(content: bytes, file: Path, hint: str = _HINT) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a CSV file, as spreadsheets save them; DataError, with the hint, if it is none.

    Bytes that are not UTF-8 are surrogate escapes.
    """
    text = _text(content, file)
    first = text.split("\n", 1)[0]
    if told := re.fullmatch(r'"?sep=(.)"?\r?', first):  # how Excel is told the delimiter
        text, delimiter = text[len(first) + 1 :], told[1]
    else:
        delimiter = max(",;\t", key=first.count)  # spreadsheets write semicolons where the comma is the decimal point
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"{file} is not a readable CSV file: {error}.", hint) from None
    if not rows:
        raise DataError(f"{file} is empty.", hint)
    return rows[0], rows[1:]


def _text(content: bytes, file: Path) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return content.decode("utf-16")
        except UnicodeDecodeError as error:
            raise DataError(f"{file} is not readable UTF-16: {error}.", "Save it as UTF-8.") from None
    # What is not UTF-8 stays as surrogate escapes, which no label keeps: file names need not be text.
    return content.decode("utf-8-sig", errors="surrogateescape")


def _is_undecoded(text: str) -> bool:
    return any("\udc80" <= letter <= "\udcff" for letter in text)


def _decoded(text: str) -> str:
    """Text whose bytes are not UTF-8, as Windows-1252; DataError if it is not that either."""
    if not _is_undecoded(text):
        return text
    try:
        return text.encode("utf-8", errors="surrogateescape").decode("cp1252")
    except UnicodeDecodeError:
        raise DataError(f"The text {text!r} is neither UTF-8 nor Windows-1252.", "Save the table as UTF-8.") from None


def _json_rows(content: bytes, file: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of JSON Lines (`metadata.jsonl`), one object a line; nested values are left out."""
    try:
        items = [json.loads(line) for line in content.decode("utf-8-sig").splitlines() if line.strip()]
    except ValueError as error:
        raise DataError(f"{file} is not a readable JSON Lines table: {error}.", _HINT) from None
    if not items or not all(isinstance(item, dict) for item in items):
        raise DataError(f"{file} is no table: each of its lines must be a JSON object.", _HINT)
    nested = {name for item in items for name, value in item.items() if isinstance(value, dict | list)}
    header = [name for name in dict.fromkeys(name for item in items for name in item) if name not in nested]
    return header, [[_json_cell(item.get(name)) for name in header] for item in items]


def _json_cell(value: Any) -> str:
    return "" if value is None else str(value)


def _parquet_rows(file: Path) -> tuple[list[str], list[list[str]]]:
    try:
        import pyarrow.parquet as parquet
        import pyarrow.types as types
    except ImportError:
        raise DataError(
            f"{file} is a Parquet table, and pyarrow, which reads those, is not installed.",
            f"Run `{install_command('parquet')}`, or save the table as CSV.",
        ) from None
    try:
        schema = parquet.read_schema(file)
        # Columns of bytes or of structures are not read: some tables carry the images.
        wanted = [one.name for one in schema if not types.is_nested(one.type) and not types.is_binary(one.type)]
        columns = parquet.read_table(file, columns=wanted).to_pydict()
    except (ValueError, OSError) as error:
        raise DataError(f"{file} is not a readable Parquet table: {str(error).splitlines()[0]}.", _HINT) from None
    cells = [["" if value is None or value != value else str(value) for value in columns[name]] for name in wanted]
    return wanted, list(map(list, zip(*cells, strict=True)))
