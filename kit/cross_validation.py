"""K-fold cross-validation: a prediction of every image by a model that was not trained on it.

A fold is the steps of a run (kit.pipeline) with another split: the fold is its test split, a part of the rest its
validation split. All folds, and the model that is kept, share the cached activations: the trunk runs once.

    folds/fold-N.csv                         history of a fold, one line an epoch
    checkpoints/fold-N/                      as of a run, while the fold is trained
    checkpoints/fold-N/out-of-fold.npz       its predictions and their distances (strangeness), once it has ended

Importing this module imports no backend.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from kit import progress
from kit.config import RunConfig
from kit.csv_tables import read_table, write_table
from kit.data.dataset import Dataset
from kit.data.split import share_out
from kit.evaluation import apply_temperature
from kit.model.strangeness import distances
from kit.model.weights import Weights
from kit.run import Run
from kit.significance import effective_n, wilson_interval
from kit.training.history import COLUMNS, History

if TYPE_CHECKING:
    from kit.training.session import Session

RESULT = "out-of-fold.npz"


@dataclass(frozen=True)
class FoldScore:
    """Accuracy on the `n` images of a fold; images it trained on and validated with; epochs kept of each phase."""

    fold: int
    n: int
    train: int
    validation: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    epochs: tuple[int, ...]


@dataclass(frozen=True)
class OutOfFold:
    """Result of all folds.

    Attributes:
        by_phase: Probabilities by the model of each phase, before temperature scaling, float64 (n, classes) each; each
            image by the fold that held it out.
        epochs: Epochs of each phase for a model trained on all images: the median of what the folds kept.
        distances: `kit.model.strangeness.distances` of each image to those that its fold's model was trained on,
            float32 (n,); empty where a fold of an older transferkit lacks them.
    """

    by_phase: tuple[np.ndarray, ...]
    folds: tuple[FoldScore, ...]
    epochs: tuple[int, ...]
    distances: np.ndarray

    def final(self, session: "Session") -> "Session":
        """Session of the model that is kept: it stops each phase on its schedule after `epochs`."""
        from kit.training.session import Session

        phases = tuple(
            replace(phase.settings, name=phase.name, stop_after=epochs, patience=0)
            for phase, epochs in zip(session.phases, self.epochs, strict=True)
            if epochs
        )
        # what is cached was computed from this cut, which a phase that is left out may be the only one to need
        training = replace(session.config.training, base_depth=session.base.depth)
        config = replace(session.config, phases=phases, training=training)
        return Session(config, session.classifier, session.dataset)

    def to_dict(self) -> dict[str, Any]:
        """Entries of metrics.json."""
        return {"folds": [asdict(fold) for fold in self.folds], "epochs": list(self.epochs)}


def fold_split(dataset: Dataset, fold: int, config: RunConfig) -> Dataset:
    """Same images with the split of one fold, counted from 1: it is test, the rest train and validation.

    The rest is shared out by class, in the proportion of `split.train` and `split.validation`; groups stay whole.
    """
    rest = np.flatnonzero(dataset.folds != fold)
    shares = {"train": config.split.train, "validation": config.split.validation}
    labels, groups = [dataset.classes[label] for label in dataset.labels[rest]], [dataset.groups[i] for i in rest]
    splits: np.ndarray = np.full(len(dataset.keys), "test", object)
    splits[rest] = share_out(labels, groups, shares, config.split.seed)
    return replace(dataset, splits=splits.astype(str))


def cross_validate(
    run: Run, session: "Session", weights: Weights, on_epoch: Callable[[History], None] | None = None
) -> OutOfFold:
    """Train and measure every fold, those that have ended excepted; resumes the one that was interrupted.

    `session` is of all images. Each fold builds a network of its own from `weights`.
    """
    from kit.training.checkpoints import load_arrays

    config, dataset, names = session.config, session.dataset, [phase.name for phase in session.phases]
    by_phase: list[np.ndarray] = []
    scores: list[FoldScore] = []
    apart = np.full(len(dataset.keys), np.nan, np.float32)
    for fold in range(1, config.split.folds + 1):
        folder = run.checkpoints / f"fold-{fold}"
        split = fold_split(dataset, fold, config)
        if not (folder / RESULT).exists():
            _train_fold(run, config, split, weights, fold, on_epoch)
        result = load_arrays(folder / RESULT, ("phases", "distances"))[0]
        predicted = result["phases"]
        if not by_phase:
            by_phase = [np.full((len(dataset.keys), len(dataset.classes)), np.nan) for _ in predicted]
        held = split.indices("test")
        for measured in result["distances"]:
            apart[held] = measured
        for whole, part in zip(by_phase, predicted, strict=True):
            whole[held] = part
        scores.append(_score(run, config, split, fold, names, predicted[-1]))
        one = scores[-1]
        progress.say(f"Fold {fold} of {config.split.folds}: accuracy {one.accuracy:.3f} on {one.n:,} images held out")
    epochs = tuple(round(median(one.epochs[phase] for one in scores)) for phase in range(len(names)))
    apart = apart if np.isfinite(apart).all() else apart[:0]
    return OutOfFold(tuple(by_phase), tuple(scores), (max(1, epochs[0]), *epochs[1:]), apart)


def _train_fold(
    run: Run,
    config: RunConfig,
    split: Dataset,
    weights: Weights,
    fold: int,
    on_epoch: Callable[[History], None] | None,
) -> None:
    from kit.training.checkpoints import save_arrays
    from kit.training.extraction import extract
    from kit.training.fit import features_to_compare, fit, predict_phases
    from kit.training.session import Session, build_classifier

    counts = split.counts()
    progress.say(
        f"Fold {fold} of {config.split.folds}: {counts['train']:,} images train, {counts['validation']:,} choose the "
        f"epoch, {counts['test']:,} are held out"
    )
    session = Session(config, build_classifier(config, len(split.classes), weights), split)
    activations = extract(session)
    folder, path = run.checkpoints / f"fold-{fold}", history_path(run, fold)
    folder.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(exist_ok=True)

    def record(history: History) -> None:
        table = history.to_frame()
        write_table(path, table, tuple(table.columns))
        if on_epoch is not None:
            on_epoch(history)

    fit(session, activations, folder, read_history(run, fold), record, lambda name: nullcontext())
    held = split.indices("test")
    phases = predict_phases(session, activations, folder, ("test",))
    predicted = tuple(apply_temperature(one.probabilities[held], 1 / one.temperature) for one in phases)
    apart = distances(*features_to_compare(session, activations, held))
    save_arrays(folder / RESULT, {"phases": predicted, "distances": (apart,)}, {})
    for file in folder.iterdir():
        if file.name != RESULT:
            file.unlink()


def history_path(run: Run, fold: int) -> Path:
    """File of a fold's history."""
    return run.path / "folds" / f"fold-{fold}.csv"


def read_history(run: Run, fold: int) -> History:
    """History of a fold; empty before its first epoch has ended."""
    path = history_path(run, fold)
    return History.from_frame(read_table(path, COLUMNS)) if path.exists() else History()


def _score(
    run: Run, config: RunConfig, split: Dataset, fold: int, names: Sequence[str], predicted: np.ndarray
) -> FoldScore:
    held, counts = split.indices("test"), split.counts()
    accuracy = float((predicted.argmax(axis=1) == split.labels[held]).mean())
    independent = effective_n([split.groups[i] for i in held])
    epochs = kept_epochs(read_history(run, fold), names, config.training.monitor)
    interval = wilson_interval(accuracy * independent, independent)
    return FoldScore(fold, len(held), counts["train"], counts["validation"], accuracy, interval, epochs)


def kept_epochs(history: History, phases: Sequence[str], monitor: str) -> tuple[int, ...]:
    """Epochs of each phase up to the one whose weights it kept; 0 where a later phase never beat its start."""
    epochs: list[int] = []
    so_far = History()
    for name in phases:
        phase = history.phase(name)
        so_far = History((*so_far.records, *phase.records))
        kept = so_far.best(monitor).epoch if len(so_far) else 0
        first = phase.records[0].epoch if len(phase) else kept + 1
        epochs.append(max(0, kept - first + 1))
    return tuple(epochs)
