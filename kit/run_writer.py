"""A run's folder while it is written: what a run in a program or a notebook has no use for."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from kit import settings
from kit.config import RunConfig
from kit.csv_tables import PREDICTION_COLUMNS, SAMPLE_COLUMNS, write_table
from kit.data.corrections import FILE as CORRECTIONS
from kit.data.corrections import Corrections, write_copy
from kit.errors import StorageError
from kit.files import make_folder, storage_errors, write_json, write_text
from kit.model.strangeness import Strangeness
from kit.parts import FILE as PLUGIN
from kit.parts import copy_plugin
from kit.run import SCHEMA_VERSION, Run
from kit.thresholds import ARRAYS, Thresholds
from kit.thresholds import FILE as ABSTENTION
from kit.training.history import History

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]  # its stubs are a package of their own, not needed to run

_LOCK = ".lock"


class RunWriter(Run):
    """One run's folder, to be written. Make one with `create` or `open`."""

    @classmethod
    def create(cls, path: Path, config: RunConfig, corrections: Corrections | None = None, plugin: str = "") -> Self:
        """Write `config.toml`, a manifest with status `running` and copies of the corrections and the `plugin`.

        Raises StorageError if the folder holds anything already, or cannot be written.
        """
        run = cls(Path(path))
        make_folder(run.path, "Give --out another.")
        with run.lock():
            run.require_vacant()
            # the manifest makes it a run folder; after a kill between the two writes, `create` takes it over
            created = datetime.now(UTC).isoformat(timespec="seconds")
            manifest = {"schema_version": SCHEMA_VERSION, "kind": "run", "status": "running", "created": created}
            write_json(run.path / "manifest.json", manifest)
            write_copy(run.path, corrections)
            copy_plugin(plugin, run.path)
            write_text(run.path / "config.toml", settings.to_toml(config))
        return run

    def require_vacant(self, *, default: bool = False) -> None:
        """Raise StorageError if the path is taken already or cannot be written; `create` checks again, under the lock.

        `default`: the path is the folder of all runs, which may hold some.
        """
        parents = (self.path.absolute(), *self.path.absolute().parents)
        there = next(folder for folder in parents if os.path.lexists(folder))
        if not there.is_dir():
            what = f"{self.path} cannot be a folder: a file is in its place" + (
                "." if there == parents[0] else f" ({there})."
            )
            raise StorageError(what, "Give --out another.")
        if not os.access(there, os.W_OK):
            raise StorageError(
                f"{there} cannot be written, and the run is recorded there.", "Give --out another folder."
            )
        if default or there != parents[0]:
            return
        content = {entry.name for entry in self.path.iterdir() if not entry.name.startswith(".tmp-")} - {_LOCK}
        if "manifest.json" in content <= {"manifest.json", CORRECTIONS, PLUGIN} and self.manifest.get("kind") == "run":
            return
        if "manifest.json" in content:
            hint = f"Give --out another folder, or go on with `transferkit train --resume {self.path}`."
            raise StorageError(f"{self.path} holds the record of a run already.", hint)
        if content:
            raise StorageError(f"{self.path} is not empty and not a run folder.", "Give --out a new or empty folder.")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run's lock against all other processes; the system frees it if the process dies.

        Raises StorageError at once if another process (or another thread) holds it.
        """
        import filelock

        holder = filelock.FileLock(self.path / _LOCK, timeout=0)
        try:
            with storage_errors(self.path):
                holder.acquire()
        except filelock.Timeout:
            hint = "Wait until it ends, or write to another folder."
            raise StorageError(f"Another transferkit is at work in {self.path}.", hint) from None
        try:
            yield
        finally:
            holder.release()

    def remove_leftovers(self) -> None:
        """Remove half-written files of a killed process; the caller holds the lock. Pages stay: drawn without it."""
        for path in self.path.rglob(".tmp-*"):
            if path.is_file() and path.suffix != ".html":
                path.unlink(missing_ok=True)

    # === Record ===

    def update_manifest(self, **fields: Any) -> None:
        """Replace fields of the manifest in one write; the caller holds `lock`. Values must be JSON, NaN refused."""
        write_json(self.path / "manifest.json", self.manifest | fields)

    def write_samples(self, table: "pandas.DataFrame") -> None:
        """Write samples.csv; ValueError if the columns are not SAMPLE_COLUMNS, then `sha256`, `fold` if any."""
        expected = (*SAMPLE_COLUMNS, *(name for name in table.columns if name in ("sha256", "fold")))
        write_table(self.path / "samples.csv", table, expected)

    def write_history(self, history: History) -> None:
        table = history.to_frame()
        write_table(self.path / "history.csv", table, tuple(table.columns))

    def write_predictions(self, table: "pandas.DataFrame") -> None:
        """Write predictions.csv; ValueError if columns are not PREDICTION_COLUMNS, then p_<class> in model order."""
        expected = (*PREDICTION_COLUMNS, *(name for name in table.columns if name.startswith("p_")))
        write_table(self.path / "predictions.csv", table, expected)

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        write_json(self.path / "metrics.json", metrics)

    def write_abstention(self, abstention: Thresholds, strangeness: Strangeness | None) -> None:
        """Write abstention.json, after strangeness.npz if there is a strangeness."""
        if strangeness is not None:
            strangeness.save(self.path / ARRAYS)
        write_json(self.path / ABSTENTION, abstention.to_dict())
