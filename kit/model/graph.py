"""Graph of a functional model: gateways (operations that dominate the output) and blocks.

Every path from the input to the output passes through a gateway: only there can one tensor join a trunk and a tail.
Nothing here knows any particular network.
"""

import math
import re
from typing import Any

import keras


def gateways(model: keras.Model) -> list[Any]:
    """Operations on every path from input to output, both included.

    The model must be functional, with one input and one output. Walking from the input up, a gateway is an operation
    that leaves no earlier output still to be read.
    """
    ordered = model.operations  # Keras lists each after all that it reads
    last_read = {id(one): place for place, one in enumerate(ordered)}
    for place, one in enumerate(ordered):
        for source in sources(one):
            last_read[id(source)] = place
    found, open_until = [], 0
    for place, one in enumerate(ordered):
        if open_until <= place and len(keras.tree.flatten(one.output)) == 1:
            found.append(one)
        open_until = max(open_until, last_read[id(one)])
    return found


def sources(operation: Any) -> list[Any]:
    """Operations that an operation reads; none for an input."""
    if isinstance(operation, keras.layers.InputLayer):
        return []
    return [tensor._keras_history.operation for tensor in keras.tree.flatten(operation.input)]


def block_starts(model: keras.Model, pattern: str) -> list[tuple[str, str]]:
    """First operations of the blocks of a functional model with one input and one output.

    A block is named by the match of `pattern`, a regular expression, at the beginning of its layers' names. A layer
    without a match belongs to the block before it, or to the stem. Returns, from the input up, the block's name and
    that of the last gateway below its first operation. A block that no gateway separates from the one before, or from
    the input, counts as one with it.
    """
    passed = {id(one) for one in gateways(model)}
    starts: list[tuple[str, str]] = []
    seen: set[str] = set()
    first = gateway = model.operations[0].name
    for one in model.operations:
        match = re.match(pattern, one.name)
        if match and match[0] not in seen:
            seen.add(match[0])
            if gateway not in {first, *(below for _, below in starts)}:
                starts.append((match[0], gateway))
        if id(one) in passed:
            gateway = one.name
    return starts


def output_of(model: keras.Model, name: str) -> keras.KerasTensor:
    """Output of the operation of a name."""
    return next(one for one in model.operations if one.name == name).output


def inner_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """A layer and all layers nested in it, as in models and in layers of KerasHub."""
    return list(layer._flatten_layers(include_self=True, recursive=True))


def structure(layer: Any) -> Any:
    """Settings and connections of a layer or model (by operation) as JSON values, without names or weights."""
    if isinstance(layer, keras.Sequential):
        return [structure(inner) for inner in layer.layers]
    if not isinstance(layer, keras.Model):
        return [type(layer).__name__, _nameless(keras.saving.serialize_keras_object(layer)["config"])]
    places = {id(one): place for place, one in enumerate(layer.operations)}
    return [[structure(one), [places[id(source)] for source in sources(one)]] for one in layer.operations]


def _nameless(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: _nameless(value) for key, value in config.items() if key not in ("name", "trainable", "seed")}
    return [_nameless(one) for one in config] if isinstance(config, list | tuple) else config


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
