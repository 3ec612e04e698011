"""RunFolder: the record of a run, written and read without keras.

    config.toml      the resolved configuration
    manifest.json    schema version, status, versions, seconds and peak memory per stage
    samples.csv      path, label, split, group, finding
    history.csv      one row an epoch (kit.training.history)
    predictions.csv  path, split, label, predicted, predicted_phase1, confidence, p_<class>...
    metrics.json     scores per split and per phase (kit.evaluation)
    insights/  checkpoints/  model.keras  report.html

The tables are CSV (RFC 4180, UTF-8, text in double quotes) that spreadsheets open safely and that read back exactly:

- text that begins with = + - @ ' a tab or a line end, or is empty, gets an apostrophe in front, which reading takes
  away again (https://owasp.org/www-community/attacks/CSV_Injection); a cell without text is None;
- a float64 is written as the shortest text that reads back to the same bits, a float32 with 9 significant digits, which
  do (IEEE 754-2019, 5.12.2); NaN is an empty cell;
- bytes of a path that are not UTF-8 pass through (PEP 383).
"""

import csv
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

from kit import settings
from kit.compile_counter import compiled_so_far
from kit.config import RunConfig
from kit.errors import StorageError
from kit.files import is_address, make_folder, read_json, storage_errors, write_json, write_text
from kit.training.history import COLUMNS as HISTORY_COLUMNS
from kit.training.history import History

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]  # its stubs are a package of their own, not needed to run

SCHEMA_VERSION = 1
SAMPLE_COLUMNS = ("path", "label", "split", "group", "finding")
PREDICTION_COLUMNS = ("path", "split", "label", "predicted", "predicted_phase1", "confidence")
# `format`, `mode` and `sha256` are in what `transferkit inspect` records.
TEXT_COLUMNS = frozenset({*SAMPLE_COLUMNS, "predicted", "predicted_phase1", "phase", "format", "mode", "sha256"})
_UNSAFE = ("=", "+", "-", "@", "'", "\t", "\r", "\n")
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_LOCK = ".lock"


@dataclass(frozen=True)
class RunFolder:
    """One run's folder. Make one with `create` or `open`.

    Attributes:
        path: The folder.
    """

    path: Path

    @classmethod
    def create(cls, path: Path, config: RunConfig) -> Self:
        """Starts a run's record: `config.toml`, and a manifest with status `running`.

        Raises:
            StorageError: If the folder holds anything already, or cannot be written.
        """
        run = cls(Path(path))
        make_folder(run.path, "Give --out another.")
        with run.lock():
            run.require_vacant()
            # the manifest makes it a run folder: a kill between the two leaves one that `create` takes over
            created = datetime.now(UTC).isoformat(timespec="seconds")
            manifest = {"schema_version": SCHEMA_VERSION, "kind": "run", "status": "running", "created": created}
            write_json(run._manifest_path, manifest)
            write_text(run._config_path, settings.to_toml(config))
        return run

    @classmethod
    def open(cls, path: Path) -> Self:
        """The record of a run that was started before.

        Raises:
            StorageError: If it is not a run folder, or a newer kit wrote it.
        """
        run = cls(Path(path))
        if not run._manifest_path.is_file():
            if is_address(path):
                raise StorageError(f"A run is a folder on this machine, not the address {path}.", "Download it first.")
            missing = "is not a run folder: it has no manifest.json" if run.path.is_dir() else "is not a folder"
            raise StorageError(f"{path} {missing}.", "Give the folder that `transferkit train` printed at its end.")
        manifest = run.manifest
        if manifest.get("kind") != "run":
            raise StorageError(
                f"{path} is the record of another thing ({manifest.get('kind')!r}), not of a run.",
                "Give the folder that `transferkit train` printed at its end.",
            )
        if manifest["schema_version"] > SCHEMA_VERSION:
            raise StorageError(
                f"{path} has schema version {manifest['schema_version']}; this kit reads up to {SCHEMA_VERSION}.",
                "Install a newer transferkit.",
            )
        return run

    def require_vacant(self) -> None:
        """Raises StorageError if something is in the run's place already; `create` asks again, under the lock."""
        if not self.path.is_dir():
            if self.path.exists():
                raise StorageError(f"{self.path} cannot be a folder: a file is in its place.", "Give --out another.")
            return
        content = {entry.name for entry in self.path.iterdir() if not entry.name.startswith(".tmp-")} - {_LOCK}
        if content == {"manifest.json"} and self.manifest.get("kind") == "run":
            return
        if "manifest.json" in content:
            hint = f"Give --out another folder, or go on with `transferkit train --resume {self.path}`."
            raise StorageError(f"{self.path} holds the record of a run already.", hint)
        if content:
            raise StorageError(f"{self.path} is not empty and not a run folder.", "Give --out a new or empty folder.")

    # === Places ===

    @property
    def _config_path(self) -> Path:
        return self.path / "config.toml"

    @property
    def _manifest_path(self) -> Path:
        return self.path / "manifest.json"

    @property
    def insights(self) -> Path:
        """Folder of what pages need and cannot compute."""
        return self.path / "insights"

    @property
    def checkpoints(self) -> Path:
        """Folder of what a resumed run starts from."""
        return self.path / "checkpoints"

    @property
    def model_path(self) -> Path:
        """The trained model: uint8 (batch, S, S, 3), 0-255 -> probabilities (batch, classes)."""
        return self.path / "model.keras"

    @property
    def report_path(self) -> Path:
        """The page drawn from this record."""
        return self.path / "report.html"

    # === Records ===

    @property
    def config(self) -> RunConfig:
        """The resolved configuration of the run."""
        return settings.load_config(file=self._config_path)

    @property
    def manifest(self) -> dict[str, Any]:
        """What the run says of itself; `schema_version`, `kind`, `status` and `created` are always there."""
        content = read_json(self._manifest_path)
        if not isinstance(content, dict) or not isinstance(content.get("schema_version"), int):
            raise StorageError(f"{self._manifest_path} is not a manifest: it has no schema_version.")
        return content

    def update_manifest(self, **fields: Any) -> None:
        """Replaces fields of the manifest, all at once; the caller holds `lock`. Values must be JSON, NaN refused."""
        write_json(self._manifest_path, self.manifest | fields)

    @property
    def samples(self) -> "pandas.DataFrame":
        """Every image: path, label, split, group, finding; text or None."""
        return read_table(self.path / "samples.csv", SAMPLE_COLUMNS)

    def write_samples(self, rows: "pandas.DataFrame") -> None:
        """Writes `samples`; `make_table` builds a frame that holds any path.

        Raises:
            ValueError: If the columns are not SAMPLE_COLUMNS, in order.
        """
        write_table(self.path / "samples.csv", rows, SAMPLE_COLUMNS)

    @property
    def history(self) -> History:
        """Every epoch so far."""
        frame = read_table(self.path / "history.csv", HISTORY_COLUMNS)
        history = History.from_frame(frame)
        if history.records and history.records[0].epoch != 1:
            raise StorageError(f"{self.path / 'history.csv'} starts at epoch {history.records[0].epoch}, not 1.")
        return history

    def write_history(self, history: History) -> None:
        """Writes `history`, whole."""
        write_table(self.path / "history.csv", history.to_frame(), HISTORY_COLUMNS)

    @property
    def verdicts(self) -> "pandas.DataFrame":
        """`predictions` without p_<class>, which take far more memory than all else where there are many classes."""
        return _narrow(read_table(self.path / "predictions.csv", PREDICTION_COLUMNS, only=True))

    @property
    def predictions(self) -> "pandas.DataFrame":
        """What the model said of every image that was scored; `confidence` and p_<class> are float32, 0 to 1."""
        return _narrow(read_table(self.path / "predictions.csv", PREDICTION_COLUMNS))

    def write_predictions(self, rows: "pandas.DataFrame") -> None:
        """Writes `predictions`; probabilities are kept as float32.

        Args:
            rows: PREDICTION_COLUMNS, then p_<class> for each class in the model's order.

        Raises:
            ValueError: If the columns are not those, in order.
        """
        expected = (*PREDICTION_COLUMNS, *(name for name in rows.columns if name.startswith("p_")))
        write_table(self.path / "predictions.csv", _narrow(rows), expected)

    @property
    def metrics(self) -> dict[str, Any]:
        """Scores: split -> kit.evaluation.Scores as a dict, and "phases": the same per phase."""
        return read_json(self.path / "metrics.json")

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Writes `metrics`."""
        write_json(self.path / "metrics.json", metrics)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps every other process out of this run while the body runs; the system frees it if the process dies.

        Raises:
            StorageError: At once, if another process (or another thread) holds it.
        """
        import filelock

        holder = filelock.FileLock(self.path / _LOCK, timeout=0)
        try:
            with storage_errors(self.path):
                holder.acquire()
        except filelock.Timeout:
            hint = "Wait until it ends, or give --out another folder."
            raise StorageError(f"Another transferkit is at work in {self.path}.", hint) from None
        try:
            yield
        finally:
            holder.release()


def sweep(run: RunFolder) -> None:
    """Removes what a killed process left half written in a run folder; the caller holds its lock.

    Pages are left alone: they are drawn without the lock, so that one may be on its way right now.
    """
    for path in run.path.rglob(".tmp-*"):
        if path.is_file() and path.suffix != ".html":
            path.unlink(missing_ok=True)


def default_run_path(name: str, root: Path = Path("runs")) -> Path:
    """`runs/<name>-<YYYYmmdd-HHMMSS>` in local time, with -2, -3, ... behind it where that exists.

    Args:
        name: What the run is about, usually the data's name; characters that file systems dislike become hyphens.
        root: The folder of runs.
    """
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name).strip(".-")[:80] or "run"
    base = f"{safe}-{datetime.now():%Y%m%d-%H%M%S}"
    path, number = root / base, 1
    while path.exists():
        number += 1
        path = root / f"{base}-{number}"
    return path


class StageClock:
    """Seconds and peak memory of each stage of a run, for the manifest.

    Attributes:
        stages: Name -> {"seconds": wall time, "peak_memory_bytes": the process's greatest resident size up to the end
            of the stage (it never falls from stage to stage; None where the system does not tell), "programs": how
            many the backend was given to compile}. A stage that is entered again adds its seconds and programs.
    """

    def __init__(self):
        self.stages: dict[str, dict[str, Any]] = {}

    def add(self, stages: Mapping[str, Mapping[str, Any]]) -> None:
        """Adds what was measured, here or by an earlier process of a run that is resumed."""
        for name, measured in stages.items():
            before = self.stages.get(name, {})
            sums = {key: before.get(key, 0) + measured.get(key, 0) for key in ("seconds", "programs")}
            self.stages[name] = {**measured, **sums}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measures its body, also when that raises."""
        start, programs = perf_counter(), compiled_so_far()
        try:
            yield
        finally:
            measured = {"seconds": perf_counter() - start, "peak_memory_bytes": peak_memory()}
            self.add({name: {**measured, "programs": compiled_so_far() - programs}})


def peak_memory() -> int | None:
    """Greatest resident size of this process so far, in bytes; None where the system does not tell (Windows)."""
    try:
        # Linux. getrusage would do, but a new process inherits its figure from the one that started it.
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if os.uname().sysname == "Darwin" else peak * 1024  # getrusage(2): kilobytes, and bytes on macOS


# === Tables ===


def make_table(columns: Mapping[str, Sequence[Any]]) -> "pandas.DataFrame":
    """A DataFrame whose text (column names and TEXT_COLUMNS) is Python objects: str or None.

    The text type that pandas 3 chooses by itself cannot hold a path that is not UTF-8, and turns None into NaN.
    """
    import pandas

    kinds = ["object" if name in TEXT_COLUMNS else None for name in columns]
    series = [pandas.Series(values, dtype=kind) for values, kind in zip(columns.values(), kinds, strict=True)]
    table = pandas.DataFrame(dict(enumerate(series)))
    table.columns = pandas.Index(list(columns), dtype="object")
    return table


def write_table(path: Path, frame: "pandas.DataFrame", columns: Sequence[str]) -> None:
    """Writes a table as the module's docstring says.

    Raises:
        ValueError: If the frame's columns are not `columns`, in order, or one of TEXT_COLUMNS is not of text, another
            not of numbers.
    """
    if list(frame.columns) != list(columns):
        raise ValueError(f"{path.name} must have the columns {list(columns)}, not {list(frame.columns)}")
    cells = [[_quoted(name), *map(_formatter(name, frame[name].dtype), frame[name].tolist())] for name in columns]
    write_text(path, "".join(f"{','.join(row)}\n" for row in zip(*cells, strict=True)))


def read_table(path: Path, columns: Sequence[str], *, only: bool = False) -> "pandas.DataFrame":
    """Reads what `write_table` wrote: text columns as str or None, others as int64 where all cells are, else float64.

    Args:
        path: The file.
        columns: Those it must have.
        only: Leaves all other columns out, and never holds them in memory.

    Raises:
        StorageError: If the file is missing or damaged, or lacks one of `columns`.
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
    """Text that a spreadsheet may open and that is not empty; `unescape_cell` gives the text back."""
    return f"'{text}" if not text or text.startswith(_UNSAFE) else text


def unescape_cell(cell: str) -> str | None:
    """Undoes `escape_cell`; an empty cell is None."""
    return cell.removeprefix("'") if cell else None


def _narrow(table: "pandas.DataFrame") -> "pandas.DataFrame":
    """The table with its probabilities as float32."""
    # not table.astype({...}): pandas would make its own text type of the column names
    return make_table(
        {name: table[name].astype("float32") if _is_probability(name) else table[name] for name in table.columns}
    )


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
    if not _is_probability(name) and all(_WHOLE.fullmatch(cell) for cell in cells):
        return numpy.array([int(cell) for cell in cells], dtype=numpy.int64)
    return numpy.array([float(cell or "nan") for cell in cells], dtype=numpy.float64)
