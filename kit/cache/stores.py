"""Store and ensure_all: what is missing is computed once, whoever asks first, and kept."""

import math
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import DTypeLike

from kit import progress
from kit.cache.chunks import CHUNK_BYTES, KEY_BYTES, SUFFIX, Appender, Chunk, DamagedChunk
from kit.cache.rows import Rows
from kit.errors import StorageError
from kit.files import read_json, require_space, storage_errors, write_json
from kit.fingerprint import fingerprint
from kit.paths import cache_folder

FORMAT = 1
RECIPE = "recipe.json"

_T = TypeVar("_T")

Block = tuple[Sequence[str], np.ndarray]
Blocks = tuple[Sequence[str], Sequence[np.ndarray]]


def stores_folder() -> Path:
    """Where all stores live."""
    return cache_folder() / "stores"


@dataclass(frozen=True)
class _Found:
    """Where keys are: chunk number and row number for each key, -1 where missing; and chunk files to be dropped."""

    chunks: list[Chunk]
    chunk_of: np.ndarray
    row_of: np.ndarray
    damaged: list[Path]

    @property
    def absent(self) -> np.ndarray:
        return self.chunk_of < 0


class Store:
    """Rows of one shape and dtype, each found by a key; grows, never changes.

    The object is cheap and the folder is made when the first row is written.

    Args:
        kind: What the rows are, in a word: `pixels`, `features`.
        recipe: All that decides a row apart from its key, JSON-serialisable: settings, weights, backend, versions.
        shape: Shape of one row.
        dtype: Type of its elements.
        chunk_bytes: Bytes of rows after which a chunk file ends; what a kill can cost.
    """

    def __init__(
        self,
        kind: str,
        recipe: dict[str, Any],
        shape: Sequence[int],
        dtype: DTypeLike,
        chunk_bytes: int = CHUNK_BYTES,
    ):
        self.kind = kind
        self.recipe = dict(recipe)
        self.shape = tuple(int(side) for side in shape)
        self.dtype = np.dtype(dtype)
        self.chunk_bytes = chunk_bytes
        self.row_bytes = math.prod(self.shape) * self.dtype.itemsize
        if self.row_bytes == 0 or self.dtype.hasobject:
            raise ValueError(f"a row of shape {self.shape} and dtype {self.dtype} cannot be stored")
        self.name = f"{kind}-{fingerprint(self.description)[:24]}"
        self.folder = stores_folder() / self.name

    @property
    def description(self) -> dict[str, Any]:
        """What recipe.json holds; its fingerprint names the folder."""
        shape = list(self.shape)
        return {"format": FORMAT, "kind": self.kind, "shape": shape, "dtype": self.dtype.str, "recipe": self.recipe}

    @property
    def size_bytes(self) -> int:
        """Bytes its chunks take on disk now."""
        return sum(path.stat().st_size for path in self.folder.glob(f"*{SUFFIX}"))

    def has(self, keys: Sequence[str]) -> np.ndarray:
        """Which keys have an intact row, bool (n,)."""
        return ~self._find(keys).absent

    def missing(self, keys: Sequence[str]) -> list[str]:
        """The keys without an intact row, in the order given, each once."""
        absent = self._find(keys).absent
        return list(dict.fromkeys(key for key, lacks in zip(keys, absent, strict=True) if lacks))

    def rows(self, keys: Sequence[str]) -> Rows:
        """The rows of these keys, in this order; a key may appear twice.

        Raises:
            KeyError: If a row is missing: call `ensure` first.
        """
        return self._rows(keys, self._find(keys))

    def ensure(self, keys: Sequence[str], produce: Callable[[list[str]], Iterable[Block]]) -> Rows:
        """The rows of these keys, computing what is missing; see `ensure_all`.

        Args:
            keys: Up to 64 ASCII characters each; SHA-256 in hex is meant.
            produce: Given the missing keys, yields blocks (keys, rows (n, *shape)) of any size.
        """

        def produce_all(missing: list[str]) -> Iterator[Blocks]:
            with _closing(produce(missing)) as blocks:
                for block_keys, rows in blocks:
                    yield block_keys, [rows]

        return ensure_all([self], keys, produce_all)[0]

    def _find(self, keys: Sequence[str]) -> _Found:
        """Looks the keys up, and believes only chunks whose checksum fits; chunks nobody asked for are not read."""
        wanted = encode_keys(keys)
        indexed, damaged = self._index()
        while True:
            chunk_of, row_of = _look_up(wanted, [index for _, index in indexed])
            used = set(chunk_of[chunk_of >= 0].tolist())
            rotten = {number for number in used if not indexed[number][0].intact()}
            if not rotten:
                return _Found([chunk for chunk, _ in indexed], chunk_of, row_of, damaged)
            damaged += [indexed[number][0].path for number in rotten]
            indexed = [entry for number, entry in enumerate(indexed) if number not in rotten]

    def _index(self) -> tuple[list[tuple[Chunk, np.ndarray]], list[Path]]:
        indexed, damaged = [], []
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            try:
                chunk = Chunk.open(path, self.row_bytes)
                indexed.append((chunk, chunk.keys()))
            except FileNotFoundError:
                continue  # pruned since the folder was listed
            except (DamagedChunk, OSError):
                damaged.append(path)
        return indexed, damaged

    def _rows(self, keys: Sequence[str], found: _Found) -> Rows:
        if found.absent.any():
            first = keys[int(found.absent.argmax())]
            raise KeyError(f"{self.name} lacks {int(found.absent.sum())} of {len(keys)} rows, {first} first")
        self._touch(bool(found.chunks))
        return Rows(found.chunks, found.chunk_of, found.row_of, self.shape, self.dtype)

    def _touch(self, exists: bool) -> None:
        """Notes the use, for `cache list` and `cache prune`; a read-only cache is fine."""
        with suppress(OSError, StorageError):
            try:
                os.utime(self.folder / RECIPE)
            except FileNotFoundError:
                if exists:  # `cache verify --repair` drops a damaged recipe
                    write_json(self.folder / RECIPE, self.description)

    def _prepare(self, keys: Sequence[str]) -> np.ndarray:
        """Makes the folder sound, under its lock; returns which keys are missing, bool (n,)."""
        recipe = self.folder / RECIPE
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            # Of a process that was killed: nobody else writes while the lock is held.
            for leftover in self.folder.glob(".tmp-*"):
                leftover.unlink(missing_ok=True)
        if not _holds(recipe, self.description):
            write_json(recipe, self.description)
        found = self._find(keys)
        for path in found.damaged:
            progress.say(f"warning: {path} is damaged; it is dropped, and its rows are computed again.")
            with storage_errors(path):
                path.unlink(missing_ok=True)
        return found.absent


def ensure_all(
    stores: Sequence[Store], keys: Sequence[str], produce: Callable[[list[str]], Iterable[Blocks]]
) -> list[Rows]:
    """The rows of these keys from every store, computing what any of them lacks.

    One process computes at a time; others wait and find the rows there. Chunks already written survive whatever
    happens. While `produce` runs, the locks of `stores` are held: it may ensure other stores that do not in turn need
    these.

    Args:
        stores: Different stores.
        keys: Up to 64 ASCII characters each, in the order the rows are wanted; may repeat.
        produce: Given the keys that any store lacks (each once, in order), yields blocks (keys, [rows for each store]),
            rows of shape (n, *shape) and the store's dtype. Each store keeps what it lacks. An error it raises passes
            through, and what was finished before stays.

    Returns:
        Rows for each store, in the order of `keys`.

    Raises:
        StorageError: If the disk is full or the cache cannot be written.
        ValueError: If `produce` yields other keys, shapes or dtypes than asked for, or leaves keys out.
    """
    if len({store.name for store in stores}) != len(stores):
        raise ValueError("the same store is given twice")
    found = [store._find(keys) for store in stores]
    if not any(one.absent.any() for one in found):  # without the lock: reading must not wait, nor need write permission
        return [store._rows(keys, one) for store, one in zip(stores, found, strict=True)]
    with ExitStack() as locks:
        for store in sorted(stores, key=_name):  # one order everywhere, or two processes could wait for each other
            locks.enter_context(_locked(store))
        _build(stores, list(dict.fromkeys(keys)), produce)
        return [store.rows(keys) for store in stores]


def _build(stores: Sequence[Store], keys: list[str], produce: Callable[[list[str]], Iterable[Blocks]]) -> None:
    absent = [store._prepare(keys) for store in stores]
    lacking = [{key for key, lacks in zip(keys, flags, strict=True) if lacks} for flags in absent]
    asked = [key for key, lacks in zip(keys, np.any(absent, axis=0), strict=True) if lacks]
    if not asked:
        return
    needed = [len(lacks) * (store.row_bytes + KEY_BYTES) for store, lacks in zip(stores, lacking, strict=True)]
    require_space(stores[0].folder.parent, sum(needed))
    pending = set(asked)
    with ExitStack() as stack:
        appenders = [
            stack.enter_context(Appender(store.folder, store.row_bytes, size, store.chunk_bytes))
            for store, size in zip(stores, needed, strict=True)
        ]
        for block_keys, arrays in stack.enter_context(_closing(produce(asked))):
            if not pending.issuperset(block_keys) or len(set(block_keys)) != len(block_keys):
                raise ValueError("produce yielded a key that was not asked for, or twice")
            pending.difference_update(block_keys)
            for store, appender, lacks, rows in zip(stores, appenders, lacking, arrays, strict=True):
                _check_block(store, block_keys, rows)
                kept = np.array([key in lacks for key in block_keys], bool)
                appender.add(encode_keys(block_keys)[kept], rows if kept.all() else rows[kept])
        if pending:
            raise ValueError(f"produce left out {len(pending)} of {len(asked)} keys")


def _check_block(store: Store, keys: Sequence[str], rows: np.ndarray) -> None:
    if rows.shape != (len(keys), *store.shape) or rows.dtype != store.dtype:
        expected = f"{store.dtype} {(len(keys), *store.shape)}"
        raise ValueError(f"produce must yield {expected} for {store.name}, not {rows.dtype} {rows.shape}")


def encode_keys(keys: Sequence[str]) -> np.ndarray:
    """Keys as stored: bytes (n,).

    Raises:
        ValueError: If a key is empty, longer than 64 characters, or not ASCII.
    """
    for key in keys:
        if not 0 < len(key) <= KEY_BYTES or not key.isascii() or "\0" in key:
            raise ValueError(f"a key must be 1 to {KEY_BYTES} ASCII characters, not {key!r}")
    return np.array(keys, f"S{KEY_BYTES}") if len(keys) else np.empty(0, f"S{KEY_BYTES}")


def _look_up(wanted: np.ndarray, indices: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Chunk number and row number of each wanted key, -1 where missing."""
    chunk_of = np.repeat(np.arange(len(indices)), [len(index) for index in indices])
    if not len(chunk_of) or not len(wanted):
        return np.full(len(wanted), -1), np.full(len(wanted), -1)
    row_of = np.concatenate([np.arange(len(index)) for index in indices])
    known = np.concatenate(indices)
    order = np.argsort(known, kind="stable")
    place = order[np.searchsorted(known, wanted, sorter=order).clip(max=len(known) - 1)]
    hit = known[place] == wanted
    return np.where(hit, chunk_of[place], -1), np.where(hit, row_of[place], -1)


@contextmanager
def _locked(store: Store) -> Iterator[None]:
    lock = FileLock(lock_path(store.folder))
    with storage_errors(store.folder):
        store.folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress.say(f"waiting for another process that builds {store.name}")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def lock_path(folder: Path) -> Path:
    """The lock lies beside the folder, not in it: pruning removes the folder while it holds the lock."""
    return folder.with_name(f"{folder.name}.lock")


def _holds(path: Path, content: Any) -> bool:
    with suppress(StorageError):
        return bool(read_json(path) == content)
    return False


def _name(store: Store) -> str:
    return store.name


@contextmanager
def _closing(blocks: Iterable[_T]) -> Iterator[Iterable[_T]]:
    """Closes a generator at once if its loop is left early: its threads must not outlive the error."""
    try:
        yield blocks
    finally:
        if isinstance(blocks, Generator):
            blocks.close()
