"""Runs one phase of a schedule: epochs, a checkpoint after each, early stopping, the best epoch's weights kept."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import keras
import numpy as np

from kit import progress
from kit.cache import CachedArray
from kit.config import TrainingConfig
from kit.data.batches import Order, TrainingSet, padded, part
from kit.training.checkpoints import Checkpoint, Progress
from kit.training.history import EpochRecord, History
from kit.training.schedule import Phase
from kit.training.steps import Steps, build_optimizer, build_steps

# Rows of a phase that trains the head alone are held on the device up to this size: its steps take less time than
# Python needs to feed them.
HELD_BYTES = 64 * 2**20
# Otherwise so many steps are made in one call, of rows of at most so many bytes: on JAX a step
# a call takes half as long again (two cores, from block 13 on: 166 images/s, 253 by sixteen; why was not found).
STEPS_AT_ONCE = 16
AT_ONCE_BYTES = 32 * 2**20
SMALLEST = float(np.finfo(np.float32).eps)  # probabilities below it count as it, as in kit.evaluation.log_loss


@dataclass(frozen=True)
class Validation:
    """What chooses the epoch that is kept.

    Attributes:
        rows: Plain images, (n, ...); n may be 0.
        labels: Class numbers, int (n,).
    """

    rows: CachedArray
    labels: np.ndarray


def run_phase(
    phase: Phase,
    model: keras.Model,
    training: TrainingSet,
    validation: Validation,
    settings: TrainingConfig,
    checkpoints: Path | None,
    history: History,
    epochs_before: int,
    on_epoch: Callable[[History], None],
) -> History:
    """Trains `model` in place, and leaves it with the weights of its best epoch.

    Where there is a validation split, a later phase that never beats the weights it started with ends with those.

    Args:
        phase: What to do.
        model: From what `training.rows` holds to probabilities; what is trainable is settled.
        training: What is trained on.
        validation: What chooses the epoch that is kept; where it is empty, the last one is.
        settings: What all phases share.
        checkpoints: Folder of the run's checkpoints; a state of this phase found there is continued. None keeps none.
        history: Epochs recorded so far, those of this phase included where it is continued.
        epochs_before: How many of them belong to earlier phases.
        on_epoch: Called with the history after every epoch, before the checkpoint is written.

    Returns:
        The history with this phase's epochs.
    """
    runner = _Runner(phase, model, training, validation, settings, epochs_before)
    state = None if checkpoints is None else Checkpoint.load(checkpoints)
    if state is not None and state.progress.phase == phase.index:
        runner.restore(state)
    else:
        runner.begin()
    # an epoch that was recorded but whose checkpoint was not written is trained again
    history = History(history.records[: runner.state.epochs_total])
    while not runner.finished:
        history = history.append(runner.epoch(number=len(history) + 1))
        on_epoch(history)
        if checkpoints is not None:
            runner.checkpoint().save(checkpoints)
    runner.keep_best()
    return history


def predict_rows(predict: Callable[[np.ndarray], np.ndarray], rows: CachedArray, batch_size: int) -> np.ndarray:
    """Probabilities of all rows, float32 (n, classes), in batches of one padded shape."""
    parts = []
    for start in range(0, len(rows), batch_size):
        indices = np.arange(start, min(start + batch_size, len(rows)))
        parts.append(predict(padded(rows, indices, batch_size))[: len(indices)])
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


class _Runner:
    """A phase in progress."""

    def __init__(
        self,
        phase: Phase,
        model: keras.Model,
        training: TrainingSet,
        validation: Validation,
        settings: TrainingConfig,
        epochs_before: int,
    ):
        self.phase, self.model, self.settings = phase, model, settings
        self.training, self.validation = training, validation
        self.optimizer = build_optimizer(settings.optimizer, phase.settings.weight_decay)
        self.steps: Steps = build_steps(model, self.optimizer, settings.label_smoothing)
        self.state = Progress(
            phase.index, epochs_total=epochs_before, epochs_done=0, best_epoch=0, best_score=(-math.inf,)
        )
        self.best: tuple[np.ndarray, ...] = ()

    @property
    def finished(self) -> bool:
        """True after the last epoch, or when patience is at its end."""
        patience, done = self.phase.settings.patience, self.state.epochs_done
        waited = done - self.state.best_epoch
        return done >= self.phase.settings.epochs or (0 < patience <= waited and done > 0)

    def epoch(self, number: int) -> EpochRecord:
        """Trains one epoch and validates.

        Args:
            number: Of the epoch in the whole run, from 1.
        """
        start = perf_counter()
        loss, accuracy, rate = self._train()
        self.steps.synchronise()
        val_loss, val_accuracy = self._validate()
        done = self.state.epochs_done + 1
        score = _score(self.settings.monitor, val_loss, val_accuracy, done)
        self.state = replace(self.state, epochs_total=number, epochs_done=done)
        if score > self.state.best_score:
            self.state = replace(self.state, best_epoch=done, best_score=score)
            self.best = arrays(self.model.variables)
        record = EpochRecord(
            number, self.phase.name, perf_counter() - start, rate, loss, accuracy, val_loss, val_accuracy
        )
        if progress.shown():
            validated = "" if val_loss is None else f"  val_loss {val_loss:.4f}  val_accuracy {val_accuracy:.3f}"
            progress.say(
                f"{self.phase.name} {done}/{self.phase.settings.epochs}  {record.seconds:.1f} s  "
                f"loss {loss:.4f}  accuracy {accuracy:.3f}{validated}"
            )
        return record

    def checkpoint(self) -> Checkpoint:
        """Everything the next epoch needs."""
        return Checkpoint(self.state, arrays(self.model.variables), arrays(self.optimizer.variables), self.best)

    def begin(self) -> None:
        """Makes where a later phase starts from a candidate: fine-tuning that helps nowhere must not harm the model."""
        if self.phase.index and len(self.validation.labels):
            self.best = arrays(self.model.variables)
            self.state = replace(self.state, best_score=_score(self.settings.monitor, *self._validate(), 0))

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continues where a checkpoint stands."""
        assign(self.model.variables, checkpoint.weights)
        assign(self.optimizer.variables, checkpoint.optimizer)
        self.steps.reload()
        self.state, self.best = checkpoint.progress, checkpoint.best

    def keep_best(self) -> None:
        """Gives the model the weights of its best epoch."""
        if self.best:
            assign(self.model.variables, self.best)

    def _train(self) -> tuple[float, float, float]:
        """One pass; returns plain mean cross-entropy, accuracy, and the last learning rate."""
        steps, done = self.training.steps(self.settings.batch_size), self.state.epochs_done
        planned = [self.phase.learning_rate(done * steps + step, steps) for step in range(steps)]
        rates = np.array(planned, np.float32)
        order = self.training.order(self.phase.index, done, self.settings.batch_size)
        sums = self.steps.train(self._held, order, rates) if self._fits_device else self._in_parts(order, rates)
        loss, correct = np.asarray(sums, np.float64).sum(axis=1).tolist()
        return loss / len(self.training), correct / len(self.training), planned[-1]

    @property
    def _fits_device(self) -> bool:
        return not self.phase.start_depth and self.training.rows.nbytes <= HELD_BYTES

    @cached_property
    def _held(self) -> Any:
        """All rows that are trained on, on the device."""
        return self.steps.hold(self.training.rows.gather(np.arange(len(self.training.rows))))

    def _in_parts(self, order: Order, rates: np.ndarray) -> np.ndarray:
        """An epoch some steps at a time; returns (plain cross-entropy, correct), each (steps,)."""
        batch_size = self.settings.batch_size
        size = steps_at_once(self.training.rows.row_bytes, batch_size, len(rates))
        numbers = np.arange(size * batch_size, dtype=np.int32).reshape(size, batch_size)
        label = f"{self.phase.name} {self.state.epochs_done + 1}/{self.phase.settings.epochs}"
        done: list[np.ndarray] = []
        running: Any = None
        with progress.track(label, len(self.training)) as advance:
            for start in range(0, len(rates), size):
                taken = order.part(start, size)
                held = self.steps.hold(self.training.rows.gather(taken.rows.ravel()))
                # These rows were gathered while the steps before were computed. Not more than one part ahead: the
                # device would be given a whole epoch's rows at once.
                done += [] if running is None else [np.asarray(running, np.float64)]
                running = self.steps.train(held, replace(taken, rows=numbers), part(rates, start, size))
                advance(int(taken.mask.sum()))
            done.append(np.asarray(running, np.float64))
        return np.concatenate(done, axis=1)

    def _validate(self) -> tuple[float | None, float | None]:
        labels = self.validation.labels
        if not len(labels):
            return None, None
        probabilities = predict_rows(self.steps.predict, self.validation.rows, self.settings.batch_size)
        chosen = np.clip(probabilities[np.arange(len(labels)), labels].astype(np.float64), SMALLEST, 1.0)
        return float(-np.log(chosen).mean()), float((probabilities.argmax(axis=1) == labels).mean())


def steps_at_once(row: int, batch_size: int, steps: int) -> int:
    """How many steps one call makes, of an epoch of `steps` and rows of `row` bytes each."""
    return max(1, min(STEPS_AT_ONCE, steps, AT_ONCE_BYTES // (row * batch_size)))


def arrays(variables: Sequence[keras.Variable]) -> tuple[np.ndarray, ...]:
    """Copies of variables' values."""
    return tuple(np.array(keras.ops.convert_to_numpy(variable)) for variable in variables)


def assign(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    """Gives variables values, in order."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _score(monitor: str, val_loss: float | None, val_accuracy: float | None, epoch: int) -> tuple[float, ...]:
    """Greater is better; without validation every epoch is better than the one before."""
    if val_loss is None or val_accuracy is None:
        return (float(epoch),)
    return (val_accuracy, -val_loss) if monitor == "val_accuracy" else (-val_loss,)
