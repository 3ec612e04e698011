"""What one prediction costs, whatever computes it."""

import math

import keras


def multiply_adds(model: keras.Model) -> int:
    """Multiply-adds of one image through the convolutions and dense layers of a model, nested ones included.

    Each weight of a kernel is used once at every place of its layer's output, so a layer costs
    kernel size · output height · output width: 300 million in all for MobileNetV2 1.0 at 224 px
    [Sandler et al. 2018, arXiv:1801.04381, table 4]. Normalisation, activations and additions are left out, as there.
    """
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            total += multiply_adds(layer)
        elif (kernel := getattr(layer, "kernel", None)) is not None:
            total += math.prod(kernel.shape) * math.prod(layer.output.shape[1:-1])
    return total
