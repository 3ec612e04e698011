"""Trained heads in the cache: trials that share a head, its images and its phase train it once."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import keras

from kit import backend
from kit.errors import StorageError
from kit.fingerprint import fingerprint
from kit.paths import heads_folder
from kit.training.activations import Activations
from kit.training.checkpoints import Arrays, assign, load_arrays, save_arrays, values_of
from kit.training.history import EpochRecord, History
from kit.training.session import Session

VERSION = 1  # part of every key: to be raised when what a file holds, or how a head is trained, changes


@dataclass(frozen=True)
class TrainedHead:
    """A head at the end of the first phase.

    Attributes:
        variables: In Keras's order, states of random generators included.
        history: The epochs that led there.
    """

    variables: Arrays
    history: History

    def give(self, head: keras.Model) -> History:
        """Make another head, of the same shape, this one; returns the history."""
        assign(head.variables, self.variables)
        return self.history


@dataclass(frozen=True)
class SharedHead:
    """The place of a trained head in the cache.

    Attributes:
        key: Fingerprint of everything that decides the head: what is found is what training would have given.
        trained: The head; None where nobody trained it yet.
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
        """Keep a head that is trained now; a cache that cannot be written is no reason to stop."""
        with suppress(StorageError):
            note = {"history": [astuple(record) for record in history]}
            save_arrays(_path(self.key), {"variables": values_of(head.variables)}, note)


def _key(session: Session, activations: Activations) -> str:
    config, dataset, phase = session.config, session.dataset, session.phases[0]
    columns = [list(dataset.keys), dataset.labels.tolist(), dataset.splits.tolist()]
    images = [(*image, split) for *image, split in zip(*columns, strict=True) if split != "test"]
    name = keras.backend.backend()
    return fingerprint(
        {  # these names are part of keys on disk
            "version": [VERSION, name, backend.backend_version(name), backend.threads_in_use(name)],
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
    """What was kept in a file; None where nothing was, or it is damaged."""
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
