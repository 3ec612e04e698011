"""Tables as CSV files (RFC 4180, UTF-8, text in double quotes) that read back exactly.

- A float64 is the shortest text of the same bits, a float32 has 9 significant digits (IEEE 754-2019, 5.12.2).
- Text that a spreadsheet could run (https://owasp.org/www-community/attacks/CSV_Injection), or that is empty, gets an
  apostrophe in front; NaN and None are empty cells.
- Bytes of a path that are not UTF-8 pass through (PEP 383).
"""

import csv
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import StorageError
from kit.files import storage_errors, write_text

if TYPE_CHECKING:
    import numpy
    import pandas  # type: ignore[import-untyped]  # its stubs are a package of their own, not needed to run

SAMPLE_COLUMNS = ("path", "label", "split", "group", "finding")
CORRECTION_COLUMNS = ("path", "label", "action", "new_label")
PREDICTION_COLUMNS = ("path", "split", "label", "predicted", "predicted_phase1", "confidence")
# `format`, `mode` and `sha256` are in the samples.csv of an inspection.
TEXT_COLUMNS = frozenset(
    {*SAMPLE_COLUMNS, "fold", "predicted", "predicted_phase1", "answer", "phase", "format", "mode", "sha256"}
)
_UNSAFE = ("=", "+", "-", "@", "'", "\t", "\r", "\n")
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")


def make_table(columns: Mapping[str, Sequence[Any]]) -> "pandas.DataFrame":
    """DataFrame whose column names and TEXT_COLUMNS are Python objects: str or None.

    The text type of pandas 3 cannot hold a path that is not UTF-8, and turns None into NaN.
    """
    import pandas

    kinds = ["object" if name in TEXT_COLUMNS else None for name in columns]
    series = [pandas.Series(values, dtype=kind) for values, kind in zip(columns.values(), kinds, strict=True)]
    table = pandas.DataFrame(dict(enumerate(series)))
    table.columns = pandas.Index(list(columns), dtype="object")
    return table


def predictions_table(
    classes: Sequence[str],
    paths: Sequence[str],
    splits: Sequence[str],
    labels: "numpy.ndarray",
    probabilities: "numpy.ndarray",
    first: "numpy.ndarray | None" = None,
) -> "pandas.DataFrame":
    """Table of predictions of n images: predictions.csv.

    `labels` are class numbers, int (n,); `probabilities` float (n, classes), as `first`, those after the first phase,
    without which there is no `predicted_phase1`.
    """

    def names(numbers: "numpy.ndarray") -> list[str]:
        return [classes[number] for number in numbers.tolist()]

    columns: dict[str, Any] = {"path": list(paths), "split": list(splits), "label": names(labels)}
    columns["predicted"] = names(probabilities.argmax(axis=1))
    if first is not None:
        columns["predicted_phase1"] = names(first.argmax(axis=1))
    columns["confidence"] = probabilities.max(axis=1)
    return make_table(columns | {f"p_{name}": probabilities[:, i] for i, name in enumerate(classes)})


def write_table(path: Path, frame: "pandas.DataFrame", columns: Sequence[str]) -> None:
    """Write a table atomically; confidence and p_<class> as float32.

    Raises ValueError if the frame's columns are not `columns`, in order, one of TEXT_COLUMNS is not of text, or another
    not of numbers.
    """
    if list(frame.columns) != list(columns):
        raise ValueError(f"{path.name} must have the columns {list(columns)}, not {list(frame.columns)}")
    cells = [_cells(name, frame[name].astype("float32") if _is_probability(name) else frame[name]) for name in columns]
    write_text(path, "".join(f"{','.join(row)}\n" for row in zip(*cells, strict=True)))


def read_table(path: Path, columns: Sequence[str], *, only: bool = False) -> "pandas.DataFrame":
    """Read a table: text as str or None; confidence and p_<class> as float32, other numbers as int64 or float64.

    `only` never holds other columns in memory. Raises StorageError if the file is missing or damaged, or lacks one of
    `columns`.
    """
    try:
        with storage_errors(path), open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = next(rows, [])
            if not header:
                raise ValueError("it is empty")
            kept = {name: i for i, name in enumerate(header) if name in columns or not only}
            cells: list[list[str]] = [[] for _ in kept]
            for number, row in enumerate(rows, start=1):
                if len(row) != len(header):
                    raise ValueError(f"row {number} has {len(row)} cells, not {len(header)}")
                for column, i in zip(cells, kept.values(), strict=True):
                    column.append(row[i])
        table = make_table({name: _column(name, column) for name, column in zip(kept, cells, strict=True)})
    except FileNotFoundError:
        raise StorageError(f"There is no file {path}.", "The run has not come that far.") from None
    except (ValueError, csv.Error) as error:
        raise StorageError(f"{path} is not a readable table: {error}.") from None
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise StorageError(f"{path} lacks the columns {', '.join(missing)}.")
    return table


def escape_cell(text: str) -> str:
    """Text with an apostrophe in front if it is empty or a spreadsheet could run it."""
    return f"'{text}" if not text or text.startswith(_UNSAFE) else text


def unescape_cell(cell: str) -> str | None:
    """Inverse of `escape_cell`; an empty cell is None."""
    return cell.removeprefix("'") if cell else None


def _is_probability(name: str) -> bool:
    return name == "confidence" or name.startswith("p_")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _text_cell(value: Any) -> str:
    if value is None or value != value:  # pandas' text type has NaN for None
        return ""
    if not isinstance(value, str):
        raise ValueError(f"a cell of text must be str or None, not {value!r}")
    return _quoted(escape_cell(value))


def _cells(name: str, column: "pandas.Series") -> list[str]:
    return [_quoted(name), *map(_formatter(name, column.dtype), column.tolist())]


def _formatter(name: str, dtype: Any) -> Callable[[Any], str]:
    if name in TEXT_COLUMNS:
        return _text_cell
    if dtype.kind in "iu":
        return str
    if dtype.kind != "f":
        raise ValueError(f"column {name} must be of numbers, not {dtype}")
    if dtype.itemsize <= 4:
        return lambda value: "" if math.isnan(value) else f"{value:.9g}"
    return lambda value: "" if math.isnan(value) else repr(value)


def _column(name: str, cells: list[str]) -> Any:
    import numpy

    if name in TEXT_COLUMNS:
        return [unescape_cell(cell) for cell in cells]
    if _is_probability(name):
        return numpy.array([float(cell or "nan") for cell in cells], dtype=numpy.float32)
    if all(_WHOLE.fullmatch(cell) for cell in cells):
        return numpy.array([int(cell) for cell in cells], dtype=numpy.int64)
    return numpy.array([float(cell or "nan") for cell in cells], dtype=numpy.float64)
