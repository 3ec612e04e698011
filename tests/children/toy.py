"""A backbone of three small blocks, for tests of what stands around a network: `toy.use()` makes it known.

It is found through the catalog as every other one is, and has what kernels and cuts have to deal with: a stem,
depthwise and pointwise convolutions, batch normalisation, a residual addition.
"""

from typing import TYPE_CHECKING

from kit.model.catalog import CENTRED, RECIPES, Published, Recipe

if TYPE_CHECKING:
    import keras

NAME = "toy"


def use() -> str:
    """Adds the backbone to the catalog; returns its name.

    Called by tests and fixtures, not on import: other files parametrise over the catalog while pytest collects them.
    """
    RECIPES.setdefault(NAME, TOY)
    return NAME


def build(input_shape: tuple[int, int, int], include_top: bool, weights: None) -> "keras.Model":
    """float32 (batch, 32, 32, 3) to (batch, 4, 4, 32), with random weights; takes any size."""
    import keras
    from keras import layers

    assert not include_top
    assert weights is None
    x = inputs = keras.Input(input_shape)
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(x)
    x = layers.ReLU(6.0, name="stem_relu")(layers.BatchNormalization(name="stem_bn")(x))
    x = layers.Add(name="block_1_add")([x, _block(x, "block_1", 8, strides=1)])
    x = _block(x, "block_2", 16, strides=2)
    x = _block(x, "block_3", 32, strides=2)
    return keras.Model(inputs, x)


def _block(x, name: str, filters: int, strides: int):
    from keras import layers

    x = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
    x = layers.ReLU(6.0, name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_depthwise_bn")(x))
    x = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_project")(x)
    return layers.BatchNormalization(name=f"{name}_project_bn")(x)


def _unpublished(alpha: float, image_size: int) -> Published:
    raise AssertionError("nobody publishes weights of the toy")


TOY = Recipe(name=NAME, builder="toy:build", pixels=CENTRED, blocks=r"block_\d+", deepest=4, imagenet=_unpublished)
