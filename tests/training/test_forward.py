"""Inference from the pixels on: the passes that suit a backend best give what the stock network does."""

import keras
import numpy as np
import pytest
from small import SIZE

from kit import backends
from kit.config import DataConfig, ModelConfig, RunConfig
from kit.model.classifier import Classifier
from kit.model.weights import resolve
from kit.training.forward import compile_forward, compile_from_pixels
from kit.training.session import build_classifier
from networks import ALPHA, lively

pytestmark = pytest.mark.backend


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    """With the kit's own kernels; images go one by one up to block 4, whose maps have 8 x 8 positions."""
    backends.start(seed=5)
    config = RunConfig(data=DataConfig(image_size=SIZE), model=ModelConfig(alpha=ALPHA, weights="none", kernels="own"))
    classifier = build_classifier(config, 3, resolve("none", ALPHA, SIZE))
    lively(classifier.backbone)
    return classifier


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (19, SIZE, SIZE, 3)).astype(np.uint8)


# the whole network; ends above, at and below the first map that is small enough for images to go together
@pytest.mark.parametrize("depths", [None, (0,), (3, 1), (12,), (14,), (16, 0), (18,)])
def test_images_give_what_the_stock_network_gives(classifier, images, depths):
    ends = None if depths is None else tuple(classifier.backbone.cut(depth) for depth in depths)
    found = compile_from_pixels(classifier, ends)(images)
    stock = Classifier(classifier.backbone, classifier.head, "stock")
    start = classifier.backbone.cut(-1)
    model = stock.tail(start) if ends is None else stock.trunk(start, ends)
    for one, expected in zip(found, keras.tree.flatten(model.predict(images, verbose=0)), strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-4)


def test_an_image_gives_the_same_alone_and_among_others(classifier, images):
    forward = compile_from_pixels(classifier)
    (together,) = forward(images)
    for number in (0, 7, 18):
        np.testing.assert_allclose(forward(images[number : number + 1])[0][0], together[number], rtol=1e-5, atol=1e-6)


def test_sums_of_more_than_32768_rows_are_right():
    """As jaxlib 0.10.2 has them wrong on a CPU, a thousandfold (https://github.com/jax-ml/jax/issues/39103)."""
    backends.start()
    x = np.random.default_rng(0).standard_normal((40_000, 3)).astype(np.float32)
    inputs = keras.Input((3,))
    rows = keras.ops.matmul(keras.ops.eye(3), keras.ops.transpose(inputs))
    (found,) = compile_forward(keras.Model(inputs, keras.ops.sum(rows**2, axis=0)))(x)
    np.testing.assert_allclose(found, (x.astype(np.float64) ** 2).sum(axis=1), rtol=1e-5)
