"""Cached heads: trials that share head, images and first phase train it once."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import keras

from kit import backends
from kit.errors import StorageError
from kit.files import fingerprint
from kit.machine import heads_folder
from kit.training.checkpoints import Arrays, assign, load_arrays, save_arrays, values_of
from kit.training.extraction import Activations
from kit.training.history import EpochRecord, History
from kit.training.session import Session

VERSION = 1  # part of every key: raise it when a file's content, or how a head is trained, changes


@dataclass(frozen=True)
class TrainedHead:
    """A head at the end of the first phase.

    `variables` are in Keras's order, with states of random generators; `history` holds the epochs.
    """

    variables: Arrays
    history: History

    def give(self, head: keras.Model) -> History:
        """Assign the variables to another head of the same shape; returns the history."""
        assign(head.variables, self.variables)
        return self.history


@dataclass(frozen=True)
class SharedHead:
    """Cache entry of a trained head; `trained` is None until one is kept.

    `key` fingerprints everything that decides the head: a cached one equals what training would give.
    """

    key: str
    trained: TrainedHead | None

    @classmethod
    def of(cls, session: Session, activations: Activations) -> "SharedHead | None":
        """The head of a session's first phase; None where that phase trains more than a head."""
        if session.phases[0].depth:
            return None
        key = _key(session, activations)
        return cls(key, _load(_path(key)))

    def keep(self, head: keras.Model, history: History) -> None:
        """Cache a trained head; ignores a cache that cannot be written."""
        with suppress(StorageError):
            note = {"history": [astuple(record) for record in history]}
            save_arrays(_path(self.key), {"variables": values_of(head.variables)}, note)


def _key(session: Session, activations: Activations) -> str:
    config, dataset, phase = session.config, session.dataset, session.phases[0]
    columns = [list(dataset.keys), dataset.labels.tolist(), dataset.splits.tolist()]
    images = [(*image, split) for *image, split in zip(*columns, strict=True) if split != "test"]
    name = backends.current_name()
    return fingerprint(
        {  # these names are part of keys on disk
            "version": [VERSION, name, backends.backend_version(name), backends.current().threads()],
            "rows": activations.stores[session.start(phase).depth],  # weights and views are in there
            "photos": fingerprint(images),
            "classes": len(dataset.classes),
            "seed": config.seed,
            "head": [config.model.head_units, config.model.dropout],
            "training": asdict(config.training),
            "phase": asdict(phase.settings),
        }
    )


def _load(path: Path) -> TrainedHead | None:
    """Read a cached head; None where missing or damaged, and a damaged file is deleted."""
    if not path.exists():
        return None
    try:
        groups, note = load_arrays(path, ("variables",))
        return TrainedHead(groups["variables"], _history(note["history"]))
    except (StorageError, KeyError, TypeError, ValueError):
        path.unlink(missing_ok=True)
        return None


def _history(rows: Sequence[Sequence]) -> History:
    return History(tuple(EpochRecord(*row) for row in rows))


def _path(key: str) -> Path:
    return heads_folder() / f"{key}.npz"
