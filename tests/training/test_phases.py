"""Phases: which epoch is kept, when training ends, and that any schedule trains what straightforward training would."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
import pytest
from batchwise import batches_of
from small import fit, open_session, small_toy, weights_of

from kit import backends
from kit.cache import CachedArray, Store, writing
from kit.config import PhaseConfig, TrainingConfig
from kit.data.batches import Batches
from kit.errors import UserError
from kit.model.classifier import build_head, without_softmax
from kit.training.checkpoints import VERSION, values_of
from kit.training.extraction import Activations, Extractor, extract, training_batches
from kit.training.history import History
from kit.training.loop import PhaseLoop
from kit.training.schedule import Phase
from kit.training.session import Session

pytestmark = pytest.mark.backend

CLASSES = 3
SGD = TrainingConfig(batch_size=16, label_smoothing=0.0, optimizer="sgd")


# === One phase of a head, on points ===


def points(count: int, seed: int, spread: float = 1.0) -> tuple[CachedArray, np.ndarray]:
    """Three clouds that overlap, float32 (count, 6), as rows of a store, and their labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    values = np.eye(CLASSES, 6, dtype=np.float32)[labels] * 2
    values += random.standard_normal(values.shape).astype(np.float32) * spread
    store = Store("features", {"test": "phases", "count": count, "seed": seed, "spread": spread}, (6,), np.float32)
    keys = [f"{number:064d}" for number in range(count)]
    with writing([store], keys) as writer:
        if writer.missing:
            writer.write(keys, [values])
    return writer.arrays[0], labels


@dataclass
class Trained:
    """What a phase did.

    Attributes:
        history: Its epochs.
        model: Left with the weights of the best one.
        weights: After each epoch.
    """

    history: History
    model: keras.Model
    weights: list[tuple[np.ndarray, ...]]


def train_head(
    folder: Path,
    validation_images: int = 40,
    training: TrainingConfig | None = None,
    spread=1.0,
    weight=1.0,
    on_epoch=lambda history: None,
    index=0,
    **settings,
) -> Trained:
    backends.start()
    model = build_head(6, CLASSES, 8, 0.0, 0)
    rows, labels = points(60, seed=1, spread=spread)
    val_rows, val_labels = points(40, seed=2, spread=spread)
    chosen = np.arange(validation_images)
    phase = Phase(index, PhaseConfig(**{"epochs": 8, "learning_rate": 0.1, **settings}), 0, 0)
    weights: list[tuple[np.ndarray, ...]] = []
    settings = training or TrainingConfig(batch_size=16, label_smoothing=0.0)
    batches = Batches(rows, labels, settings.batch_size, np.full(60, weight))
    validation = Batches(val_rows.take(chosen), val_labels[chosen], settings.batch_size)
    loop = PhaseLoop(phase, without_softmax(model), batches, validation, settings)

    def record(history: History) -> None:
        weights.append(values_of(model.variables))
        on_epoch(history)

    folder.mkdir(exist_ok=True)
    history = loop.run(History(), 0, record, folder)
    return Trained(history, model, weights)


def assert_weights(model: keras.Model, expected) -> None:
    for found, wanted in zip(values_of(model.variables), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("monitor", ["val_accuracy", "val_loss"])
def test_the_best_epoch_is_kept_whichever_is_last(tmp_path, monitor):
    training = TrainingConfig(batch_size=16, label_smoothing=0.0, monitor=monitor)
    done = train_head(tmp_path, training=training, learning_rate=0.5, spread=2.0)
    assert len(done.history) == 8
    best = done.history.best(monitor)
    assert best.epoch < 8, "the last epoch is the best: this test would show nothing"
    assert_weights(done.model, done.weights[best.epoch - 1])


def test_the_recorded_figures_are_those_of_the_epochs_weights(tmp_path):
    done = train_head(tmp_path)
    rows, labels = points(40, seed=2)
    for record, weights in zip(done.history, done.weights, strict=True):
        done.model.set_weights(weights)
        probabilities = keras.ops.convert_to_numpy(done.model(rows[:]))
        assert record.val_accuracy == pytest.approx((probabilities.argmax(axis=1) == labels).mean())
        assert record.val_loss == pytest.approx(-np.log(probabilities[np.arange(40), labels]).mean(), rel=1e-4)


def test_averages_are_validated_and_kept_while_the_weights_themselves_go_on(tmp_path):
    settings = {"learning_rate": 0.3, "spread": 2.0}
    plain = train_head(tmp_path / "plain", training=TrainingConfig(batch_size=16), **settings)
    done = train_head(tmp_path / "ema", training=TrainingConfig(batch_size=16, ema=0.9), **settings)
    for mine, theirs in zip(done.weights, plain.weights, strict=True):
        for one, other in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert [one.val_loss for one in done.history] != pytest.approx([one.val_loss for one in plain.history], rel=0.01)
    rows, labels = points(40, seed=2, spread=2.0)
    probabilities = keras.ops.convert_to_numpy(done.model(rows[:]))
    best = done.history.best()
    assert best.val_loss == pytest.approx(-np.log(probabilities[np.arange(40), labels]).mean(), rel=1e-4)
    assert best.val_accuracy == (probabilities.argmax(axis=1) == labels).mean()


def test_a_later_phase_ends_between_what_it_began_with_and_what_it_trained(tmp_path):
    def ended(name: str, index: int, **settings) -> Trained:
        training = TrainingConfig(batch_size=16, optimizer="sgd", monitor="val_loss", **settings)
        (tmp_path / name).mkdir()
        return train_head(tmp_path / name, training=training, epochs=2, learning_rate=0.01, index=index)

    whole, part, first = ended("whole", 1), ended("part", 1, interpolate=0.25), ended("first", 0, interpolate=0.25)
    start = values_of(build_head(6, CLASSES, 8, 0.0, 0).variables)
    assert [done.history.best("val_loss").epoch for done in (whole, part, first)] == [2, 2, 2]
    ends = (values_of(done.model.variables) for done in (whole, part))
    for before, after, between in zip(start, *ends, strict=True):
        assert not np.array_equal(before, after)
        np.testing.assert_allclose(between, before + 0.25 * (after - before), atol=1e-7)
    assert_weights(first.model, first.weights[-1])  # a first phase begins with a random head
    for mine, theirs in zip(part.weights, whole.weights, strict=True):  # it is trained as without
        for one, other in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
    assert [record.val_loss for record in part.history] != [record.val_loss for record in whole.history]


def test_averages_go_on_to_the_bit_after_an_interruption(tmp_path):
    def stop(history: History) -> None:
        if len(history) == 3:
            raise KeyboardInterrupt

    settings = {"training": TrainingConfig(batch_size=16, ema=0.9), "validation_images": 0}
    whole = train_head(tmp_path / "whole", **settings)
    with pytest.raises(KeyboardInterrupt):
        train_head(tmp_path / "stopped", on_epoch=stop, **settings)
    assert_weights(train_head(tmp_path / "stopped", **settings).model, values_of(whole.model.variables))


@pytest.mark.parametrize("patience", [1, 3])
def test_a_phase_ends_when_patience_does(tmp_path, patience):
    training = TrainingConfig(batch_size=16, label_smoothing=0.0, monitor="val_loss")
    done = train_head(tmp_path, training=training, epochs=50, patience=patience, learning_rate=0.3, spread=2.0)
    best = done.history.best("val_loss")
    assert len(done.history) == best.epoch + patience < 50
    assert_weights(done.model, done.weights[best.epoch - 1])


def test_without_validation_the_last_epoch_is_kept_and_none_is_waited_for(tmp_path):
    done = train_head(tmp_path, validation_images=0, patience=1)
    assert len(done.history) == 8
    assert all(record.val_loss is None for record in done.history)
    assert_weights(done.model, done.weights[-1])


def test_the_rate_that_is_recorded_is_the_one_that_was_used(tmp_path):
    """A cosine ends near 0, so late epochs move less than early ones."""
    done = train_head(
        tmp_path, schedule="cosine", training=TrainingConfig(batch_size=16, optimizer="sgd"), learning_rate=0.05
    )
    steps = 4
    expected = [0.05 * 0.5 * (1 + math.cos(math.pi * (epoch * steps - 1) / (8 * steps))) for epoch in range(1, 9)]
    assert [record.learning_rate for record in done.history] == pytest.approx(expected)
    kernels = [weights[0] for weights in done.weights]
    moved = [float(np.linalg.norm(after - before)) for before, after in pairwise(kernels)]
    assert moved[-1] < 0.2 * moved[0]


@pytest.mark.parametrize(
    ("how", "settings"),
    [
        (r"loss is nan after", {"weight": 1e38, "training": SGD}),
        (r"loss is \d\S*, \d+ times that of guessing, after epoch 1 ", {"learning_rate": 1.0, "spread": 100.0}),
    ],
)
def test_training_that_diverges_is_one_message(tmp_path, how, settings):
    """By a loss that overflows, and by Adam at a learning rate of 1; the same on all backends."""
    with pytest.raises(UserError, match=rf"Training diverged: {how}.*\n.*learning rate"):
        train_head(tmp_path, **settings)


def test_a_phase_that_stops_early_ends_where_the_whole_one_was(tmp_path):
    """As the best of a study does, trained again on train and validation images."""
    settings = {"validation_images": 0, "schedule": "cosine", "epochs": 6}
    whole, stopped = (train_head(tmp_path / str(after), stop_after=after, **settings) for after in (0, 3))
    assert [record.learning_rate for record in stopped.history] == [
        record.learning_rate for record in whole.history.records[:3]
    ]
    assert_weights(stopped.model, whole.weights[2])


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
def test_every_optimiser_learns(tmp_path, optimizer):
    training = TrainingConfig(batch_size=16, label_smoothing=0.0, optimizer=optimizer)
    done = train_head(tmp_path, training=training, learning_rate=0.02)
    assert done.history.records[-1].loss < 0.7 * done.history.records[0].loss


# Version of cached heads -> losses of the first epochs of one. Where they change, heads on disk are not what training
# would give: raise checkpoints.VERSION, and put the new figures here.
HEADS = {
    3: {
        "jax": (0.98983, 0.87179, 0.82678),
        "tensorflow": (1.17427, 1.02278, 0.95450),
        "torch": (0.97420, 0.86050, 0.81300),
    }
}


def test_a_head_is_trained_as_its_version_says(tmp_path):
    done = train_head(tmp_path, epochs=3, learning_rate=0.01, schedule="cosine", weight_decay=0.01)
    assert [record.loss for record in done.history] == pytest.approx(HEADS[VERSION][backends.current_name()], rel=1e-3)


# === Whole schedules, against the straightforward way ===


@pytest.fixture
def compared(images, tmp_path):
    """Runs a schedule on stored activations, and the same schedule by hand on pixels; returns the worst difference."""

    def compare(*phases: PhaseConfig, **changes) -> float:
        split = {"train": 1.0, "validation": 0.0, "test": 0.0}
        session = open_session(small_toy(images, *phases, split=split, **changes))
        before = weights_of(session)
        activations = extract(session)
        fit(session, activations, tmp_path / f"checkpoints {session.config.seed}")
        after = weights_of(session)
        session.classifier.full().set_weights(before)
        model = train_by_hand(session, activations)
        trained = {id(variable) for variable in session.classifier.full().trainable_variables}
        assert trained
        worst = 0.0
        for variable, start, mine, reference in zip(
            model.weights, before, after, values_of(model.weights), strict=True
        ):
            moved = np.linalg.norm(reference - start)
            if moved == 0:
                np.testing.assert_array_equal(mine, reference, err_msg=variable.path)
            else:
                worst = max(worst, float(np.linalg.norm(mine - reference) / moved))
        assert worst > 0 or any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
        return worst

    return compare


def train_by_hand(session: Session, activations: Activations) -> keras.Model:
    """Every phase by Keras's `train_on_batch`, on the whole network and pixels, freezing by hand."""
    config, classifier = session.config, session.classifier
    model, network = classifier.full(), classifier.backbone.model
    names = [layer.name for layer in network.layers]
    bottom = classifier.backbone.cut(-1)
    pixels = Extractor(classifier, bottom, config).extract(session.dataset, {view: [bottom] for view in session.views})
    for phase in session.phases:
        x = CachedArray.concatenate([pixels[bottom.depth][view] for view in phase.views])
        training = replace(training_batches(session, activations, phase), x=x)
        first = classifier.backbone.cut(phase.depth).name
        start = (
            0
            if phase.depth == bottom.depth
            else next((i for i, name in enumerate(names) if name == first or name.startswith(f"{first}_")), len(names))
        )
        for i, layer in enumerate(network.layers):
            layer.trainable = i >= start and not isinstance(layer, keras.layers.BatchNormalization)
        # the whole network anew: Keras settles what is trained when a model is compiled
        model.compile(
            optimizer=keras.optimizers.Adam(phase.settings.learning_rate),
            loss=keras.losses.CategoricalCrossentropy(label_smoothing=config.training.label_smoothing),
        )
        for epoch in range(phase.settings.epochs):
            for batch in batches_of(training, phase.index, epoch):
                real = slice(batch.size)
                model.train_on_batch(
                    batch.x[real],
                    keras.utils.to_categorical(batch.labels[real], len(session.dataset.classes)),
                    sample_weight=batch.weights[real],
                )
    return model


def tuned(depth: int, epochs: int = 1) -> PhaseConfig:
    return PhaseConfig(epochs=epochs, unfreeze_depth=depth, learning_rate=1e-4)


# What the kit compiles is not what Keras compiles: an epoch of the head in one program, batches of one shape. Each is
# rounded in its own way, and differently on each processor. A wrong rate, order or weight is seen far above this bound.
AS_ROUNDED = 1e-3


@pytest.mark.full
def test_three_phases_of_which_the_last_is_shallower(compared):
    """72 images in batches of 8. The third phase trains block 3 and up, from the cut of the second, below block 2."""
    assert compared(tuned(0), tuned(2), tuned(1)) <= AS_ROUNDED


def test_the_head_alone(compared):
    assert compared(tuned(0, epochs=3)) <= AS_ROUNDED


@pytest.mark.full
def test_a_last_batch_that_is_not_full_with_smoothing_weights_and_views(compared):
    """72 images in batches of 20: 12 in the last one."""
    training = {"batch_size": 20, "label_smoothing": 0.1, "class_weights": "balanced"}
    views = {"count": 2}
    assert compared(tuned(0, epochs=2), tuned(2, epochs=2), training=training, views=views) <= AS_ROUNDED


@pytest.mark.full
def test_all_of_the_network(compared):
    assert compared(tuned(-1), training={"batch_size": 24}) <= AS_ROUNDED


# === Views that are read, and no others ===


@pytest.mark.parametrize(
    ("epochs", "at_the_base", "pooled", "read"), [(3, 5, 3, [(0, 1, 2), (3, 4, 0)]), (2, 4, 2, [(0, 1), (2, 3)])]
)
def test_only_views_that_are_read_are_computed(images, tmp_path, monkeypatch, epochs, at_the_base, pooled, read):
    """Of five views. The pooled features of the second phase's would be read by nobody."""
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path))
    phases = (PhaseConfig(epochs=epochs), PhaseConfig(epochs=epochs, unfreeze_depth=2))
    session = open_session(small_toy(images, *phases, views={"count": 5}))
    activations = extract(session)
    n, train = len(session.dataset.keys), len(session.dataset.indices("train"))
    names = [session.start(phase).name for phase in reversed(session.phases)]
    assert activations.computed == {
        name: n + (count - 1) * train for name, count in zip(names, (at_the_base, pooled), strict=True)
    }
    assert [phase.views for phase in session.phases] == read
    for phase in session.phases:
        batches = training_batches(session, activations, phase)
        orders = [batches.order(phase.index, epoch) for epoch in range(epochs)]
        rows = np.concatenate([order.rows[order.mask > 0] for order in orders])
        assert sorted(rows) == list(range(len(batches.x))) == list(range(epochs * train))


# === Where the store would be too large ===


@pytest.mark.full
def test_without_room_for_a_store_the_trunk_runs_again_and_trains_the_same(images, tmp_path, capsys):
    config = small_toy(images)
    results = []
    for limit in (50.0, 0.0):
        session = open_session(replace(config, training=replace(config.training, store_limit_gib=limit)))
        activations = extract(session)
        starts = {phase.start_depth: session.start(phase).depth for phase in session.phases}
        history = fit(session, activations, tmp_path / f"limit {limit}")
        results.append((starts, history, weights_of(session)))
    assert [starts for starts, _, _ in results] == [{0: 0, 2: 2}, {0: 0, 2: 4}]
    assert "more than training.store_limit_gib = 0: the frozen layers below it run again" in capsys.readouterr().err
    for stored, again in zip(results[0][1], results[1][1], strict=True):
        assert stored.loss == pytest.approx(again.loss, rel=1e-5)
        assert stored.val_accuracy == again.val_accuracy
    for stored, again in zip(results[0][2], results[1][2], strict=True):
        np.testing.assert_allclose(stored, again, atol=1e-6)


# === Class weights ===


def test_balanced_weights_give_each_class_the_same_weight(images):
    config = small_toy(images, training={"class_weights": "balanced"})
    session = open_session(config)
    activations = extract(session)
    weights = training_batches(session, activations, session.phases[0]).weights
    dataset = session.dataset
    labels = dataset.labels[dataset.indices("train")]
    totals = [weights[labels == k].sum() for k in range(CLASSES)]
    assert totals == pytest.approx([len(labels) / CLASSES] * CLASSES)
    assert len(set(np.bincount(labels))) > 1, "the classes are as large as each other: weights of 1 would pass too"
    plain = replace(session, config=replace(config, training=replace(config.training, class_weights="none")))
    assert set(training_batches(plain, activations, plain.phases[0]).weights) == {1.0}
