"""Keras callbacks in kit.train: what they are told, what they may do, and that they change nothing else."""

import logging
import math
from importlib.util import find_spec

import keras
import numpy as np
import pandas as pd
import pytest

import kit
from doubles import swap
from kit.data.images import decode
from kit.errors import ConfigError
from kit.training.callbacks import Callbacks
from kit.training.loop import PhaseLoop
from small_settings import SMALL

pytestmark = pytest.mark.backend

LONGER = SMALL | {"fine_tune_epochs": 2, "dropout": 0.2}
NAMES = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")


class Watching(keras.callbacks.Callback):
    """Notes what it is told, and scores the model by itself."""

    def __init__(self, pixels=None, labels=None):
        super().__init__()
        self.calls, self.logs, self.scores = [], [], []
        self.pixels, self.labels = pixels, labels

    def on_train_begin(self, logs=None):
        self.calls.append(("begin", self.params["phase"], self.params["epochs"]))

    def on_train_end(self, logs=None):
        self.calls.append(("end",))

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.logs.append(dict(logs))
        if self.pixels is not None:
            loss, accuracy = self.model.evaluate(self.pixels, self.labels, verbose=0)
            self.scores.append((accuracy, loss))


class Spoiling(keras.callbacks.Callback):
    """Sets all weights to 0 whenever it can."""

    def _spoil(self, *_, **__):
        self.model.set_weights([np.zeros_like(one) for one in self.model.get_weights()])

    on_train_begin = on_train_end = on_epoch_begin = on_epoch_end = _spoil


class Failing(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 2:
            raise RuntimeError("the tracker is down")


@pytest.fixture(scope="module")
def train(images, toy_weights, tmp_path_factory):
    """Trains the same small run every time, but for what is asked."""

    def run(**asked):
        return kit.train(images, tmp_path_factory.mktemp("runs") / "run", weights=toy_weights, **LONGER | asked)

    return run


@pytest.fixture(scope="module")
def plain(train):
    return train()


@pytest.fixture(scope="module")
def watched(train, plain, images, tmp_path_factory):
    """A run with all of them, the folder they wrote into, and the one that took notes."""
    folder = tmp_path_factory.mktemp("callbacks")
    chosen = plain.samples.query("split == 'validation'")
    pixels = np.stack([decode(images / path, plain.config.data) for path in chosen["path"]])
    watching = Watching(pixels, np.array([plain.classes.index(label) for label in chosen["label"]]))
    told = []
    callbacks = [
        watching,
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: told.append(epoch)),
        keras.callbacks.CSVLogger(str(folder / "log.csv")),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.EarlyStopping("val_accuracy", patience=50, restore_best_weights=True),
        keras.callbacks.ModelCheckpoint(str(folder / "best.keras"), "val_accuracy", save_best_only=True),
        keras.callbacks.ModelCheckpoint(str(folder / "{epoch:02d}-{val_accuracy:.3f}.weights.h5"),
                                        save_weights_only=True),
        Spoiling(),
    ]  # fmt: skip
    run = train(callbacks=callbacks)
    assert told == [0, 1, 2, 3]
    return run, folder, watching


def test_a_phase_is_what_a_call_of_fit_is(watched, plain):
    run, _, watching = watched
    first, second = plain.history.phases()
    assert watching.calls == [("begin", first, 2), 0, 1, ("end",), ("begin", second, 4), 2, 3, ("end",)]
    assert watching.logs == [{name: getattr(record, name) for name in NAMES} for record in run.history]


def test_the_model_has_the_weights_of_the_epoch(watched):
    """From pixels: accuracy and loss on the validation images are those of the history."""
    run, folder, watching = watched
    history = run.history.to_frame()
    assert [accuracy for accuracy, _ in watching.scores] == pytest.approx(history["val_accuracy"].tolist())
    assert [loss for _, loss in watching.scores] == pytest.approx(history["val_loss"].tolist(), abs=5e-3)
    best = keras.saving.load_model(folder / "best.keras")
    assert best.evaluate(watching.pixels, watching.labels, verbose=0)[1] == pytest.approx(history["val_accuracy"].max())
    assert len(list(folder.glob("0[1-4]-*.weights.h5"))) == 4


def test_the_csv_has_every_epoch_of_every_phase(watched):
    run, folder, _ = watched
    written, history = pd.read_csv(folder / "log.csv"), run.history.to_frame()
    assert written["epoch"].tolist() == [0, 1, 2, 3]
    for name in NAMES:
        assert written[name].tolist() == pytest.approx(history[name].tolist())


@pytest.mark.once(backend="tensorflow")
@pytest.mark.skipif(not (find_spec("tensorflow") and find_spec("tensorboard")), reason="needs TensorFlow, TensorBoard")
def test_tensorboard_of_keras_writes_every_epoch_of_every_phase(train, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    run = train(callbacks=[keras.callbacks.TensorBoard(str(tmp_path))])
    history = run.history.to_frame()
    for part, tag, column in (
        ("train", "epoch_loss", "loss"),
        ("validation", "epoch_accuracy", "val_accuracy"),
        ("train", "epoch_learning_rate", "learning_rate"),
    ):
        found = EventAccumulator(str(tmp_path / part))
        found.Reload()
        written = found.Tensors(tag)
        assert [one.step for one in written] == [0, 1, 2, 3]
        values = [float(make_ndarray(one.tensor_proto)) for one in written]
        assert values == pytest.approx(history[column].tolist()), (part, tag)


def test_callbacks_change_nothing_by_a_bit(watched, plain):
    """Weights that they set, to restore an epoch or to ruin it, are undone."""
    run, *_ = watched
    assert run.history.equal_curves(plain.history)
    for one, other in zip(run.model.get_weights(), plain.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    names = ["EarlyStopping", "LambdaCallback", "CSVLogger", "TerminateOnNaN", "ModelCheckpoint"]
    assert set(names) < set(run.manifest["callbacks"])
    assert f"{Watching.__module__}.Watching" in run.manifest["callbacks"]
    assert "callbacks" not in plain.manifest


@pytest.mark.once(backend="jax")
def test_stop_training_ends_the_phase_and_early_stopping_begins_anew(train):
    patient = keras.callbacks.EarlyStopping("loss", patience=1, min_delta=100)
    counts = train(callbacks=[patient], head_epochs=4, fine_tune_epochs=4).history.to_frame()["phase"].value_counts()
    assert counts.tolist() == [2, 2]


@pytest.mark.once(backend="jax")
def test_a_run_whose_callback_raised_is_resumed(train, plain, tmp_path):
    with pytest.raises(RuntimeError, match="tracker is down"):
        kit.train(plain.config, tmp_path / "run", callbacks=[Failing()])
    run = kit.load_run(tmp_path / "run")
    assert run.manifest["status"] == "failed"
    assert "tracker is down" in run.manifest["error"]
    watching = Watching()
    done = kit.resume(run, callbacks=[watching])
    assert done.history.equal_curves(plain.history)
    assert watching.calls == [("begin", plain.history.phases()[1], 4), 2, 3, ("end",)]
    assert len(done.manifest["callbacks"]) == 2
    for one, other in zip(done.model.get_weights(), plain.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.once(backend="jax")
def test_terminate_on_nan_keeps_what_was_good(train, plain, monkeypatch):
    trained = PhaseLoop._train
    ruin = lambda loop: (math.nan, 0.0, 1.0) if loop.phase.index else trained(loop)  # noqa: E731
    swap(monkeypatch, PhaseLoop, "_train", ruin)
    run = train(callbacks=[keras.callbacks.TerminateOnNaN()])
    assert run.manifest["status"] == "finished"
    head = plain.history.phase(plain.history.phases()[0])
    assert run.history.equal_curves(head)


@pytest.mark.full
@pytest.mark.once(backend="jax")
def test_callbacks_follow_the_model_that_is_kept(train):
    watching = Watching()
    run = train(folds=2, head_epochs=1, fine_tune_epochs=1, callbacks=[watching])
    assert [call for call in watching.calls if isinstance(call, int)] == list(range(len(run.history)))
    assert set(watching.logs[0]) == {"loss", "accuracy", "learning_rate"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: keras.callbacks.EarlyStopping, r"an instance of keras\.callbacks\.Callback, not the class EarlySt"),
        (lambda: print, r"not <built-in function print>"),
        (keras.callbacks.ReduceLROnPlateau, r"ReduceLROnPlateau has no effect here\.\n.*phases\.N\.learning_rate"),
        (lambda: keras.callbacks.BackupAndRestore("x"), r"kit\.resume goes on"),
        (lambda: keras.callbacks.ModelCheckpoint("x.keras", save_freq=10), r"not after 10 batches"),
    ],
)
@pytest.mark.once(backend="jax")
def test_what_has_no_place_in_a_run_is_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        Callbacks([wrong()])


@pytest.mark.once(backend="jax")
def test_a_refused_callback_leaves_no_folder(images, tmp_path):
    with pytest.raises(ConfigError, match="not 'loss'"):
        kit.train(images, tmp_path / "run", callbacks=["loss"])
    assert not (tmp_path / "run").exists()


@pytest.mark.once(backend="jax")
def test_hooks_that_are_never_called_are_named():
    class Batchwise(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            pass

    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("transferkit")
    logger.addHandler(handler)
    try:
        Callbacks([Batchwise(), keras.callbacks.LambdaCallback(on_train_batch_begin=print), Watching(), Spoiling()])
    finally:
        logger.removeHandler(handler)
    assert len(lines) == 2
    assert "Batchwise.on_train_batch_end is never called" in lines[0]
    assert "LambdaCallback.on_train_batch_begin is never called" in lines[1]
