"""Keras callbacks in our own loop: to them a phase is a call of `fit` whose epochs count on (`initial_epoch`).

They look on: what they do to the weights is undone, and the epoch that is kept is the one of `training.monitor`.
`model` is the whole network, from pixels to probabilities.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from kit import progress
from kit.errors import ConfigError
from kit.training.history import EpochRecord

# Keras runs these for every batch or during `evaluate`; here an epoch runs without returning to Python.
NEVER_CALLED = tuple(
    f"on_{what}_{when}"
    for what in ("batch", "train_batch", "test", "test_batch", "predict", "predict_batch")
    for when in ("begin", "end")
)
_SCHEDULED = "The learning rate follows the phase: phases.N.learning_rate, .schedule, .warmup_epochs."
INSTEAD = {
    "ReduceLROnPlateau": _SCHEDULED,
    "LearningRateScheduler": _SCHEDULED,
    "BackupAndRestore": "Every epoch leaves a checkpoint: kit.resume goes on with an interrupted run.",
    "SwapEMAWeights": "training.ema keeps moving averages of the weights.",
}


class Callbacks:
    """Keras callbacks of a run.

    Raises ConfigError for what is no callback, and for one that would have no effect. Warns of hooks that are never
    called.
    """

    def __init__(self, callbacks: Iterable[Any] = ()):
        if isinstance(callbacks, keras.callbacks.Callback):
            callbacks = [callbacks]
        self.all = tuple(callbacks)
        for one in self.all:
            _require_usable(one)
        for one in self.all:
            for hook in _hooks_in_vain(one):
                progress.say(
                    f"warning: {_name(one)}.{hook} is never called: the batches of an epoch run without returning to "
                    "Python. on_epoch_end is."
                )
        self._network: keras.Model | None = None

    @property
    def network(self) -> keras.Model:
        """The whole network, once `attach` has given it."""
        assert self._network is not None
        return self._network

    @property
    def names(self) -> list[str]:
        """Class names for the manifest; with their module where they are not Keras's."""
        return [_name(one) for one in self.all]

    def attach(self, network: keras.Model) -> None:
        """Give the callbacks their `model`, compiled so that it can be evaluated and its metrics have a direction."""
        # An optimiser that trains nothing here; others are saved with less state than Keras expects when it loads them.
        network.compile("sgd", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        classes = network.output.shape[-1]
        blank: np.ndarray = np.full((1, classes), 1 / classes, np.float32)
        network.compute_metrics(None, np.zeros((1, 1), np.int32), blank)  # builds them, which `mode="auto"` looks at
        network.reset_metrics()
        self._network = network

    def begin(self, phase: str, steps: int, epochs_done: int, epochs: int) -> None:
        """Begin a phase after `epochs_done` of the run's epochs; it ends at `epochs`."""
        self.network.stop_training = False
        for one in self.all:
            if isinstance(one, keras.callbacks.CSVLogger) and epochs_done:
                one.append = True  # it would begin its file anew in every phase
            one.set_params({"verbose": 0, "epochs": epochs, "steps": steps, "phase": phase})
            one.set_model(self.network)
        self._tell("on_train_begin", {})

    def begin_epoch(self, epochs_done: int) -> None:
        self._tell("on_epoch_begin", epochs_done, {})

    def end_epoch(self, record: EpochRecord) -> bool:
        """Tell of an epoch; returns whether one of them ends the phase."""
        self.network.optimizer.learning_rate = record.learning_rate  # some read it there
        self._tell("on_epoch_end", record.epoch - 1, logs_of(record))
        return bool(self.network.stop_training)

    def loss_is_no_number(self, step: int, loss: float) -> bool:
        """Whether a `TerminateOnNaN` ends the phase."""
        for one in self.all:
            if isinstance(one, keras.callbacks.TerminateOnNaN):
                one.on_train_batch_end(step, {"loss": loss})
        return bool(self.network.stop_training)

    def end(self, last: EpochRecord | None) -> None:
        self._tell("on_train_end", {} if last is None else logs_of(last))

    def _tell(self, hook: str, *arguments: Any) -> None:
        for one in self.all:
            getattr(one, hook)(*arguments)


def logs_of(record: EpochRecord) -> dict[str, float]:
    """Metrics of an epoch by Keras's names; those of validation only where there are any."""
    names = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")
    own = {f"val_{name}": value for name, value in record.val_metrics}
    return {name: float(getattr(record, name)) for name in names if getattr(record, name) is not None} | own


def _require_usable(one: Any) -> None:
    if not isinstance(one, keras.callbacks.Callback):
        what = f"the class {one.__name__}" if isinstance(one, type) else f"{one!r}"
        raise ConfigError(f"A callback must be an instance of keras.callbacks.Callback, not {what}.")
    for name, instead in INSTEAD.items():
        if isinstance(one, getattr(keras.callbacks, name)):
            raise ConfigError(f"keras.callbacks.{name} has no effect here.", instead)
    if isinstance(one, keras.callbacks.ModelCheckpoint) and one.save_freq != "epoch":
        raise ConfigError(f'keras.callbacks.ModelCheckpoint saves after epochs (save_freq="epoch") here, not after '
                          f"{one.save_freq} batches.", "Leave save_freq out.")  # fmt: skip


def _hooks_in_vain(one: Any) -> Sequence[str]:
    """Hooks that a person wrote, and that are never called."""
    own = [kind for kind in type(one).__mro__ if not _is_keras(kind)]
    return [hook for hook in NEVER_CALLED if hook in vars(one) or any(hook in vars(kind) for kind in own)]


def _name(one: Any) -> str:
    kind = type(one)
    return kind.__qualname__ if _is_keras(kind) else f"{kind.__module__}.{kind.__qualname__}"


def _is_keras(kind: type) -> bool:
    return kind is object or kind.__module__.partition(".")[0] == "keras"
