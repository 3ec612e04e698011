"""List, prune and verify the stores of the cache."""

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kit.cache.chunks import SUFFIX, Chunk, DamagedChunk
from kit.cache.stores import RECIPE, stores_folder
from kit.cache.writer import lock_path
from kit.errors import StorageError
from kit.files import fingerprint, read_json, storage_errors
from kit.machine import cache_folder, given_folder, heads_folder

_OF_NO_INTEREST = (
    *("decoder", "codecs", "pillow", "background", "grey_range", "colour_profiles"),
    *("processor", "arithmetic"),
)


GIVEN = "given"


@dataclass(frozen=True)
class StoreInfo:
    """A store on disk.

    Attributes:
        kind: `pixels`, `features` or `heads`; `given` where it is what a program gave.
        about: Summary of the recipe; empty if unreadable.
        rows: Rows in chunks that are not obviously damaged; of what was given, images.
        bytes: Bytes of all its files.
        last_used: Seconds since the epoch.
    """

    path: Path
    kind: str
    about: str
    rows: int
    bytes: int
    last_used: float

    def __post_init__(self):
        if self.rows < 0 or self.bytes < 0:
            raise ValueError(f"rows and bytes must be 0 or more, not {self.rows} and {self.bytes}")


def list_stores() -> list[StoreInfo]:
    """All stores, the last used first; the trained heads that trials share count as one."""
    found = [_info(path) for path in _entries(stores_folder()) if path.is_dir()]
    if heads_folder().is_dir():
        found.append(_heads())
    return sorted(found, key=lambda info: (-info.last_used, info.path.name))


def list_given() -> list[StoreInfo]:
    """What programs gave in memory, the last used first: runs read it here, and nothing computes it again."""
    found = [_given(path) for path in _entries(given_folder()) if path.is_dir() and not path.name.startswith(".")]
    return sorted(found, key=lambda info: (-info.last_used, info.path.name))


def other_folders() -> dict[Path, int]:
    """Bytes of the cache's other folders: downloads, archives, audit facts."""
    stores = (stores_folder(), heads_folder(), given_folder())
    return {path: _bytes_of(path) for path in _entries(cache_folder()) if path.is_dir() and path not in stores}


def choose_stores(
    stores: Sequence[StoreInfo],
    now: float,
    older_than: float | None = None,
    kind: str | None = None,
    most: int | None = None,
) -> list[StoreInfo]:
    """Stores to remove, the least recently used first; all without `older_than` and `most`.

    Args:
        now: Seconds since the epoch.
        older_than: Remove those unused for more seconds than this.
        kind: Consider stores of this kind only.
        most: Remove more until the rest takes at most this many bytes.
    """
    oldest_first = sorted((info for info in stores if kind in (None, info.kind)), key=lambda info: info.last_used)
    if older_than is None and most is None:
        return oldest_first
    chosen = [info for info in oldest_first if older_than is not None and now - info.last_used > older_than]
    left = [info for info in oldest_first if info not in chosen]
    while most is not None and sum(info.bytes for info in left) > most:
        chosen.append(left.pop(0))
    return chosen


def remove_store(info: StoreInfo) -> bool:
    """Remove a store; returns False if another process is building it."""
    # The lock file stays: otherwise a waiting process would lock a deleted file, which no other process sees.
    lock = FileLock(lock_path(info.path.parent if info.kind == GIVEN else info.path))
    with storage_errors(info.path):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        try:
            if info.path.exists():
                folder = info.path
                if info.kind == GIVEN:  # killed on the way, it leaves no table of images that are gone
                    for left in folder.parent.glob(".tmp-*"):  # of a killed process: this one holds the lock
                        shutil.rmtree(left, ignore_errors=True)
                    folder = folder.rename(folder.with_name(f".tmp-{uuid.uuid4().hex[:12]}"))
                shutil.rmtree(folder)
        finally:
            lock.release()
    return True


def chunk_files(store: Path) -> list[Path]:
    return sorted(store.glob(f"*{SUFFIX}"))


def damaged_files(store: Path) -> Iterator[tuple[Path, bool]]:
    """Verify each chunk and the recipe of a store; yields the file and whether it is damaged."""
    for path in chunk_files(store):
        yield path, _is_damaged(path)
    description = _description(store)
    if (recipe := store / RECIPE).exists():
        yield recipe, not description or not store.name.endswith(fingerprint(description)[:24])


def drop(path: Path) -> None:
    """Remove a damaged file of a store, so that the next run computes its arrays; waits for the lock."""
    with storage_errors(path), FileLock(lock_path(path.parent)):
        path.unlink(missing_ok=True)


def _is_damaged(path: Path) -> bool:
    try:
        return not Chunk.open(path).intact() and path.exists()
    except FileNotFoundError:
        return False  # pruned meanwhile
    except (DamagedChunk, OSError):
        return True


def _info(folder: Path) -> StoreInfo:
    description = _description(folder)
    recipe = folder / RECIPE
    return StoreInfo(
        path=folder,
        kind=folder.name.rpartition("-")[0] or folder.name,
        about=in_words(description.get("recipe", {})),
        rows=sum(_rows_of(path) for path in chunk_files(folder)),
        bytes=_bytes_of(folder),
        last_used=_modified(recipe if recipe.exists() else folder),
    )


def _heads() -> StoreInfo:
    folder, files = heads_folder(), _entries(heads_folder())
    return StoreInfo(
        path=folder,
        kind=folder.name,
        about="trained heads that trials share",
        rows=len(files),
        bytes=_bytes_of(folder),
        last_used=max(map(_modified, files), default=_modified(folder)),
    )


def _given(folder: Path) -> StoreInfo:
    table = min(folder.glob("*.csv"), default=None)
    return StoreInfo(
        path=folder,
        kind=GIVEN,
        about=table.stem if table else "without its table",
        rows=max(_lines_of(table) - 1, 0) if table else 0,
        bytes=_bytes_of(folder),
        last_used=_modified(folder),
    )


def _lines_of(table: Path) -> int:
    try:
        return table.read_bytes().count(b"\n")
    except OSError:
        return 0


def _description(folder: Path) -> dict[str, Any]:
    try:
        description = read_json(folder / RECIPE)
    except (StorageError, OSError):
        return {}
    return description if isinstance(description, dict) else {}


def in_words(recipe: Any, limit: int = 100) -> str:
    """Settings of a recipe as `name value, name value`, without versions and checksums."""
    words = ", ".join(_settings(recipe))
    return words if len(words) <= limit else words[: limit - 1] + "…"


def _settings(recipe: Any) -> Iterator[str]:
    if not isinstance(recipe, dict):
        return
    nested = []
    for name, value in recipe.items():
        if name in _OF_NO_INTEREST:
            continue
        if isinstance(value, dict):
            nested.append(value)
        elif isinstance(value, bool):
            yield f"{name} {'yes' if value else 'no'}"
        elif isinstance(value, list):
            yield f"{name} {' '.join(map(str, value))}"
        elif value is not None and len(str(value)) < 32 and str(value).count(".") < 2:
            yield f"{name} {value}"
    for value in nested:
        yield from _settings(value)


def _rows_of(path: Path) -> int:
    try:
        return Chunk.open(path).rows
    except (DamagedChunk, OSError):
        return 0


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"{folder} cannot be read: {error.strerror}.") from error


def _bytes_of(folder: Path) -> int:
    return sum(_size(Path(base) / name) for base, _, names in os.walk(folder) for name in names)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
