"""Epochs: every image once, every view as often as the others, and padding that nobody learns from."""

from collections import Counter
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest
from batchwise import batches_of, mixed, one_step
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from kit import backends
from kit.backends.kernels import OWN, STOCK, accelerate
from kit.cache import CachedArray, Store, writing
from kit.data.batches import Batches, padded
from kit.model.classifier import build_head, without_softmax
from kit.training.checkpoints import assign, values_of
from kit.training.forward import predict
from kit.training.loop import build_optimizer, build_steps

pytestmark = pytest.mark.backend


class ArrayRows(CachedArray):
    """Rows in memory, for what does not need a file."""

    def __init__(self, values: np.ndarray):
        self.values = values
        self.shape, self.dtype = values.shape, values.dtype

    def __len__(self):
        return len(self.values)

    def gather(self, indices, out=None):
        out[...] = self.values[indices]
        return out


def numbered(images: int, views: int, size: int, seed: int = 0) -> Batches:
    """Each row holds its own number: view v of image i is v * images + i."""
    rows = ArrayRows(np.arange(views * images, dtype=np.float32)[:, None])
    return Batches(rows, np.arange(images), size, np.linspace(1, 2, images), views, seed)


def seen(training: Batches, phase: int, epoch: int) -> list[tuple[int, int]]:
    """(image, view) of an epoch, in order, padding left out."""
    n = len(training.labels)
    found = []
    for batch in batches_of(training, phase, epoch):
        rows = batch.x[: batch.size, 0].astype(int)
        assert (rows % n == batch.labels[: batch.size]).all(), "a row came with another image's label"
        found += [(int(row % n), int(row // n)) for row in rows]
    return found


sizes = st.integers(1, 60)


@given(sizes, st.integers(1, 4), sizes, st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_an_epoch_sees_every_image_once(images, views, size, epoch, seed):
    found = seen(numbered(images, views, size, seed), 0, epoch)
    assert sorted(image for image, _ in found) == list(range(images))


@given(sizes, st.integers(1, 5), st.integers(0, 3), st.integers(0, 1000))
def test_v_epochs_use_each_of_v_views_of_an_image_once(images, views, first, seed):
    training = numbered(images, views, 16, seed)
    found = Counter(pair for epoch in range(first, first + views) for pair in seen(training, 1, epoch))
    assert found == {(image, view): 1 for image in range(images) for view in range(views)}


def test_an_epoch_mixes_all_views():
    views = Counter(view for _, view in seen(numbered(400, 4, 32), 0, 0))
    assert set(views) == {0, 1, 2, 3}
    assert max(views.values()) < 150  # of 100 expected


@given(sizes, sizes)
def test_batches_have_one_shape_and_padding_weighs_nothing(images, size):
    training = numbered(images, 1, size)
    batches = list(batches_of(training, 0, 0))
    assert len(batches) == len(training)
    assert sum(batch.size for batch in batches) == images
    for batch in batches:
        assert len(batch.x) == len(batch.labels) == len(batch.weights) == len(batch.mask) == size
        np.testing.assert_array_equal(batch.mask, np.arange(size) < batch.size)
        assert (batch.weights[batch.size :] == 0).all()
        np.testing.assert_allclose(batch.weights[: batch.size], training.weights[batch.labels[: batch.size]], rtol=1e-6)


def test_the_order_depends_on_seed_phase_and_epoch_alone():
    first = seen(numbered(50, 2, 8, seed=1), 0, 0)
    assert seen(numbered(50, 2, 8, seed=1), 0, 0) == first
    assert seen(numbered(50, 2, 16, seed=1), 0, 0) == first  # the batch size cuts the same order elsewhere
    others = [(2, 0, 0), (1, 1, 0), (1, 0, 1)]
    orders = [[image for image, _ in seen(numbered(50, 2, 8, seed), phase, epoch)] for seed, phase, epoch in others]
    assert all(order != [image for image, _ in first] for order in orders)


@given(sizes, sizes, st.integers(0, 3), st.integers(0, 2**32 - 1), st.floats(0.01, 4))
def test_mixing_pairs_the_samples_of_a_batch_and_moves_none(images, size, epoch, seed, mixup):
    plain = numbered(images, 2, size, seed)
    training = replace(plain, mixup=mixup)
    assert seen(training, 1, epoch) == seen(plain, 1, epoch)
    order = training.order(1, epoch)
    for partners, shares, mask in zip(order.partners, order.shares, order.mask, strict=True):
        samples = int(mask.sum())
        assert sorted(partners[:samples]) == list(range(samples))
        assert (partners[samples:] == np.arange(samples, size)).all()
        assert (shares == shares[0]).all()
        assert 0 <= shares[0] <= 1
    again = replace(plain, mixup=mixup).order(1, epoch)
    for one, other in zip(order.arrays, again.arrays, strict=True):
        np.testing.assert_array_equal(one, other)


def test_shares_are_of_the_beta_distribution():
    shares = replace(numbered(4000, 1, 1), mixup=0.2).order(0, 0).shares
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / (4 * (2 * 0.2 + 1)), rel=0.05)


def test_rows_of_a_store_are_gathered_in_the_order_asked_for():
    store = Store("features", {"test": "batches"}, (3,), np.float16)
    values = np.arange(30, dtype=np.float16).reshape(10, 3)
    keys = [f"{number:064d}" for number in range(10)]
    with writing([store], keys) as writer:
        writer.write(keys, [values])
    batch = padded(writer.arrays[0], np.array([7, 2, 2]), 5)
    np.testing.assert_array_equal(batch, np.concatenate([values[[7, 2, 2]], np.zeros((2, 3), np.float16)]))


# === Padding teaches nothing ===


@pytest.fixture(scope="module")
def head() -> keras.Model:
    backends.start()
    return build_head(6, 3, 5, 0.0, 0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_padding_changes_neither_loss_nor_update(head, smoothing):
    """A batch of 5 padded to 8, with rubbish in the padding, against the same 5 alone."""
    random = np.random.default_rng(0)
    x, labels = random.standard_normal((8, 6)).astype(np.float32), random.integers(0, 3, 8).astype(np.int32)
    weights = np.array([1, 2, 0.5, 1, 1, 0, 0, 0], np.float32)
    mask = (np.arange(8) < 5).astype(np.float32)
    start, results = values_of(head.variables), []
    for count in (8, 5):
        assign(head.variables, start)
        steps = build_steps(without_softmax(head), build_optimizer("sgd", 0.0), smoothing)
        sums = one_step(steps, x[:count], labels[:count], weights[:count], mask[:count], 0.1)
        steps.synchronise()
        results.append(([float(value) for value in sums], values_of(head.variables)))
    assign(head.variables, start)
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-6)
    for with_padding, without, before in zip(results[0][1], results[1][1], start, strict=True):
        np.testing.assert_allclose(with_padding, without, atol=1e-7)
        assert not np.array_equal(with_padding, before)


def head_alone() -> keras.Model:
    return without_softmax(build_head(6, 3, 5, 0.4, 11))


def convolved(kernels: str) -> keras.Model:
    """A convolution below the head; with stock kernels JAX makes its steps one call each, see `JaxSteps`."""
    inputs = keras.Input((5, 5, 3))
    kernel = keras.initializers.GlorotUniform(seed=7)
    maps = keras.layers.Conv2D(6, 3, strides=2, activation="relu", kernel_initializer=kernel)(inputs)
    segment = accelerate(keras.Model(inputs, maps), kernels)
    return keras.Model(inputs, head_alone()(keras.layers.GlobalAveragePooling2D()(segment(inputs))))


@pytest.mark.parametrize(
    ("name", "build", "shape"),
    [
        ("adam", head_alone, (6,)),
        ("sgd", head_alone, (6,)),
        ("sgd", partial(convolved, STOCK), (5, 5, 3)),
        ("sgd", partial(convolved, OWN), (5, 5, 3)),
    ],
)
def test_an_epoch_in_one_call_is_the_same_steps(name, build, shape):
    """Held rows against batches, with dropout, views, a last partial batch and a rate that moves."""
    backends.start(seed=3)
    values = np.random.default_rng(3).standard_normal((2 * 21, *shape)).astype(np.float16)
    training = Batches(ArrayRows(values), np.arange(21) % 3, 8, np.linspace(0.5, 2, 21), 2, seed=5)
    rates = np.linspace(0.02, 0.01, len(training), dtype=np.float32)

    def trained(held: bool) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        model = build()
        optimizer = build_optimizer(name, 0.0)
        steps = build_steps(model, optimizer, 0.1)
        totals = []
        for epoch in range(2):
            if held:
                sums = steps.train(steps.hold(values), training.order(1, epoch), rates)
                totals.append(np.asarray(sums, np.float64).sum(axis=1))
            else:
                batches = zip(batches_of(training, 1, epoch), rates, strict=True)
                each = [one_step(steps, b.x, b.labels, b.weights, b.mask, rate) for b, rate in batches]
                totals.append(np.array([[float(value) for value in pair] for pair in each]).sum(axis=0))
        steps.synchronise()
        return np.array(totals), (*values_of(model.variables), *values_of(optimizer.variables))

    (one_by_one, expected), (at_once, found) = trained(False), trained(True)
    np.testing.assert_allclose(at_once, one_by_one, rtol=1e-5)
    for mine, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-4, atol=1e-6)


def test_the_loss_is_keras_own_with_weights_and_smoothing(head):
    """One step of SGD without padding against `train_on_batch`, which divides the weighted sum by the batch too."""
    random = np.random.default_rng(1)
    x, labels = random.standard_normal((8, 6)).astype(np.float32), random.integers(0, 3, 8).astype(np.int32)
    weights = random.uniform(0.5, 2, 8).astype(np.float32)
    start = values_of(head.variables)
    steps = build_steps(without_softmax(head), build_optimizer("sgd", 0.0), 0.1)
    loss, correct = (float(value) for value in one_step(steps, x, labels, weights, np.ones(8, np.float32), 0.1))
    steps.synchronise()
    kit = values_of(head.variables)
    assign(head.variables, start)
    plain = keras.ops.convert_to_numpy(head(x))
    assert loss == pytest.approx(-np.log(plain[np.arange(8), labels]).sum(), rel=1e-5)  # what the history shows: plain
    assert correct == (plain.argmax(axis=1) == labels).sum()
    head.compile(
        optimizer=keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
    )
    head.train_on_batch(x, keras.utils.to_categorical(labels, 3), sample_weight=weights)
    for mine, reference in zip(kit, values_of(head.variables), strict=True):
        np.testing.assert_allclose(mine, reference, atol=1e-6)
    assign(head.variables, start)


def test_mixed_samples_learn_what_keras_learns_of_mixed_labels(head):
    """Two steps of SGD, the second padded with rubbish, against `train_on_batch` on samples and labels mixed here."""
    random = np.random.default_rng(4)
    values, classes = random.standard_normal((13, 6)).astype(np.float16), np.arange(13) % 3
    training = Batches(ArrayRows(values), classes, 8, np.ones(13), seed=4, mixup=0.4)
    start, order = values_of(head.variables), training.order(0, 0)
    steps = build_steps(without_softmax(head), build_optimizer("sgd", 0.0), 0.1)
    rates = np.full(2, 0.1, np.float32)
    loss, correct = (np.asarray(sums) for sums in steps.train(steps.hold(values), order, rates))
    steps.synchronise()
    found = values_of(head.variables)
    assign(head.variables, start)
    head.compile(
        optimizer=keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
    )
    pairs = mixed(training, 0, 0)
    for number, (batch, (partners, shares)) in enumerate(zip(batches_of(training, 0, 0), pairs, strict=True)):
        x, y = batch.x[: batch.size].astype(np.float32), np.eye(3)[batch.labels[: batch.size]]
        x, y = (part * shares[:, None] + part[partners] * (1 - shares[:, None]) for part in (x, y))
        probabilities = keras.ops.convert_to_numpy(head(x))
        assert loss[number] == pytest.approx(-(y * np.log(probabilities)).sum(), rel=1e-5)
        assert correct[number] == pytest.approx(y[np.arange(len(y)), probabilities.argmax(axis=1)].sum(), rel=1e-5)
        head.train_on_batch(x, y)
    for mine, reference in zip(found, values_of(head.variables), strict=True):
        np.testing.assert_allclose(mine, reference, atol=1e-6)
    assign(head.variables, start)


def test_predictions_of_a_padded_last_batch_are_those_of_each_row_alone(head):
    rows = ArrayRows(np.random.default_rng(2).standard_normal((11, 6)).astype(np.float32))
    steps = build_steps(without_softmax(head), build_optimizer("adam", 0.0), 0.0)
    found = predict(steps.predict, rows, 4)
    assert found.shape == (11, 3)
    np.testing.assert_allclose(softmax(found, axis=1), keras.ops.convert_to_numpy(head(rows.values)), atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "rmsprop"])
def test_variables_of_another_scale_learn_as_at_that_rate(name):
    """The hidden layer at half the rate and the output at the whole one: weight decay goes with the rate."""
    head = build_head(6, 3, 5, 0.0, 0)
    random = np.random.default_rng(0)
    x, labels = random.standard_normal((8, 6)).astype(np.float32), random.integers(0, 3, 8).astype(np.int32)
    start, ones = values_of(head.variables), np.ones(8, np.float32)

    def moved(rate: float, scales: tuple[float, ...] = ()) -> list[np.ndarray]:
        assign(head.variables, start)
        steps = build_steps(without_softmax(head), build_optimizer(name, 0.3), 0.1, scales)
        one_step(steps, x, labels, ones, ones, rate)
        steps.synchronise()
        return [new - old for new, old in zip(values_of(head.variables), start, strict=True)]

    half, whole, found = moved(0.01), moved(0.02), moved(0.02, (0.5, 0.5, 1.0, 1.0))
    for mine, expected, other in zip(found, half[:2] + whole[2:], whole[:2] + half[2:], strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-7)
        assert not np.allclose(mine, other, rtol=0.1, atol=1e-7)


def test_weight_decay_spares_biases():
    model = build_head(6, 3, 5, 0.0, 0)
    for variable in model.variables:
        variable.assign(np.ones(variable.shape, np.float32))
    steps = build_steps(without_softmax(model), build_optimizer("adamw", 0.5), 0.0)
    x = np.zeros((4, 6), np.float32)
    one_step(steps, x, np.zeros(4, np.int32), np.zeros(4, np.float32), np.ones(4, np.float32), 0.1)
    steps.synchronise()
    for variable in model.variables:  # without any weight in the loss, decay alone moves anything
        expected = 1.0 if variable.path.endswith("bias") else 0.95
        np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), expected, rtol=1e-5)


def test_weight_decay_spares_the_scales_of_layer_normalisation():
    inputs = keras.Input((6,))
    outputs = keras.layers.Dense(3)(keras.layers.LayerNormalization()(inputs))
    model = keras.Model(inputs, outputs)
    for variable in model.variables:
        variable.assign(np.ones(variable.shape, np.float32))
    steps = build_steps(model, build_optimizer("adamw", 0.5), 0.0)
    one_step(
        steps, np.zeros((4, 6), np.float32), np.zeros(4, np.int32), np.zeros(4, np.float32), np.ones(4, np.float32), 0.1
    )
    steps.synchronise()
    found = {tuple(variable.shape): np.asarray(variable).mean() for variable in model.variables}
    assert found == pytest.approx({(6,): 1.0, (6, 3): 0.95, (3,): 1.0})


def test_a_confident_mistake_is_learnt_from():
    """A wrong logit leads by 100: from probabilities in float32 the gradient would be 0, and the loss capped at 16."""
    head = build_head(6, 3, 0, 0.0, 0)
    kernel, bias = head.layers[-1].kernel, head.layers[-1].bias
    kernel.assign(np.zeros(kernel.shape, np.float32))
    bias.assign(np.array([100, 0, 0], np.float32))
    steps = build_steps(without_softmax(head), build_optimizer("sgd", 0.0), 0.0)
    x, labels, ones = np.ones((4, 6), np.float32), np.ones(4, np.int32), np.ones(4, np.float32)
    loss, correct = one_step(steps, x, labels, ones, ones, 0.1)
    steps.synchronise()
    assert (float(loss), float(correct)) == (pytest.approx(400), 0)
    moved = np.asarray(bias) - [100, 0, 0]  # Nesterov momentum 0.9: 1.9 times the rate
    np.testing.assert_allclose(moved, [-0.19, 0.19, 0], atol=1e-5)


def test_neighbouring_seeds_share_no_stream():
    """Hidden and output layers of the same shape: with seeds s and s + 1 the output's is the next one's hidden."""
    kernels = []
    for seed in range(4):
        head = build_head(5, 5, 5, 0.5, seed)
        kernels += [np.asarray(layer.kernel) for layer in head.layers if hasattr(layer, "kernel")]
    assert len(kernels) == 8
    for i, one in enumerate(kernels):
        assert not any(np.array_equal(one, other) for other in kernels[:i])
    first, again = (build_head(5, 5, 5, 0.5, 0) for _ in range(2))
    np.testing.assert_array_equal(np.asarray(first.layers[1].kernel), np.asarray(again.layers[1].kernel))
