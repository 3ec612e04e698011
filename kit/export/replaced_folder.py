"""Atomic replacement of an export's folder; nothing but an earlier export is overwritten."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kit.errors import StorageError
from kit.files import read_json, storage_errors

RECORD = "export.json"


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`, moved there if the body succeeds; StorageError if a non-export is there."""
    target = Path(path).resolve()
    _require_replaceable(target)
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".tmp-{target.name}-", dir=target.parent))
        try:
            new, old = made / "new", made / "old"
            new.mkdir()
            yield new
            _require_replaceable(target)
            if hasattr(os, "sync"):  # one call instead of one fsync for each file
                os.sync()
            if target.exists():
                os.replace(target, old)
            os.replace(new, target)
        finally:
            shutil.rmtree(made, ignore_errors=True)


def _require_replaceable(target: Path) -> None:
    """Raise StorageError unless there is nothing, an empty folder, or only an export."""
    hint = "Give --out a new or empty folder."
    try:
        if not target.exists():
            return
        if not target.is_dir():
            raise StorageError(f"{target} cannot be a folder: a file is in its place.", hint)
        there = {file.relative_to(target).as_posix() for file in target.rglob("*") if not file.is_dir()}
    except OSError as error:  # name too long, folder not accessible
        raise StorageError(f"{target} cannot be looked at: {error.strerror}.", hint) from None
    if there and not there <= _written_before(target):
        raise StorageError(f"{target} is not empty and holds more than an export.", hint)


def _written_before(target: Path) -> set[str]:
    """Files that an earlier export lists as its own."""
    if not (target / RECORD).is_file():
        return set()
    record = read_json(target / RECORD)
    if not isinstance(record, dict) or record.get("kind") != "export":
        return set()
    return {RECORD, *record.get("files", {})}
