"""Multiply-adds, against the paper and against counting by hand."""

import keras
import pytest

from kit.model.graph import multiply_adds

pytestmark = [pytest.mark.backend, pytest.mark.once(backend="tensorflow")]


def test_a_small_network_by_hand():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, padding="same", strides=2),
            keras.layers.DepthwiseConv2D(3, padding="same"),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(5),
        ]
    )
    assert multiply_adds(model) == 4 * 4 * (3 * 3 * 3 * 4) + 4 * 4 * (3 * 3 * 4) + 4 * 5


def test_nested_models_count():
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    assert multiply_adds(keras.Sequential([keras.Input((3,)), inner])) == 6


def test_mobilenet_v2_is_as_in_its_paper():
    """Table 4 of arXiv:1801.04381 has 300 million."""
    model = keras.applications.MobileNetV2(weights=None)
    assert abs(multiply_adds(model) / 300e6 - 1) < 0.01
