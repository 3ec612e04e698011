"""Multiply-adds of one prediction."""

import math

import keras

from kit.model.graph import inner_layers


def multiply_adds(model: keras.Model) -> int:
    """Multiply-adds of one image in convolutions and dense layers, nested ones included.

    Each kernel weight is used once per output position, so a layer costs kernel size · output height · output width:
    300 million in all for MobileNetV2 1.0 at 224 px [Sandler et al. 2018, arXiv:1801.04381, table 4]. Normalisation,
    activations and additions are left out, as there.
    """
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            total += multiply_adds(layer)
        elif (kernel := getattr(layer, "kernel", None)) is not None:
            total += math.prod(kernel.shape) * math.prod(layer.output.shape[1:-1])
        elif inside := [inner for inner in inner_layers(layer) if getattr(inner, "kernel", None) is not None]:
            total += _inside(layer, inside)
    return total


def _inside(layer: keras.layers.Layer, inside: list[keras.layers.Layer]) -> int:
    """Multiply-adds of layers nested in a KerasHub layer, which is called once to learn their output shapes."""
    counts = []

    def listen(inner: keras.layers.Layer) -> None:
        call = inner.call

        def counting(*args, **kwargs):
            outputs = call(*args, **kwargs)
            counts.append((id(inner), math.prod(inner.kernel.shape) * math.prod(outputs.shape[1:-1])))
            return outputs

        inner.call = counting

    for inner in inside:
        listen(inner)
    try:
        layer(keras.ops.zeros((1, *layer.input.shape[1:])), training=False)
    finally:
        for inner in inside:
            del inner.call
    return sum(dict(counts).values())
