"""Atomic writes, JSON records, hashes, and errors of the disk."""

import errno
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kit.errors import StorageError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it into place if the body succeeds.

    The file is synced before the rename and its folder, created if missing, after it: a crash leaves the old file, the
    new one, or none. The temporary name keeps the suffix (`.tmp-….model.keras`), by which Keras chooses the format.
    Raises StorageError if the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex[:12]}.{path.name}")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def is_address(path: Path | str) -> bool:
    """Whether a path is an address: `https://...`, `gs://...`, `hf:...`; a Path keeps one slash."""
    return re.match(r"[a-z][a-z0-9+.-]+:/|hf:", str(path), re.IGNORECASE) is not None


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a whole text file atomically, as UTF-8 with Unix line ends."""
    write_bytes(path, content.encode("utf-8", errors="surrogateescape"))


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically: indented, keys in the order given, NaN refused."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=True) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON record; raises StorageError if the file is missing or is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StorageError(f"There is no file {path}.") from None
    except ValueError as error:
        raise StorageError(f"{path} is not a readable JSON record: {error}.") from None


@contextmanager
def storage_errors(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn 'disk full' and 'not permitted' into a StorageError with the path and the bytes needed."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            size = f"{needed:,} bytes are needed, " if needed else ""
            raise StorageError(
                f"The disk that holds {path} is full: {size}{free_bytes(path):,} bytes are free.",
                "Free some space (`transferkit cache prune`) or take a larger disk: TRANSFERKIT_CACHE moves the cache.",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP):
            raise StorageError(
                f"{path} cannot be written: {error.strerror}.", "Choose a folder you may write to."
            ) from error
        raise


def make_folder(path: Path, hint: str = "Name another folder.") -> None:
    """Make a folder and its parents; raises StorageError if a file is in the way or the place takes none (/proc)."""
    try:
        with storage_errors(path):
            Path(path).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise StorageError(f"{path} cannot be a folder: a file is in its place.", hint) from None
    except FileNotFoundError:
        raise StorageError(f"{path} cannot be made: its place takes no folders.", hint) from None


def require_space(path: Path, needed: int) -> None:
    """Raise StorageError if the disk that holds `path` has fewer than `needed` bytes free."""
    with storage_errors(path, needed):
        if free_bytes(path) < needed:
            raise OSError(errno.ENOSPC, "No space left on device")


def free_bytes(path: Path) -> int:
    """Bytes free on the disk that holds `path` (or would hold it)."""
    path = Path(path).absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder; its rename is journalled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fingerprint(content: Any) -> str:
    """SHA-256 (64 hex digits) of any JSON-serialisable value, independent of key order."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 (64 hex digits) of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
