"""The kit's own kernels compute what Keras's layers compute, forward and backward, with the very same variables."""

import json
import zipfile

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doubles import swap
from kit import backends
from kit.backends.kernels import OWN, STOCK, accelerate, choose, keeps_keras_convolutions
from kit.model.backbones import mobilenet_v2
from kit.model.classifier import Classifier, build_head

pytestmark = pytest.mark.backend

BATCH = 2
# (alpha, image size): the usual network; the narrowest and a wide one; an odd size, whose strided layers pad otherwise.
NETWORKS = (
    pytest.param(1.0, 224, marks=pytest.mark.full),
    (0.35, 96),
    pytest.param(1.4, 75, marks=pytest.mark.full),
)


@pytest.fixture(scope="module", autouse=True)
def _started():
    backends.start()


def pull_back(models: list[keras.Model], inputs: list[np.ndarray], cotangents: list[np.ndarray]):
    """For each model: its output, then the gradients of Σ output · cotangent with respect to input and variables.

    All models are compiled together: one compilation instead of a hundred.
    """
    if keras.backend.backend() == "jax":
        import jax

        def one(model, variables, other, x, cotangent):
            def forward(variables, x):
                return model.stateless_call(variables, other, x, training=True)[0]

            output, back = jax.vjp(forward, variables, x)
            of_variables, of_input = back(cotangent)
            return [output, of_input, *of_variables]

        def every(variables, others, inputs, cotangents):
            return [one(*parts) for parts in zip(models, variables, others, inputs, cotangents, strict=True)]

        variables = [[variable.value for variable in model.trainable_variables] for model in models]
        others = [[variable.value for variable in model.non_trainable_variables] for model in models]
        results = jax.jit(every)(variables, others, inputs, cotangents)
        return [[np.asarray(part) for part in parts] for parts in results]
    if keras.backend.backend() == "torch":
        return [_pull_back_by_torch(*parts) for parts in zip(models, inputs, cotangents, strict=True)]
    import tensorflow as tf

    results = []
    for model, x, cotangent in zip(models, map(tf.constant, inputs), cotangents, strict=True):
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = model(x, training=True)
        sources = [x, *(variable.value for variable in model.trainable_variables)]
        results.append([part.numpy() for part in (output, *tape.gradient(output, sources, cotangent))])
    return results


def _pull_back_by_torch(model: keras.Model, inputs: np.ndarray, cotangent: np.ndarray) -> list[np.ndarray]:
    import torch

    x = torch.from_numpy(inputs).requires_grad_()
    output = model(x, training=True)
    sources = [x, *(variable.value for variable in model.trainable_variables)]
    gradients = torch.autograd.grad(output, sources, torch.from_numpy(cotangent))
    return [part.detach().numpy() for part in (output, *gradients)]


def assert_same_arithmetic(models: list[keras.Model], random: np.random.Generator) -> None:
    """Own kernels against stock: forward within 1e-4 of the largest output, each gradient within 1e-3 of its norm."""
    own = [accelerate(model, OWN) for model in models]
    inputs = [random.standard_normal((BATCH, *model.input.shape[1:])).astype(np.float32) for model in models]
    outputs = [random.standard_normal((BATCH, *model.output.shape[1:])).astype(np.float32) for model in models]
    expected, found = pull_back(models, inputs, outputs), pull_back(own, inputs, outputs)
    for model, other, (output, *gradients), (own_output, *own_gradients) in zip(
        models, own, expected, found, strict=True
    ):
        name = model.layers[-1].name
        assert [variable.path for variable in other.trainable_variables] == [
            variable.path for variable in model.trainable_variables
        ]
        assert np.abs(output).max() > 0
        assert np.abs(own_output - output).max() <= 1e-4 * np.abs(output).max(), name
        for gradient, own_gradient in zip(gradients, own_gradients, strict=True):
            assert gradient.shape == own_gradient.shape
            assert np.linalg.norm(own_gradient - gradient) <= 1e-3 * np.linalg.norm(gradient), name


def convolutions(model: keras.Model) -> list[keras.Model]:
    """Each convolution of a network with the frozen normalisation that reads it; one of each kind and shape."""
    random, found = np.random.default_rng(1), {}
    for layer, reader in zip(model.layers, model.layers[1:], strict=False):
        if not isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
            continue
        assert isinstance(reader, keras.layers.BatchNormalization), "MobileNetV2 normalises after each convolution"
        key = (type(layer), layer.input.shape, layer.output.shape, layer.kernel.shape, tuple(layer.strides))
        if key not in found:
            reader.trainable = False
            # as a trained network has them: nothing is 0 or 1 that a mistake could hide behind
            for weight in (reader.gamma, reader.moving_variance):
                weight.assign(random.uniform(0.5, 2.0, weight.shape).astype(np.float32))
            for weight in (reader.beta, reader.moving_mean):
                weight.assign(random.normal(0, 0.5, weight.shape).astype(np.float32))
            found[key] = keras.Model(layer.input, reader.output)
    return list(found.values())


@pytest.mark.parametrize(("alpha", "size"), NETWORKS)
def test_every_convolution_of_mobilenet_gives_the_same_values_and_gradients(alpha, size):
    models = convolutions(mobilenet_v2(size, alpha).model)
    layers = [layer for model in models for layer in model.layers]
    strides = {tuple(layer.strides) for layer in layers if isinstance(layer, keras.layers.DepthwiseConv2D)}
    assert strides == {(1, 1), (2, 2)}
    assert len(models) >= 20
    assert_same_arithmetic(models, np.random.default_rng(0))


def test_no_slow_convolution_is_left():
    stock = mobilenet_v2(32, 0.35).model
    accelerated = accelerate(stock, OWN)
    assert not keeps_keras_convolutions(accelerated)
    assert keeps_keras_convolutions(stock)
    layers = accelerated.layers
    assert not any(isinstance(layer, keras.layers.DepthwiseConv2D) for layer in layers)
    assert not any(type(layer) is keras.layers.Conv2D and layer.kernel_size == (1, 1) for layer in layers)


OPTIONS = st.fixed_dictionaries(
    {
        "kernel_size": st.sampled_from([1, 2, 3, 5, (3, 5)]),
        "padding": st.sampled_from(["valid", "same"]),
        "use_bias": st.booleans(),
        "activation": st.sampled_from([None, "relu6"]),
    },
)
# TensorFlow has no strides together with dilation
STEPS = st.sampled_from([{}, {"strides": 2}, {"strides": 3}, {"dilation_rate": 2}])


@settings(max_examples=12)
@given(OPTIONS, STEPS, st.sampled_from(["depthwise", "doubled", "full"]), st.booleans(), st.integers(9, 11))
def test_any_convolution_is_computed_as_the_stock_layer_computes_it(options, steps, kind, normalised, side):
    """Also what the shifted form cannot do, and must leave alone."""
    channels = 3
    if kind == "full":
        layer = keras.layers.Conv2D(4, bias_initializer=keras.initializers.RandomNormal(seed=2), **options, **steps)
    else:
        layer = keras.layers.DepthwiseConv2D(
            depth_multiplier=2 if kind == "doubled" else 1,
            bias_initializer=keras.initializers.RandomNormal(seed=2),
            **options,
            **steps,
        )
    x = keras.Input((side, side + 1, channels))
    y = layer(x)
    if normalised:
        normalisation = keras.layers.BatchNormalization(
            trainable=False,
            beta_initializer=keras.initializers.RandomNormal(stddev=1, seed=1),
            moving_mean_initializer=keras.initializers.RandomNormal(stddev=1, seed=2),
            gamma_initializer=keras.initializers.RandomUniform(0.5, 2, seed=3),
        )
        y = normalisation(y)
    model = keras.Model(x, y)
    inputs = np.random.default_rng(side).standard_normal((BATCH, side, side + 1, channels)).astype(np.float32)
    expected = keras.ops.convert_to_numpy(model(inputs))
    found = keras.ops.convert_to_numpy(accelerate(model, OWN)(inputs))
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_bias_activation_and_larger_kernels_have_gradients_too():
    models = []
    for layer in (
        keras.layers.DepthwiseConv2D(3, activation="relu6", bias_initializer=keras.initializers.RandomNormal(seed=1)),
        keras.layers.Conv2D(5, 1, activation="relu6", bias_initializer=keras.initializers.RandomNormal(seed=2)),
        # of EfficientNet: padded by the layer itself, on both sides alike or not
        keras.layers.DepthwiseConv2D(5, padding="same"),
        keras.layers.DepthwiseConv2D(5, strides=2, padding="same"),
        keras.layers.DepthwiseConv2D(3, strides=2, padding="same"),
    ):
        x = keras.Input((6, 6, 4))
        models.append(keras.Model(x, layer(x)))
    assert not any(map(keeps_keras_convolutions, (accelerate(model, OWN) for model in models)))
    assert_same_arithmetic(models, np.random.default_rng(3))


# === One set of variables ===


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(mobilenet_v2(32, 0.35), build_head(1280, 3, 8, 0.0, 0), OWN)


def test_an_accelerated_model_has_the_variables_of_the_stock_model(classifier):
    model = classifier.backbone.model
    own = accelerate(model, OWN)
    assert {id(variable) for variable in own.variables} == {id(variable) for variable in model.variables}
    assert len(own.variables) == len(model.variables)
    assert accelerate(model, STOCK) is model


@pytest.mark.full
def test_assigning_through_one_is_seen_by_the_other(classifier):
    model = classifier.backbone.model
    own = accelerate(model, OWN)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    before = keras.ops.convert_to_numpy(own(images))
    kernel = model.get_layer("Conv_1").kernel
    old = keras.ops.convert_to_numpy(kernel)
    kernel.assign(old * 2)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(own(images)), np.minimum(before * 2, 6), rtol=1e-4)
    kernel.assign(old)


def test_freezing_a_stock_layer_freezes_its_replacement(classifier):
    classifier.unfreeze(classifier.backbone.cut(1))
    tail = classifier.tail(classifier.backbone.cut(3))
    paths = [variable.path for variable in tail.trainable_variables]
    assert paths == ["Conv_1/kernel", *(variable.path for variable in classifier.head.variables)]


def test_a_saved_model_holds_plain_keras_layers_only(classifier, tmp_path):
    classifier.tail(classifier.backbone.cut(5))  # a model of own kernels exists beside the one that is saved
    classifier.full().save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        config = json.loads(archive.read("config.json"))
    classes = list(_classes(config))
    assert {"Functional", "Conv2D", "DepthwiseConv2D", "Rescaling", "Dense"} <= {name for _, name, _ in classes}
    assert {module.split(".")[0] for module, _, _ in classes} == {"keras"}
    assert {registered for _, _, registered in classes} <= {None, "Functional"}


def _classes(config):
    """(module, class, registered name) of everything in a Keras configuration."""
    if isinstance(config, dict):
        if config.get("module"):
            yield config["module"], config["class_name"], config.get("registered_name")
        for value in config.values():
            yield from _classes(value)
    elif isinstance(config, list):
        for value in config:
            yield from _classes(value)


@pytest.mark.parametrize(
    ("requested", "device", "kernels"),
    [
        ("auto", "cpu", OWN),  # measured: stock layers are slower on either backend
        ("auto", "gpu", STOCK),  # what was not measured keeps Keras's layers
        ("auto", "tpu", STOCK),
        ("stock", "cpu", STOCK),  # what is asked for is had
        ("own", "gpu", OWN),
    ],
)
def test_the_choice_depends_on_the_device(monkeypatch, requested, device, kernels):
    swap(monkeypatch, backends.current(), "device", lambda: device)
    assert choose(requested) == kernels
