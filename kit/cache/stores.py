"""Store of arrays: finds keys, reports missing ones, reads arrays."""

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from kit import progress
from kit.cache.array import CachedArray
from kit.cache.chunks import CHUNK_BYTES, KEY_BYTES, SUFFIX, Chunk, DamagedChunk
from kit.errors import StorageError
from kit.files import fingerprint, read_json, storage_errors, write_json
from kit.machine import cache_folder

FORMAT = 1
RECIPE = "recipe.json"
BEYOND = "beyond.json"


def stores_folder() -> Path:
    return cache_folder() / "stores"


@dataclass(frozen=True)
class _Found:
    """Chunk and row number of each key, -1 where missing; `damaged` chunk files are to be dropped."""

    chunks: list[Chunk]
    chunk_of: np.ndarray
    row_of: np.ndarray
    damaged: list[Path]


class Store:
    """Arrays of one shape and dtype by key; grows, never changes.

    Cheap to create: the folder is made when the first array is written.

    Args:
        kind: `pixels` or `features`.
        recipe: Everything that decides an array apart from its key, JSON-serialisable.
        chunk_bytes: Bytes of arrays after which a chunk file ends: the most that a kill costs.
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
            raise ValueError(f"an array of shape {self.shape} and dtype {self.dtype} cannot be stored")
        self.name = f"{kind}-{fingerprint(self.description)[:24]}"
        self.folder = stores_folder() / self.name

    @property
    def description(self) -> dict[str, Any]:
        """Content of recipe.json; its fingerprint names the folder."""
        dtype = self.dtype.name if self.dtype.kind == "V" else self.dtype.str  # bfloat16 is no type of NumPy's own
        shape = list(self.shape)
        return {"format": FORMAT, "kind": self.kind, "shape": shape, "dtype": dtype, "recipe": self.recipe}

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Keys without an intact array, in the order given, each once."""
        return _missing(keys, self._find(keys))

    def read(self, keys: Sequence[str]) -> CachedArray:
        """Arrays of keys in their order; keys may repeat. Raises KeyError if one is missing."""
        found = self._find(keys)
        if absent := _missing(keys, found):
            raise KeyError(f"{self.name} lacks {len(absent)} of {len(set(keys))} keys, {absent[0]} first")
        self._touch(bool(found.chunks))
        return CachedArray(found.chunks, found.chunk_of, found.row_of, self.shape, self.dtype)

    def prepare(self, keys: Sequence[str]) -> list[str]:
        """Repair the folder for writing, under its lock; returns the missing keys."""
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            # Left by a killed process: no other writes while the lock is held.
            for leftover in self.folder.glob(".tmp-*"):
                leftover.unlink(missing_ok=True)
        if not _holds(self.folder / RECIPE, self.description):
            write_json(self.folder / RECIPE, self.description)
        found = self._find(keys)
        for path in found.damaged:
            progress.say(f"warning: {path} is damaged; it is dropped, and its rows are computed again.")
            with storage_errors(path):
                path.unlink(missing_ok=True)
        return _missing(keys, found)

    def beyond(self) -> dict[str, float]:
        """Key -> greatest absolute value of arrays that the dtype cannot hold, so far as noted."""
        try:
            return dict(read_json(self.folder / BEYOND))
        except (StorageError, OSError, TypeError, ValueError):
            return {}

    def note_beyond(self, greatest: dict[str, float]) -> None:
        """Note such arrays, under the store's lock, so that nobody computes them again in vain."""
        write_json(self.folder / BEYOND, self.beyond() | greatest)

    def _find(self, keys: Sequence[str]) -> _Found:
        """Look keys up in chunks whose checksum is right; chunks that hold none of them are not read."""
        wanted = encode_keys(keys)
        indexed, damaged = self._index() if len(keys) else ([], [])
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

    def _touch(self, exists: bool) -> None:
        """Record the use, for `cache list` and `cache prune`; a read-only cache is fine."""
        with suppress(OSError, StorageError):
            try:
                os.utime(self.folder / RECIPE)
            except FileNotFoundError:
                if exists:  # `cache verify --repair` drops a damaged recipe
                    write_json(self.folder / RECIPE, self.description)


def encode_keys(keys: Sequence[str]) -> np.ndarray:
    """Keys as stored, bytes (n,); raises ValueError if one is empty, over 64 characters, or not ASCII."""
    for key in keys:
        if not 0 < len(key) <= KEY_BYTES or not key.isascii() or "\0" in key:
            raise ValueError(f"a key must be 1 to {KEY_BYTES} ASCII characters, not {key!r}")
    return np.array(keys, f"S{KEY_BYTES}") if len(keys) else np.empty(0, f"S{KEY_BYTES}")


def _missing(keys: Sequence[str], found: _Found) -> list[str]:
    return list(dict.fromkeys(key for key, chunk in zip(keys, found.chunk_of, strict=True) if chunk < 0))


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


def _holds(path: Path, content: Any) -> bool:
    with suppress(StorageError):
        return bool(read_json(path) == content)
    return False
