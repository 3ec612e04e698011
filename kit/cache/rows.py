"""Rows: some rows of one or several stores in some order, read through memory maps."""

import math
from collections.abc import Sequence

import numpy as np

from kit.cache.chunks import Chunk
from kit.errors import StorageError


class Rows:
    """Rows in a given order, all of one shape and dtype; nothing is read before it is asked for.

    It holds a chunk number and a row number for each row (8 bytes); the rows themselves stay in the page cache.
    Safe to read from several threads.

    Args:
        chunks: The chunk files.
        chunk_of: Which of them holds each row, int (n,).
        row_of: Where in it, int (n,).
        shape: Shape of one row.
        dtype: Type of its elements.
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
        self.row_shape = shape
        self.dtype = dtype

    @classmethod
    def join(cls, parts: Sequence["Rows"]) -> "Rows":
        """The rows of all parts, one part after the other: with V views of n rows, row i of view v is at v * n + i."""
        if len({(part.row_shape, part.dtype) for part in parts}) != 1:
            raise ValueError("rows can be joined only if there are some, of one shape and dtype")
        starts = np.cumsum([0] + [len(part._chunks) for part in parts])
        return cls(
            [chunk for part in parts for chunk in part._chunks],
            np.concatenate([part._chunk_of + start for part, start in zip(parts, starts, strict=False)]),
            np.concatenate([part._row_of for part in parts]),
            parts[0].row_shape,
            parts[0].dtype,
        )

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, *shape of one row)."""
        return (len(self), *self.row_shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows together, on disk."""
        return math.prod(self.shape) * self.dtype.itemsize

    def take(self, indices: np.ndarray) -> "Rows":
        """Rows again, in another order or fewer of them; copies no row."""
        indices = np.asarray(indices)
        return Rows(self._chunks, self._chunk_of[indices], self._row_of[indices], self.row_shape, self.dtype)

    def gather(self, indices: np.ndarray | Sequence[int], out: np.ndarray | None = None) -> np.ndarray:
        """Copies rows into memory; neighbours in a chunk go in one piece.

        Args:
            indices: Which rows, int (n,); negative ones count from the end.
            out: Where to, (n, *shape of one row), C-contiguous, of this dtype; allocated if None.

        Returns:
            `out`.

        Raises:
            IndexError: If an index lies outside.
            StorageError: If a chunk was removed from the cache while in use.
        """
        indices = np.asarray(indices, dtype=np.intp)
        shape = (len(indices), *self.row_shape)
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
        """One row by its number, several by a slice or an int array; always a copy."""
        if isinstance(index, slice):
            return self.gather(np.arange(*index.indices(len(self))))
        if isinstance(index, int | np.integer):
            return self.gather([int(index)])[0]
        return self.gather(index)

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        # Refused, or numpy would quietly read every row through __getitem__ into memory.
        raise TypeError("Rows are read with gather() or a slice; rows[:] reads all of them into memory")

    def _mapped(self, chunk: int) -> np.ndarray:
        try:
            return self._chunks[chunk].mapped()
        except FileNotFoundError:
            raise StorageError(
                f"{self._chunks[chunk].path} was removed from the cache while in use.",
                "Run the command again: it computes what is missing.",
            ) from None
