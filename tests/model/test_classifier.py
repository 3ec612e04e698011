"""trunk | tail | head: every cut gives the whole network back, and only what lies above a cut is trained."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from kit import backends
from kit.model.backbones import Backbone, mobilenet_v2
from kit.model.classifier import Classifier, build_head

pytestmark = pytest.mark.backend

CLASSES = 3
ALL = range(20)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Four images of coloured patches, uint8 (4, 64, 64, 3)."""
    patches = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    return patches.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="module")
def backbone(pixels) -> Backbone:
    """A random network with the batch statistics of its own activations: images differ at its top."""
    backends.start(seed=1)
    backbone = mobilenet_v2(64, 0.35)
    normalisations = [layer for layer in backbone.model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in normalisations:
        layer.momentum = 0.0
    backbone.model(backbone.preprocessing(pixels), training=True)
    return backbone


@pytest.fixture(scope="module", params=["stock", "own"])
def classifier(request, backbone) -> Classifier:
    return Classifier(backbone, build_head(1280, CLASSES, 8, 0.0, 0), request.param)


def run(model: keras.Model, x):
    """Inference without compilation: what one model needs, the next one finds compiled."""
    outputs = model(x, training=False)
    if isinstance(outputs, (list, tuple)):
        return [keras.ops.convert_to_numpy(output) for output in outputs]
    return keras.ops.convert_to_numpy(outputs)


# === Split and joined ===


def test_trunk_and_tail_make_the_whole_network_at_every_cut(classifier, pixels):
    whole = run(classifier.full(), pixels)
    assert np.ptp(whole, axis=0).max() > 0.01  # the images differ, so equal rows would mean something
    cuts = classifier.backbone.cuts
    activations = run(classifier.trunk(cuts[-1], cuts[:-1]), pixels)
    close = 1e-5 if classifier.kernels == "stock" else 5e-5  # own kernels round otherwise: 1.4e-5 was seen
    for cut, rows in zip(cuts[:-1], activations, strict=True):
        assert rows.shape[1:] == classifier.shape(cut)
        np.testing.assert_allclose(run(classifier.tail(cut), rows), whole, atol=close, err_msg=cut.name)
    assert classifier.shape(cuts[-1]) == (64, 64, 3)
    np.testing.assert_allclose(run(classifier.tail(cuts[-1]), pixels), whole, atol=close)


@pytest.mark.parametrize(("start", "end"), [(19, 5), (8, 2), (5, 0), (1, 0)])
def test_a_trunk_between_two_cuts_continues_a_deeper_one(classifier, pixels, start, end):
    cuts = classifier.backbone.cuts
    begin = pixels if start == 19 else run(classifier.trunk(cuts[-1], (cuts[start],)), pixels)
    direct = run(classifier.trunk(cuts[-1], (cuts[end],)), pixels)
    found = run(classifier.trunk(cuts[start], (cuts[end],)), begin)
    np.testing.assert_allclose(found, direct, atol=1e-4)


def test_the_whole_network_takes_pixels_and_gives_probabilities(classifier, pixels):
    model = classifier.full()
    assert model.input.dtype == "uint8"
    assert model.input.shape == (None, 64, 64, 3)
    probabilities = run(model, pixels)
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (4, CLASSES)
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    # the preprocessing is inside: other pixels, other answers
    assert not np.allclose(probabilities, run(model, 255 - pixels), atol=1e-3)


@pytest.mark.full
def test_a_network_of_another_size_and_width():
    backends.start()
    classifier = Classifier(mobilenet_v2(96, 0.5), build_head(1280, 4, 0, 0.0, 0), "own")
    pixels = np.random.default_rng(1).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    cut = classifier.backbone.cut(6)
    rows = run(classifier.trunk(classifier.backbone.cut(-1), (cut,)), pixels)
    np.testing.assert_allclose(run(classifier.tail(cut), rows), run(classifier.full(), pixels), atol=1e-5)


# === What is trained ===


def names_above(depth: int) -> tuple[str, ...]:
    """Prefixes of the layers that a depth trains, written down independently of the cuts."""
    blocks = tuple(f"block_{number}_" for number in range(16, max(17 - depth + 1, 1) - 1, -1))[: max(depth - 1, 0)]
    stem = ("expanded_conv_",) if depth >= 18 else ()
    return (*(("Conv_1",) if depth >= 1 else ()), *blocks, *stem, *(("Conv1",) if depth >= 19 else ()))


@pytest.mark.parametrize("depth", [0, 1, 5, 18, 19])
def test_a_depth_trains_what_lies_above_its_cut_and_no_batch_normalisation(classifier, depth):
    model, head = classifier.backbone.model, classifier.head
    classifier.unfreeze(classifier.backbone.cut(19))  # what an earlier phase trained is frozen again
    classifier.unfreeze(classifier.backbone.cut(depth))
    expected = [
        weight.path
        for layer in model.layers
        if layer.name.startswith(names_above(depth)) and not isinstance(layer, keras.layers.BatchNormalization)
        for weight in layer.weights
    ]
    trained = classifier.full().trainable_variables
    assert [variable.path for variable in trained] == expected + [weight.path for weight in head.weights]
    assert not any("BN" in variable.path or "bn" in variable.path for variable in trained)
    # Conv1, or a depthwise and one or two pointwise kernels a block, or Conv_1
    kernels = {0: 0, 1: 1, 5: 1 + 4 * 3, 18: 1 + 16 * 3 + 2, 19: 1 + 16 * 3 + 2 + 1}[depth]
    assert len(trained) == kernels + 4


@pytest.mark.parametrize("depth", [1, 5])
def test_scale_and_offset_of_normalisation_are_trained_where_asked_for(classifier, pixels, depth):
    """By their moving statistics, whatever Keras does with layers that are trained; the saved network is frozen."""
    cut, other = classifier.backbone.cut(depth), replace(classifier, trains_normalisation=True)
    rows = run(classifier.trunk(classifier.backbone.cut(-1), (cut,)), pixels)
    expected = run(classifier.tail(cut), rows)
    classifier.unfreeze(cut)
    without = [variable.path for variable in classifier.tail(cut).trainable_variables]
    other.unfreeze(cut)
    tail = other.tail(cut)
    more = [variable.path for variable in tail.trainable_variables if variable.path not in without]
    assert len(more) == {1: 2, 5: 2 * (1 + 4 * 3)}[depth]
    assert all(path.endswith(("gamma", "beta")) for path in more)
    in_training = keras.ops.convert_to_numpy(tail(rows, training=True))
    np.testing.assert_allclose(in_training, expected, atol=5e-5)
    other.freeze_normalisation()
    assert [variable.path for variable in classifier.tail(cut).trainable_variables] == without


def test_the_parameters_trained_are_counted_right(classifier):
    """Depth 1 of alpha 0.35: Conv_1 takes 112 channels to 1280; the head is 1280 x 8 + 8 and 8 x 3 + 3."""
    classifier.unfreeze(classifier.backbone.cut(1))
    counted = sum(int(np.prod(variable.shape)) for variable in classifier.full().trainable_variables)
    assert counted == 112 * 1280 + (1280 * 8 + 8) + (8 * 3 + 3)


def test_the_depth_of_a_variable_is_the_first_that_trains_it(classifier):
    depths: dict[int, int] = {}
    for cut in classifier.backbone.cuts:
        classifier.unfreeze(cut)
        for variable in classifier.tail(cut).trainable_variables:
            depths.setdefault(id(variable), cut.depth)
    variables = classifier.full().trainable_variables
    assert classifier.depths(variables) == [depths[id(variable)] for variable in variables]
    assert set(depths.values()) == set(ALL)


@pytest.mark.parametrize("depth", [0, 1, 5, 19])
def test_a_tail_trains_the_same_variables_as_the_whole_network(classifier, depth):
    cut = classifier.backbone.cut(depth)
    classifier.unfreeze(cut)
    tail = {id(variable) for variable in classifier.tail(cut).trainable_variables}
    assert tail == {id(variable) for variable in classifier.full().trainable_variables}


def test_training_mode_does_not_move_batch_statistics(classifier, pixels):
    classifier.unfreeze(classifier.backbone.cut(19))
    tail = classifier.tail(classifier.backbone.cut(19))
    before = [keras.ops.convert_to_numpy(weight).copy() for weight in classifier.backbone.model.weights]
    in_training = keras.ops.convert_to_numpy(tail(pixels, training=True))
    np.testing.assert_allclose(in_training, run(tail, pixels), atol=1e-6)
    for old, weight in zip(before, classifier.backbone.model.weights, strict=True):
        np.testing.assert_array_equal(old, keras.ops.convert_to_numpy(weight))


# === Fingerprints ===


@pytest.mark.parametrize(
    ("depth", "below", "above"),
    [
        (0, "Conv_1", None),
        (1, "block_16_project", "Conv_1"),
        (5, "Conv1", "block_13_expand"),
        (5, "block_12_project_BN", "block_16_project_BN"),  # statistics of a normalisation count as weights
        (18, "Conv1", "expanded_conv_depthwise"),
    ],
)
def test_a_fingerprint_tells_of_the_weights_below_its_cut_alone(classifier, depth, below, above):
    cut = classifier.backbone.cut(depth)
    before = classifier.fingerprint(cut)
    assert len(before) == 64
    with changed(classifier.backbone.model.get_layer(below)):
        assert classifier.fingerprint(cut) != before
    for layer in [classifier.head.get_layer("hidden")] + (
        [classifier.backbone.model.get_layer(above)] if above else []
    ):
        with changed(layer):
            assert classifier.fingerprint(cut) == before
    assert classifier.fingerprint(cut) == before


def test_pixels_depend_on_no_weight(classifier):
    cut = classifier.backbone.cut(-1)
    before = classifier.fingerprint(cut)
    with changed(classifier.backbone.model.get_layer("Conv1")):
        assert classifier.fingerprint(cut) == before


class changed:
    """While it lasts, one number of a layer's last weight is another one."""

    def __init__(self, layer: keras.layers.Layer):
        self._weight = layer.weights[-1]
        self._old = keras.ops.convert_to_numpy(self._weight).copy()

    def __enter__(self):
        new = self._old.copy()
        new.reshape(-1)[0] += 1e-3
        self._weight.assign(new)

    def __exit__(self, *_):
        self._weight.assign(self._old)
