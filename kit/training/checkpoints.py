"""Checkpoints: the state of a phase after an epoch, in one file.

`checkpoints/state.npz` is replaced whole after every epoch; `checkpoints/phase-N.npz` holds the final weights of phase
N. Arrays are stored exactly: a resumed run continues to the bit.
"""

import json
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kit.backends.recipes import recipe
from kit.errors import StorageError
from kit.files import atomic_path, fingerprint
from kit.machine import heads_folder
from kit.training.extraction import Activations
from kit.training.history import COLUMNS, EpochRecord, History
from kit.training.session import Session

Arrays = tuple[np.ndarray, ...]
OF_TAILS = ("layer_decay", "train_normalisation", "interpolate")  # settings that do not touch a first phase's head
VERSION = 3  # part of every key: raise it when a file's content, or how a head is trained, changes


@dataclass(frozen=True)
class Progress:
    """Position of a run after an epoch; `phase` counts from 0.

    `epochs_total` counts finished epochs of the run, `epochs_done` those of this phase. `best_epoch` is within the
    phase, from 1; 0 where none beat the start. `best_score` is compared element by element, greater is better.
    `stopped`: whether a callback has ended the phase.
    """

    phase: int
    epochs_total: int
    epochs_done: int
    best_epoch: int
    best_score: tuple[float, ...]
    stopped: bool = False


@dataclass(frozen=True)
class Checkpoint:
    """State of a phase after an epoch.

    All arrays are in Keras's order; `weights`, and `best` (of the best epoch), include states of random generators;
    `optimizer` ends with the moving averages of the weights, where there are any.
    """

    progress: Progress
    weights: Arrays
    optimizer: Arrays
    best: Arrays

    def save(self, folder: Path) -> None:
        """Replace the state in a folder."""
        groups = {"weights": self.weights, "optimizer": self.optimizer, "best": self.best}
        save_arrays(folder / "state.npz", groups, vars(self.progress))

    @classmethod
    def load(cls, folder: Path) -> "Checkpoint | None":
        """State in a folder; None before the first epoch has finished."""
        if not (folder / "state.npz").exists():
            return None
        groups, note = load_arrays(folder / "state.npz", ("weights", "optimizer", "best"))
        progress = Progress(**(note | {"best_score": tuple(note["best_score"])}))
        return cls(progress, groups["weights"], groups["optimizer"], groups["best"])


@dataclass(frozen=True)
class PhaseEnd:
    """Result of a finished phase; `epochs_total` counts all epochs of the run so far.

    `variables` are in Keras's order, with states of random generators: the next phase continues this one's dropout.
    """

    variables: Arrays
    epochs_total: int

    def save(self, folder: Path, phase: int) -> None:
        save_arrays(folder / f"phase-{phase}.npz", {"variables": self.variables}, {"epochs_total": self.epochs_total})

    @classmethod
    def load(cls, folder: Path, phase: int) -> "PhaseEnd | None":
        """Result of a phase; None where it has not ended."""
        path = folder / f"phase-{phase}.npz"
        if not path.exists():
            return None
        groups, note = load_arrays(path, ("variables",))
        return cls(groups["variables"], note["epochs_total"])


def values_of(variables: Sequence[keras.Variable]) -> Arrays:
    """Copied values of variables."""
    return tuple(np.array(keras.ops.convert_to_numpy(variable)) for variable in variables)


def assign(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    """Assign values to variables, in order."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def save_arrays(path: Path, groups: dict[str, Arrays], note: dict[str, Any]) -> None:
    """Write groups of arrays and a JSON note to one file, whole or not at all."""
    arrays = {f"{name}-{i:05d}": array for name, group in groups.items() for i, array in enumerate(group)}
    with atomic_path(path) as temporary:
        np.savez(temporary, allow_pickle=False, note=np.array(json.dumps(note)), **arrays)


def load_arrays(path: Path, names: Sequence[str]) -> tuple[dict[str, Arrays], dict[str, Any]]:
    """Read what `save_arrays` wrote; raises StorageError where that fails."""
    try:
        # opened here: numpy leaves the file open where it turns out not to be a whole archive
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as content:
            groups = {
                name: tuple(content[key] for key in sorted(content.files) if key.startswith(f"{name}-"))
                for name in names
            }
            return groups, json.loads(str(content["note"]))
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise StorageError(
            f"{path} cannot be read: {error}.", "Remove the run's checkpoints folder and resume: training starts anew."
        ) from error


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
        """The head of a session's first phase; None where that phase trains more, or with parts that are no file's."""
        parts = session.config.parts
        if session.phases[0].depth or (parts is not None and not parts.plugin):
            return None
        key = _key(session, activations)
        return cls(key, _load(_path(key)))

    def keep(self, head: keras.Model, history: History) -> None:
        """Cache a trained head; ignores a cache that cannot be written."""
        with suppress(StorageError):
            note = {
                "history": [[getattr(record, name) for name in COLUMNS] for record in history],
                "val_metrics": [record.val_metrics for record in history],
            }
            save_arrays(_path(self.key), {"variables": values_of(head.variables)}, note)


def _key(session: Session, activations: Activations) -> str:
    config, dataset, phase = session.config, session.dataset, session.phases[0]
    columns = [list(dataset.keys), dataset.labels.tolist(), dataset.splits.tolist()]
    images = [(*image, split) for *image, split in zip(*columns, strict=True) if split != "test"]
    settings = {  # these names are part of keys on disk
        "version": VERSION,
        "rows": activations.stores[session.start(phase).depth],  # weights and views are in there
        "photos": fingerprint(images),
        "classes": len(dataset.classes),
        "seed": config.seed,
        "head": [config.model.head_units, config.model.dropout],
        "training": {name: value for name, value in asdict(config.training).items() if name not in OF_TAILS},
        "phase": asdict(phase.settings),
        **({} if config.parts is None else {"plugin": config.parts.plugin}),
    }
    return fingerprint(recipe("heads", settings))


def _load(path: Path) -> TrainedHead | None:
    """Read a cached head; None where missing or damaged, and a damaged file is deleted."""
    if not path.exists():
        return None
    try:
        groups, note = load_arrays(path, ("variables",))
        own = note.get("val_metrics", [()] * len(note["history"]))
        history = _history([(*row, tuple(map(tuple, more))) for row, more in zip(note["history"], own, strict=True)])
        return TrainedHead(groups["variables"], history)
    except (StorageError, KeyError, TypeError, ValueError):
        path.unlink(missing_ok=True)
        return None


def _history(rows: Sequence[Sequence]) -> History:
    return History(tuple(EpochRecord(*row) for row in rows))


def _path(key: str) -> Path:
    return heads_folder() / f"{key}.npz"
