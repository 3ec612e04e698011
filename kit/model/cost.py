"""What a network costs to run, counted from its layers' shapes."""

import math

import keras
from keras import layers


def multiply_adds(model: keras.Model) -> int:
    """Multiply-adds of the convolutions and dense layers for one input; what lies between them is not counted.

    MobileNetV2 1.0 at 224 px without its classifier comes to about 300 million (Sandler et al., MobileNetV2: Inverted
    Residuals and Linear Bottlenecks, CVPR 2018, table 4).

    Args:
        model: Functional; models within it are counted as well.
    """
    return sum(_of_layer(layer) for layer in model.layers)


def _of_layer(layer: layers.Layer) -> int:
    if isinstance(layer, keras.Model):
        return multiply_adds(layer)
    if isinstance(layer, layers.Dense):
        return math.prod(layer.kernel.shape)
    if isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D)):
        channels_last = layer.data_format == "channels_last"
        positions = layer.output.shape[1:3] if channels_last else layer.output.shape[2:4]
        # a kernel is (height, width, read, written), a depthwise one (height, width, channels, multiplier)
        return math.prod(positions) * math.prod(layer.kernel.shape)
    return 0
