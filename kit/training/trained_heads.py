"""Trained heads, kept in the cache by content: trials that share a head, its images and its phase train it once.

A head is found by a fingerprint of all that decides it, so what is found is what training would have given.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path

import keras

from kit.errors import StorageError
from kit.paths import heads_folder
from kit.training.checkpoints import Arrays, load_arrays, save_arrays
from kit.training.history import EpochRecord, History
from kit.training.phases import arrays, assign

VERSION = 1  # part of every key: to be raised when what a file holds, or how a head is trained, changes


@dataclass(frozen=True)
class TrainedHead:
    """A head at the end of the first phase.

    Attributes:
        variables: Of the head, in Keras's order, states of random generators included.
        history: The epochs that led there.
    """

    variables: Arrays
    history: History

    @classmethod
    def of(cls, head: keras.Model, history: History) -> "TrainedHead":
        """Copies of what a head holds now."""
        return cls(arrays(head.variables), history)

    def give(self, head: keras.Model) -> None:
        """Makes another head, of the same shape, this one."""
        assign(head.variables, self.variables)

    def keep(self, key: str) -> None:
        """Keeps it for others. A cache that cannot be written is no reason to stop: the next trial trains its own."""
        with suppress(StorageError):
            rows = [astuple(record) for record in self.history]
            save_arrays(_path(key), {"variables": self.variables}, {"history": rows})

    @classmethod
    def find(cls, key: str) -> "TrainedHead | None":
        """What was kept under a key; None where nothing was, or it is damaged."""
        path = _path(key)
        if not path.exists():
            return None
        try:
            groups, note = load_arrays(path, ("variables",))
            return cls(groups["variables"], _history(note["history"]))
        except (StorageError, KeyError, TypeError, ValueError):
            path.unlink(missing_ok=True)
            return None


def _history(rows: Sequence[Sequence]) -> History:
    return History(tuple(EpochRecord(*row) for row in rows))


def _path(key: str) -> Path:
    return heads_folder() / f"{key}.npz"
