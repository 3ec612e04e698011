"""Smaller numbers inside an exported model: float16, or int8 whose ranges come from training images.

Inputs and outputs stay what they are: uint8 pixels, float32 probabilities. The layers of the strangeness stay float32
in ONNX, and in OpenVINO's int8: of cosines near 1, which they take from 1, smaller numbers leave little. A gate on
accuracy says whether the model may be handed over (`kit.export.parity`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kit.errors import ConfigError
from kit.export.formats import FLOAT16, FLOAT32, FORMATS, INT8, PRECISIONS, STRANGENESS, Format
from kit.run import Run
from kit.run_images import split_images

CALIBRATION_IMAGES = 200  # of the training split; that of TensorFlow's and NNCF's examples is 100 to 300


def require_precision(chosen: Format, precision: str) -> None:
    """Raise ConfigError unless the format can hold numbers of that precision."""
    if precision not in PRECISIONS:
        raise ConfigError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}.")
    if precision not in chosen.precisions:
        others = ", ".join(one.name for one in FORMATS if precision in one.precisions)
        raise ConfigError(f"The format {chosen.name} holds {FLOAT32} alone.", f"{precision} is for {others}.")


def calibration_files(run: Run, moved: str | None = None) -> tuple[Path, ...]:
    """At most CALIBRATION_IMAGES training images, drawn with the run's seed; DataError if some are gone."""
    files, _ = split_images(run, "train", moved, f"transferkit export {run.path} --format FORMAT --int8")
    drawn = np.random.default_rng(run.config.seed).permutation(len(files))[:CALIBRATION_IMAGES]
    return tuple(files[place] for place in sorted(drawn))


def reduce_onnx(path: Path, precision: str, images: np.ndarray) -> None:
    """Replace an ONNX model by one of smaller numbers; `images` as for `litert_options`."""
    import onnx

    if precision == FLOAT16:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        model = onnx.load(path)
        reduced = convert_float_to_float16(model, keep_io_types=True, node_block_list=_of_strangeness(model))
        _keep_whole(reduced.graph)
        onnx.save(reduced, path)
    elif precision == INT8:
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        class Reader(CalibrationDataReader):
            def __init__(self) -> None:
                self.left = _singly(images)

            def get_next(self) -> dict[str, np.ndarray] | None:
                return next(({"pixels": one} for one in self.left), None)

        prepared = path.with_suffix(".prepared")
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        # Weights without sign: on CPUs without VNNI products of 8 bits without and with sign overflow their 16. Weights
        # of 7 bits do not, but lost MobileNetV2 0.016 of accuracy, these 0.005 (docs/export.md).
        # https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
        quantize_static(
            prepared,
            path,
            Reader(),
            nodes_to_exclude=_of_strangeness(onnx.load(prepared)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QUInt8,
            extra_options={"WeightSymmetric": True},
        )
        prepared.unlink()


def _of_strangeness(model: Any) -> list[str]:
    """Names of an ONNX model's nodes for the strangeness."""
    return [node.name for node in model.graph.node if STRANGENESS in node.name]


def _keep_whole(graph: Any) -> None:
    """Hand on in float32 what a node of ONNX left in float32 hands to another: the converter rounds it on the way."""
    from onnx import TensorProto

    def casts(kind: int) -> list[Any]:
        found = (node for node in graph.node if node.op_type == "Cast")
        return [node for node in found if any(one.name == "to" and one.i == kind for one in node.attribute)]

    rounded = {node.output[0]: node for node in casts(TensorProto.FLOAT16)}
    for node in casts(TensorProto.FLOAT):
        if node.input[0] in rounded:
            node.input[0] = rounded[node.input[0]].input[0]
    read = {name for node in graph.node for name in node.input}
    for name, node in rounded.items():
        if name not in read:
            graph.node.remove(node)


def litert_options(precision: str, images: np.ndarray) -> dict[str, Any]:
    """Attributes of LiteRT's converter; it keeps to built-in operators, for a phone's interpreter has no others.

    `images`: uint8 (n, S, S, 3), whose activations give the ranges of int8; unused otherwise.
    """
    import tensorflow as tf

    target: dict[str, Any] = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    if precision == FLOAT32:
        return {"target_spec": target}
    options: dict[str, Any] = {"optimizations": [tf.lite.Optimize.DEFAULT], "target_spec": target}
    if precision == FLOAT16:
        target["supported_types"] = [tf.float16]
    else:
        target["supported_ops"].append(tf.lite.OpsSet.TFLITE_BUILTINS_INT8)
        options["representative_dataset"] = lambda: ([one] for one in _singly(images))
    return options


def reduce_openvino(model: Any, precision: str, images: np.ndarray) -> Any:
    """OpenVINO's model of int8; others are as they were, for float16 is a way of saving it."""
    if precision != INT8:
        return model
    import nncf

    # Mixed: activations of other layers than ReLU6 are not symmetric. Overflow: weights of 7 bits, which NNCF's models
    # of weights with a sign need on CPUs without VNNI.
    return nncf.quantize(
        model,
        nncf.Dataset(list(_singly(images))),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(images),
        ignored_scope=nncf.IgnoredScope(names=_of_strangeness_alone(model)),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.ENABLE,
        ),
    )


def _of_strangeness_alone(model: Any) -> list[str]:
    """Names of what OpenVINO computes for the output `strangeness` and no other."""

    def behind(result: Any) -> dict[str, Any]:
        found, left = {}, [result]
        while left:
            node = left.pop()
            if node.get_friendly_name() not in found:
                found[node.get_friendly_name()] = node
                left += [value.get_node() for value in node.input_values()]
        return found

    strange: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for output in model.outputs:
        (strange if STRANGENESS in output.names else others).update(behind(output.get_node()))
    return [name for name, node in strange.items() if name not in others and node.get_type_name() != "Constant"]


def _singly(images: np.ndarray) -> Iterator[np.ndarray]:
    """Batches of one."""
    return (image[None] for image in images)
