"""TensorFlow.js graph model of a Keras network: https://www.tensorflow.org/js/guide/conversion, without its converter.

That converter, of the package tensorflowjs, reads no Keras 3 and brings JAX, Flax and decision forests. What it does to
a network of convolutions is little: fold what is constant, fuse convolution, normalisation and activation, and write
nodes as JSON and constants as bytes.
"""

import itertools
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

INPUT = "pixels"
_CONVOLUTIONS = {"Conv2D": "_FusedConv2D", "DepthwiseConv2dNative": "FusedDepthwiseConv2dNative"}
_ACTIVATIONS = ("Relu", "Relu6", "Elu")
_LEVELS = 2**23 - 1
_LARGE, _CHANNELS = 1024, 8  # smaller constants keep 32 bits
_PRODUCER = 1087  # version of the graph format that the nodes are of


@dataclass(frozen=True)
class GraphModel:
    """Graph model in memory.

    Attributes:
        topology: Nodes of the graph, as TensorFlow.js reads them from JSON.
        specs: Name, shape, type and perhaps bits of each constant, in the order of `weights`.
        weights: Their values, one after the other: 4 bytes each, or as `_stored` says where `bits` is 24.
        outputs: Name of the node of each output of the network.
    """

    topology: dict[str, Any]
    specs: list[dict[str, Any]]
    weights: bytes
    outputs: list[str]


def graph_model(network: keras.Model) -> GraphModel:
    """Convert a network of one input, on the TensorFlow backend, called with float32 pixels of any batch."""
    graph = _Graph(*_frozen(network))
    graph.fuse()
    return graph.write()


def _frozen(network: keras.Model) -> tuple[Any, list[str]]:
    """Graph in which variables and what follows from them alone are constants, and its outputs."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    shape = tf.TensorSpec((None, *network.input.shape[1:]), tf.float32, name=INPUT)
    called = tf.function(lambda pixels: network(pixels, training=False), input_signature=[shape])
    frozen = convert_variables_to_constants_v2(called.get_concrete_function())
    definition, outputs = frozen.graph.as_graph_def(), [_name(tensor.name) for tensor in frozen.outputs]
    depends = {frozen.inputs[0].op.name}
    for node in definition.node:  # in an order in which inputs come first
        if depends.intersection(map(_name, node.input)):
            depends.add(node.name)
    read = {name for node in definition.node if node.name in depends for name in node.input}
    wanted = sorted(name for name in read if not name.startswith("^") and _name(name) not in depends)
    with tf.compat.v1.Session(graph=frozen.graph) as session:
        values = dict(zip(wanted, session.run([_tensor(name) for name in wanted]), strict=True))
    kept = [node for node in definition.node if node.name in depends]
    return (kept, values), outputs


@dataclass
class _Graph:
    """Nodes that depend on the input, and the constants (name -> value) that they read."""

    parts: tuple[list[Any], dict[str, np.ndarray]]
    outputs: list[str]
    nodes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        nodes, self.constants = self.parts
        # control inputs and identities say nothing to TensorFlow.js
        same = {node.name: _name(node.input[0]) for node in nodes if node.op == "Identity"}

        def source(name: str) -> str:
            while name in same:
                name = same[name]
            return name

        for node in nodes:
            if node.op != "Identity":
                node.input[:] = [source(name) for name in node.input if not name.startswith("^")]
                self.nodes[node.name] = node
        self.outputs = [source(name) for name in self.outputs]

    def fuse(self) -> None:
        """Fuse each convolution with the factor, the offset and the activation that follow it alone."""
        readers = defaultdict(list)
        for node in self.nodes.values():
            for name in node.input:
                readers[_name(name)].append(node)

        def follower(node: Any, *kinds: str) -> Any:
            found = readers[node.name]
            alone = len(found) == 1 and node.name not in self.outputs and found[0].op in kinds
            return found[0] if alone else None

        for node in [one for one in self.nodes.values() if one.op in _CONVOLUTIONS]:
            kernel = self.constants.get(node.input[1])
            if kernel is None:
                continue
            channels = kernel.shape[3] if node.op == "Conv2D" else kernel.shape[2] * kernel.shape[3]
            last, offset, fused = node, np.zeros(channels, np.float32), [b"BiasAdd"]
            if (after := follower(last, "Mul")) is not None and (
                factor := self._each(after, last, channels)
            ) is not None:
                kernel = kernel * factor.reshape(kernel.shape[3:] if node.op == "Conv2D" else kernel.shape[2:])
                last = after
            following = follower(last, "AddV2", "BiasAdd")
            if following is not None and (added := self._each(following, last, channels)) is not None:
                offset, last = added, following
            if (after := follower(last, *_ACTIVATIONS)) is not None:
                fused.append(after.op.encode())
                last = after
            self._replace(node, last, kernel, offset, fused)

    def _each(self, node: Any, before: Any, channels: int) -> np.ndarray | None:
        """The constant that `node` adds to, or multiplies, each channel of `before` by."""
        others = [self.constants.get(name) for name in node.input if _name(name) != before.name]
        if len(others) != 1 or others[0] is None or others[0].size != channels:
            return None
        return others[0].reshape(channels) if others[0].shape[-1:] == (channels,) else None

    def _replace(self, node: Any, last: Any, kernel: np.ndarray, offset: np.ndarray, fused: list[bytes]) -> None:
        """Put one fused node, under the name of the last, in place of a convolution and what follows it."""
        operation = _CONVOLUTIONS[node.op]
        inputs = [node.input[0], f"{node.name}/kernel", f"{node.name}/offset"]
        self.constants[inputs[1]], self.constants[inputs[2]] = kernel.astype(np.float32), offset.astype(np.float32)
        name, first = last.name, node
        while first is not last:  # from the convolution on
            after = next(one for one in self.nodes.values() if first.name in map(_name, one.input))
            del self.nodes[first.name]
            first = after
        made = type(node)()
        made.CopyFrom(node)
        made.name, made.op = name, operation
        made.input[:] = inputs
        made.attr["fused_ops"].list.s.extend(fused)
        made.attr["num_args"].i = 1
        self.nodes[name] = made

    def write(self) -> GraphModel:
        from google.protobuf import json_format

        topology: list[dict[str, Any]] = []
        specs: list[dict[str, Any]] = []
        weights: list[bytes] = []
        read = dict.fromkeys(itertools.chain.from_iterable(node.input for node in self.nodes.values()))
        for name in (name for name in read if name in self.constants):
            value = self.constants[name]
            kind = "int32" if value.dtype.kind in "iu" else "float32"
            spec, content = _stored(value.astype(kind))
            specs.append({"name": name, "shape": list(value.shape), "dtype": kind, **spec})
            weights.append(content)
            stated = {"dtype": {"type": "DT_INT32" if kind == "int32" else "DT_FLOAT"}}
            topology.append({"name": name, "op": "Const", "attr": stated})
        for node in self.nodes.values():
            for attribute in [one for one in node.attr if one.startswith("_")]:
                del node.attr[attribute]
            topology.append(json_format.MessageToDict(node))
        return GraphModel(
            {"node": topology, "versions": {"producer": _PRODUCER}}, specs, b"".join(weights), self.outputs
        )


def _stored(value: np.ndarray) -> tuple[dict[str, Any], bytes]:
    """What is said of a constant's storage, and its bytes, a multiple of 4.

    A large kernel has whole numbers of 24 bits, and before them the step of each channel (its last axis), float32:
    normalisation that is folded in leaves channels of very different sizes. The page makes float32 of them.
    """
    value = np.ascontiguousarray(value)
    if value.dtype != np.float32 or value.size < _LARGE or value.shape[-1] < _CHANNELS:
        return {}, value.tobytes()
    rows = value.reshape(-1, value.shape[-1])
    steps = (np.abs(rows).max(0) / _LEVELS).astype(np.float32)
    levels = np.rint(rows / np.where(steps > 0, steps, 1).astype(np.float64)).clip(-_LEVELS, _LEVELS).astype("<i4")
    low = levels.reshape(-1, 1).view(np.uint8)[:, :3].tobytes()
    return {"bits": 24}, steps.tobytes() + low + b"\0" * (-len(low) % 4)


def _name(tensor: str) -> str:
    """Node of a tensor, or of a control input."""
    return tensor.partition(":")[0].lstrip("^")


def _tensor(name: str) -> str:
    return name if ":" in name else f"{name}:0"
