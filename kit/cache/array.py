"""Array whose rows lie in chunk files, read through memory maps."""

import math
from collections.abc import Sequence

import numpy as np

from kit.cache.chunks import Chunk
from kit.errors import StorageError


class CachedArray:
    """Read-only array on disk; rows are read into memory only when gathered. Thread-safe.

    Row i is row `row_of[i]` of chunk `chunk_of[i]`, both int (n,): 8 bytes of memory a row. `shape` is that of one row.
    """

    def __init__(
        self,
        chunks: Sequence[Chunk],
        chunk_of: np.ndarray,
        row_of: np.ndarray,
        shape: tuple[int, ...],
        dtype: np.dtype,
    ):
        self._chunks = tuple(chunks)
        self._chunk_of = chunk_of.astype(np.int32)
        self._row_of = row_of.astype(np.int32)
        self.shape = (len(row_of), *shape)
        self.dtype = dtype

    @classmethod
    def concatenate(cls, parts: Sequence["CachedArray"]) -> "CachedArray":
        """Join arrays along axis 0, as `np.concatenate`; copies nothing."""
        if len({(part.shape[1:], part.dtype) for part in parts}) != 1:
            raise ValueError("arrays can be joined only if there are some, of one shape and dtype")
        starts = np.cumsum([0] + [len(part._chunks) for part in parts])
        return cls(
            [chunk for part in parts for chunk in part._chunks],
            np.concatenate([part._chunk_of + start for part, start in zip(parts, starts, strict=False)]),
            np.concatenate([part._row_of for part in parts]),
            parts[0].shape[1:],
            parts[0].dtype,
        )

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all rows together."""
        return len(self) * self.row_bytes

    def take(self, indices: np.ndarray) -> "CachedArray":
        """Rows by number, as `np.take` along axis 0; copies nothing."""
        indices = np.asarray(indices)
        return CachedArray(self._chunks, self._chunk_of[indices], self._row_of[indices], self.shape[1:], self.dtype)

    def gather(self, indices: np.ndarray | Sequence[int], out: np.ndarray | None = None) -> np.ndarray:
        """Copy rows into memory, runs within a chunk at once, and return `out`.

        `indices`: int (n,), negative from the end. `out`: (n, ...), C-contiguous, of this dtype; None allocates it.
        Raises IndexError if one is out of range, StorageError if a chunk was removed from the cache meanwhile.
        """
        indices = np.asarray(indices, dtype=np.intp)
        shape = (len(indices), *self.shape[1:])
        if out is None:
            out = np.empty(shape, self.dtype)
        elif out.shape != shape or out.dtype != self.dtype or not out.flags.c_contiguous:
            expected = f"a C-contiguous {self.dtype} array of shape {shape}"
            raise ValueError(f"out must be {expected}, not {out.dtype} {out.shape}")
        if not len(indices):
            return out
        chunk_of, row_of = self._chunk_of[indices], self._row_of[indices]
        content = out.reshape(len(indices), -1).view(np.uint8)
        breaks = np.flatnonzero((np.diff(chunk_of) != 0) | (np.diff(row_of) != 1)) + 1
        starts, ends = [0, *breaks.tolist()], [*breaks.tolist(), len(indices)]
        firsts, chunks = row_of[starts].tolist(), chunk_of[starts].tolist()
        for start, end, first, chunk in zip(starts, ends, firsts, chunks, strict=True):
            content[start:end] = self._mapped(chunk)[first : first + end - start]
        return out

    def __getitem__(self, index: int | slice | np.ndarray | Sequence[int]) -> np.ndarray:
        """One row by number, several by a slice or int array; always a copy."""
        if isinstance(index, slice):
            return self.gather(np.arange(*index.indices(len(self))))
        if isinstance(index, int | np.integer):
            return self.gather([int(index)])[0]
        return self.gather(index)

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        # otherwise NumPy would read rows one by one through __getitem__
        raise TypeError("a CachedArray is read with gather() or a slice; array[:] reads all of it into memory")

    def _mapped(self, chunk: int) -> np.ndarray:
        try:
            return self._chunks[chunk].mapped()
        except FileNotFoundError:
            raise StorageError(
                f"{self._chunks[chunk].path} was removed from the cache while in use.",
                "Run the command again: it computes what is missing.",
            ) from None
