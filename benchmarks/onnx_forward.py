"""ONNX Runtime on the network of the other measurements; a child of `trunk.py`."""

from pathlib import Path
from typing import Annotated, Any

import common
import numpy as np
import typer

from kit import backends
from kit.files import write_json

OPSET = 17


def onnx_forward(
    weights: Annotated[str, typer.Option(help="A weights file, or `none`.")] = "none",
    image_size: Annotated[int, typer.Option(min=32)] = 224,
    alpha: Annotated[float, typer.Option()] = 1.0,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    seconds: Annotated[float, typer.Option(help="How long to measure.")] = 5.0,
    facts: Annotated[Path, typer.Option(help="Where to write what was measured, as JSON.")] = Path("facts.json"),
) -> None:
    """How many images a second ONNX Runtime takes through MobileNetV2, from scaled pixels to pooled features.

    The facts: those of common.rate_facts, and difference: the greatest between its features and Keras's; environment.
    """
    backends.start()
    import onnxruntime

    from kit.model.backbones import mobilenet_v2
    from kit.model.graph import multiply_adds
    from kit.model.weights import load_into, resolve

    backbone = mobilenet_v2(image_size, alpha)
    load_into(backbone.model, resolve(weights, alpha, image_size))
    session = onnxruntime.InferenceSession(_network(backbone.model), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).uniform(-1, 1, (batch_size, 3, image_size, image_size)).astype(np.float32)
    run = lambda: session.run(None, {"input": images})[0][:, :, 0, 0]  # noqa: E731
    found = common.measure(run, seconds)
    expected = np.asarray(backbone.model(images[:4].transpose(0, 2, 3, 1), training=False)).mean(axis=(1, 2))
    difference = float(np.abs(run()[:4] - expected).max())
    if difference > 1e-3:
        raise RuntimeError(f"the network was built wrongly: its features differ by {difference}")
    rate = common.rate_facts(found, batch_size, multiply_adds(backbone.model), _matrix_rate(onnxruntime), passes=1)
    environment = {**backends.describe(), "onnxruntime": onnxruntime.__version__}
    write_json(facts, {**rate, "difference": difference, "environment": environment})


def _network(model: Any) -> bytes:
    """Keras MobileNetV2 as ONNX: (n, 3, S, S) to (n, features, 1, 1)."""
    import keras
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants = [], []

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))

    def value(weight: Any) -> np.ndarray:
        return np.asarray(keras.ops.convert_to_numpy(weight))

    for layer in model.layers:
        out = layer.name
        if isinstance(layer, keras.layers.InputLayer):
            add("Identity", ["input"], out)
            continue
        reads = [tensor._keras_history.operation.name for tensor in keras.tree.flatten(layer.input)]
        if isinstance(layer, (keras.layers.DepthwiseConv2D, keras.layers.Conv2D)):
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            # Keras (h, w, in, out), depthwise (h, w, channels, 1); ONNX (out, in, h, w), depthwise (channels, 1, h, w)
            kernel = value(layer.kernel).transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
            groups = kernel.shape[0] if depthwise else 1
            padding = "SAME_UPPER" if layer.padding == "same" else "VALID"
            inputs = [*reads, constant(f"{out}/kernel", kernel)]
            add("Conv", inputs, out, strides=list(layer.strides), group=groups, auto_pad=padding)
        elif isinstance(layer, keras.layers.BatchNormalization):
            weights = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
            names = [constant(f"{out}/{i}", value(weight)) for i, weight in enumerate(weights)]
            add("BatchNormalization", [*reads, *names], out, epsilon=float(layer.epsilon))
        elif isinstance(layer, keras.layers.ReLU):
            limits = [constant(f"{out}/{limit}", np.float32(limit)) for limit in (0, 6)]
            add("Clip", [*reads, *limits], out)
        elif isinstance(layer, keras.layers.ZeroPadding2D):
            (top, bottom), (left, right) = layer.padding
            pads = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
            add("Pad", [*reads, constant(f"{out}/pads", pads)], out)
        elif isinstance(layer, keras.layers.Add):
            add("Add", reads, out)
        else:
            raise NotImplementedError(type(layer).__name__)
    add("GlobalAveragePool", [model.layers[-1].name], "pooled")
    size = model.input.shape[1]
    read = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, size, size])
    given = helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["n", model.output.shape[-1], 1, 1])
    graph = helper.make_graph(nodes, "mobilenet_v2", [read], [given], constants)
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return built.SerializeToString()


def _matrix_rate(onnxruntime: Any, side: int = 1024) -> float:
    """Floating-point operations a second of ONNX Runtime's matrix product."""
    from onnx import TensorProto, helper

    names = ("a", "b", "c")
    a, b, c = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [side, side]) for name in names)
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "product", [a, b], [c])
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    session = onnxruntime.InferenceSession(built.SerializeToString(), providers=["CPUExecutionProvider"])
    matrices = dict(zip("ab", np.random.default_rng(0).normal(size=(2, side, side)).astype(np.float32), strict=True))
    return 2 * side**3 / min(common.timed(lambda: session.run(None, matrices)) for _ in range(20))


if __name__ == "__main__":
    common.start(onnx_forward)
