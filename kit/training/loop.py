"""Epochs of one phase: checkpoints, early stopping, best weights kept.

Optimisers, losses and layers are Keras's, but not `fit`: it cannot be resumed to the bit, compiles again for the last
partial batch, and reports the smoothed and weighted loss.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops
from scipy.special import log_softmax

from kit import backends, progress
from kit.backends.protocol import Group, Steps, Updates
from kit.config import TrainingConfig
from kit.data.batches import Batches, Order, part
from kit.training.callbacks import Callbacks
from kit.training.checkpoints import Arrays, Checkpoint, Progress, assign, values_of
from kit.training.forward import predict
from kit.training.history import EpochRecord, History, diverged
from kit.training.schedule import Phase, averaging_momentum, layer_scale

if TYPE_CHECKING:
    from kit.parts import Parts

OwnLoss = Callable[[Any, Any], Any]  # labels and logits, (batch, classes), to losses (batch,)

# Activations of a phase that trains the head alone are held on the device up to this size: its steps take less time
# than Python needs to feed them.
HELD_BYTES = 64 * 2**20
# Otherwise a call makes as many steps as the backend allows, on at most this many bytes of activations.
AT_ONCE_BYTES = 32 * 2**20
# An epoch whose mean loss is this many times that of guessing has ruined the network: seen, its ReLUs die, and it
# guesses from then on. At 7 times some still learned.
DIVERGED = 20


def build_optimizer(name: str, weight_decay: float) -> keras.optimizers.Optimizer:
    """Keras optimiser; its learning rate is set at every step."""
    decay = weight_decay or None
    builders: dict[str, Callable[[], keras.optimizers.Optimizer]] = {
        "adam": lambda: keras.optimizers.Adam(weight_decay=decay),
        "adamw": lambda: keras.optimizers.AdamW(weight_decay=weight_decay),
        "sgd": lambda: keras.optimizers.SGD(momentum=0.9, nesterov=True, weight_decay=decay),
        "rmsprop": lambda: keras.optimizers.RMSprop(weight_decay=decay),
    }
    return builders[name]()


def phase_steps(
    model: keras.Model, phase: Phase, settings: TrainingConfig, depths: Sequence[int], parts: "Parts | None" = None
) -> Steps:
    """Training steps of a phase; `depths` are the unfreeze depths of the model's trainable variables."""
    optimizer = build_optimizer(settings.optimizer, phase.settings.weight_decay)
    scales = [layer_scale(settings.layer_decay, depth) for depth in depths]
    own = None if parts is None or parts.loss is None else parts.per_sample
    return build_steps(model, optimizer, settings.label_smoothing, scales, settings.ema > 0, own)


def build_steps(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    label_smoothing: float,
    scales: Sequence[float] = (),
    averaged: bool = False,
    own: OwnLoss | None = None,
) -> Steps:
    """Training steps of a model to logits, compiled by the current backend.

    Weight decay falls on kernels alone: towards zero is no better a place for biases, or for scales that begin at one.
    `scales` are factors of the learning rate, and so of weight decay, of each trainable variable (none: 1); variables
    of one scale share an optimiser. `averaged` keeps moving averages of all, which begin at the present values. `own`
    is a loss in place of cross-entropy.
    """
    variables, config = model.trainable_variables, optimizer.get_config()
    by_scale: dict[float, list[int]] = {}
    for place, scale in enumerate(scales or [1.0] * len(variables)):
        by_scale.setdefault(scale, []).append(place)
    groups: list[Group] = []
    for scale, places in by_scale.items():
        one = type(optimizer).from_config(config) if groups else optimizer
        chosen = [variables[place] for place in places]
        one.exclude_from_weight_decay([variable for variable in chosen if len(variable.shape) < 2])
        one.build(chosen)
        groups.append(Group(one, tuple(places), scale))
    averages = [keras.Variable(values, trainable=False) for values in values_of(variables)] if averaged else []
    updates = Updates(tuple(groups), tuple(averages))
    return backends.current().build_steps(model, updates, partial(batch_loss, smoothing=label_smoothing, own=own))


def batch_loss(
    logits, labels, weights, mask, other_labels=None, other_weights=None, shares=None, *, smoothing: float, own=None
):
    """Sum of losses, and (sum of plain cross-entropy, sum of correct), of a batch: a `kit.backends.protocol.Loss`.

    Of mixed samples, those by their own labels and by their partners', each by its share.
    """
    if shares is None:
        return loss_and_sums(logits, labels, weights, mask, smoothing, own)
    rest = 1 - shares
    first, sums = loss_and_sums(logits, labels, weights * shares, mask * shares, smoothing, own)
    other, other_sums = loss_and_sums(logits, other_labels, other_weights * rest, mask * rest, smoothing, own)
    return first + other, tuple(a + b for a, b in zip(sums, other_sums, strict=True))


def loss_and_sums(logits, labels, weights, mask, smoothing: float, own: OwnLoss | None = None):
    """Sum of losses, and (sum of plain cross-entropy, sum of correct), of a batch by its labels.

    The loss is cross-entropy, or an `own` one, weighted by class; `smoothing` is the share of each label spread over
    all classes.
    """
    target = ops.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    cross_entropy = partial(keras.losses.categorical_crossentropy, target, logits, from_logits=True)
    plain = cross_entropy()
    if own is not None:
        smoothed = own(target * (1 - smoothing) + smoothing / logits.shape[-1] if smoothing else target, logits)
    else:
        smoothed = cross_entropy(label_smoothing=smoothing) if smoothing else plain
    correct = ops.cast(ops.equal(ops.argmax(logits, axis=-1), ops.cast(labels, "int32")), mask.dtype)
    # where all weights are 1 XLA would round the gradient of a product otherwise than Keras's plain mean
    weighted = ops.where(ops.equal(weights, 1), smoothed, smoothed * weights)
    return ops.sum(weighted), (ops.sum(plain * mask), ops.sum(correct * mask))


class PhaseLoop:
    """Trains a model in place for one phase of a schedule.

    `model` maps activations to logits, its trainable layers already set; `depths` are the unfreeze depths of its
    trainable variables, where `training.layer_decay` is not 1. `validation` chooses the epoch that is kept; the last
    one where empty. All phases share `settings`. `callbacks` have the network that `model` is the end of;
    `parts` (kit.parts) may hold a loss and metrics.
    """

    def __init__(
        self,
        phase: Phase,
        model: keras.Model,
        training: Batches,
        validation: Batches,
        settings: TrainingConfig,
        depths: Sequence[int] = (),
        callbacks: Callbacks | None = None,
        parts: "Parts | None" = None,
    ):
        self.parts = parts
        self.phase, self.model, self.settings = phase, model, settings
        self.callbacks = callbacks
        self.training, self.validation = training, validation
        self.steps: Steps = phase_steps(model, phase, settings, depths, parts)
        self.best: Arrays = ()
        self._start: Arrays = ()

    def run(
        self,
        history: History,
        epochs_before: int,
        on_epoch: Callable[[History], None],
        checkpoints: Path | None = None,
    ) -> History:
        """Train, and leave the model with the weights of its best epoch.

        With a validation split, a later phase that never beats its initial weights ends with those. `history` holds the
        epochs so far, those of this phase included if resumed; `epochs_before` counts those of earlier phases.
        `on_epoch` gets the history after every epoch, before the checkpoint is written. A state of this phase in
        `checkpoints` is resumed.
        """
        self._start = values_of(self.model.trainable_variables)
        state = None if checkpoints is None else Checkpoint.load(checkpoints)
        if state is not None and state.progress.phase == self.phase.index:
            self._restore(state)
        else:
            self._begin(epochs_before)
        # an epoch that was recorded but whose checkpoint was not written is trained again
        history = History(history.records[: self.progress.epochs_total])
        if self.callbacks:
            with self._looked_on() as callbacks:
                epochs = epochs_before + self.phase.epochs
                callbacks.begin(self.phase.name, len(self.training), len(history), epochs)
        while not self._finished:
            record = self._epoch(number=len(history) + 1)
            if record is None:
                break
            history = history.append(record)
            on_epoch(history)
            if checkpoints is not None:
                weights, updates = values_of(self.model.variables), values_of(self.steps.updates.variables)
                Checkpoint(self.progress, weights, updates, self.best).save(checkpoints)
        if self.best:
            assign(self.model.variables, self.best)
        if self.callbacks:
            with self._looked_on() as callbacks:
                callbacks.end(history.records[-1] if len(history) else None)
        return history

    def _begin(self, epochs_before: int) -> None:
        self.progress = Progress(self.phase.index, epochs_before, epochs_done=0, best_epoch=0, best_score=(-math.inf,))
        if self.phase.index and len(self.validation.labels):
            # the start is a candidate too: fine-tuning that never helps must not harm the model
            self.best = values_of(self.model.variables)
            self.progress = replace(self.progress, best_score=self._score(self._validate(), 0))

    def _restore(self, checkpoint: Checkpoint) -> None:
        assign(self.model.variables, checkpoint.weights)
        assign(self.steps.updates.variables, checkpoint.optimizer)
        self.steps.reload()
        self.progress, self.best = checkpoint.progress, checkpoint.best

    @property
    def _finished(self) -> bool:
        """Whether the last epoch is done, patience has run out or a callback has ended the phase."""
        patience, done = self.phase.settings.patience, self.progress.epochs_done
        return self.progress.stopped or done >= self.phase.epochs or 0 < patience <= done - self.progress.best_epoch

    def _epoch(self, number: int) -> EpochRecord | None:
        """Train and validate one epoch, `number` counted from 1 in the run.

        None where training diverged, and a callback ends the phase for it: an earlier epoch is kept.
        """
        if self.callbacks:
            with self._looked_on() as callbacks:
                callbacks.begin_epoch(number - 1)
        start = perf_counter()
        loss, accuracy, rate = self._train()
        if not math.isfinite(loss) and self._ended_by_callback(loss):
            progress.say(f"{self._label(self.progress.epochs_done + 1)}: the loss is {loss}; the phase ends.")
            return None
        times = loss / math.log(max(self.model.output.shape[-1], 2))
        if times > DIVERGED:
            raise diverged(number, self.phase.name, f"loss is {loss:.4g}, {times:.0f} times that of guessing,")
        self.steps.synchronise()
        done = self.progress.epochs_done + 1
        with self._judged():
            validated = self._validate()
            score = self._score(validated, done)
            self.progress = replace(self.progress, epochs_total=number, epochs_done=done)
            if score > self.progress.best_score:
                self.progress = replace(self.progress, best_epoch=done, best_score=score)
                self.best = values_of(self.model.variables)
            seconds = perf_counter() - start
            said = "" if validated is None else validated.in_words()
            progress.say(f"{self._label(done)}  {seconds:.1f} s  loss {loss:.4f}  accuracy {accuracy:.3f}{said}")
            measured = () if validated is None else (validated.loss, validated.accuracy, validated.metrics)
            record = EpochRecord(number, self.phase.name, seconds, rate, loss, accuracy, *measured)
            if self.callbacks:  # the model has the weights that were validated
                with self._looked_on() as callbacks:
                    self.progress = replace(self.progress, stopped=callbacks.end_epoch(record))
        return record

    def _ended_by_callback(self, loss: float) -> bool:
        """Whether a callback ends the phase for a loss that is no number, and there are weights to keep."""
        if self.callbacks is None or not self.best:
            return False
        return self.callbacks.loss_is_no_number(len(self.training) - 1, loss)

    def _train(self) -> tuple[float, float, float]:
        """Train one epoch; returns plain mean cross-entropy, accuracy and the last learning rate."""
        steps, done, images = len(self.training), self.progress.epochs_done, len(self.training.labels)
        numbers = range(done * steps, (done + 1) * steps)
        planned = [self.phase.learning_rate(number, steps) for number in numbers]
        rates = np.array(planned, np.float32)
        momenta = np.array([averaging_momentum(self.settings.ema, number) for number in numbers], np.float32)
        order = self.training.order(self.phase.index, done)
        loss, correct = self.train_steps(order, rates, momenta, self._label(done + 1)).sum(axis=1).tolist()
        return loss / images, correct / images, planned[-1]

    def train_steps(self, order: Order, rates: np.ndarray, momenta: np.ndarray, label: str) -> np.ndarray:
        """Train on the samples of `order`; returns (sum of plain cross-entropy, sum of correct), each (steps,)."""
        if not self.phase.start_depth and self.training.x.nbytes <= HELD_BYTES:
            return np.asarray(self.steps.train(self._held, order, rates, momenta), np.float64)
        return self._in_parts(order, rates, momenta, label)

    @cached_property
    def _held(self) -> Any:
        """All training activations, on the device."""
        return self.steps.hold(self.training.x[:])

    def _in_parts(self, order: Order, rates: np.ndarray, momenta: np.ndarray, label: str) -> np.ndarray:
        """The same, some steps at a time."""
        x, batch_size = self.training.x, self.training.batch_size
        size = steps_at_once(x.row_bytes, batch_size, len(rates))
        numbers = np.arange(size * batch_size, dtype=np.int32).reshape(size, batch_size)
        done: list[np.ndarray] = []
        running: Any = None
        with progress.track(label, int(order.mask.sum())) as advance:
            for start in range(0, len(rates), size):
                taken = order.part(start, size)
                held = self.steps.hold(x.gather(taken.rows.ravel()))
                # These were gathered while the steps before were computed. Not more than one part ahead: the device
                # would be given a whole epoch's activations at once.
                done += [] if running is None else [np.asarray(running, np.float64)]
                scheduled = (part(values, start, size) for values in (rates, momenta))
                running = self.steps.train(held, replace(taken, rows=numbers), *scheduled)
                advance(int(taken.mask.sum()))
            done.append(np.asarray(running, np.float64))
        return np.concatenate(done, axis=1)

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """The model with the weights that are validated and kept instead of those that are trained.

        The averages if there are any; in a later phase interpolated with those it began with, start + share (end -
        start) [Wortsman et al. 2022, arXiv:2109.01903].
        """
        averages, share = self.steps.updates.averages, self.settings.interpolate if self.phase.index else 1.0
        if not averages and share == 1:
            yield
            return
        trained = values_of(self.model.trainable_variables)
        judged = values_of(averages) or trained
        if share != 1:
            pairs = zip(self._start, judged, strict=True)
            judged = tuple(start + np.float32(share) * (end - start) for start, end in pairs)
        self._load(judged)
        yield
        self._load(trained)

    @contextmanager
    def _looked_on(self) -> Iterator[Callbacks]:
        """The callbacks, which may do what they like to the weights, the trunk's too: it is undone."""
        assert self.callbacks is not None
        variables = self.callbacks.network.variables
        before = values_of(variables)
        yield self.callbacks
        assign(variables, before)
        self.steps.reload()

    def _load(self, values: Arrays) -> None:
        assign(self.model.trainable_variables, values)
        self.steps.reload()

    def _validate(self) -> "_Validated | None":
        """Loss, accuracy and metrics of one's own of validation; None without a validation split."""
        labels = self.validation.labels
        if not len(labels):
            return None
        logits = predict(self.steps.predict, self.validation.x, self.validation.batch_size)
        with np.errstate(invalid="ignore"):  # of a diverged model, which the record of the epoch reports
            logs = log_softmax(logits.astype(np.float64), axis=1)
            chosen = logs[np.arange(len(labels)), labels]
            own = () if self.parts is None else self.parts.measure(labels, np.exp(logs))
        return _Validated(float(-chosen.mean()), float((logits.argmax(axis=1) == labels).mean()), own)

    def _score(self, validated: "_Validated | None", epoch: int) -> tuple[float, ...]:
        """Greater is better; without validation every epoch beats the one before."""
        monitor = self.settings.monitor
        if validated is None:
            return (float(epoch),)
        if monitor == "val_loss":
            return (-validated.loss,)
        more = (
            validated.accuracy if monitor == "val_accuracy" else dict(validated.metrics)[monitor.removeprefix("val_")]
        )
        return (more, -validated.loss)

    def _label(self, epoch: int) -> str:
        return f"{self.phase.name} {epoch}/{self.phase.epochs}"


@dataclass(frozen=True)
class _Validated:
    """Scores of validation; `metrics` are (name, value) of one's own."""

    loss: float
    accuracy: float
    metrics: tuple[tuple[str, float], ...] = ()

    def in_words(self) -> str:
        own = "".join(f"  val_{name} {value:.3f}" for name, value in self.metrics)
        return f"  val_loss {self.loss:.4f}  val_accuracy {self.accuracy:.3f}{own}"


def steps_at_once(row_bytes: int, batch_size: int, steps: int) -> int:
    """Steps per call, for an epoch of `steps` with samples of `row_bytes` each."""
    return max(1, min(backends.current().steps_per_call(), steps, AT_ONCE_BYTES // (row_bytes * batch_size)))
