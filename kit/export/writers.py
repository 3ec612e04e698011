"""Writers: a trained classifier -> a model's files, by each format's own library.

Every model takes uint8 (batch, S, S, 3), 0-255, of any batch, and gives probabilities float32 (batch, classes). With a
strangeness it gives that as well, float32 (batch, 1), and both have names: `probabilities`, `strangeness`.
"""

import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from kit.errors import ExportError
from kit.export.formats import FLOAT16, OUTPUTS, PROBABILITIES, STRANGENESS
from kit.export.precision import litert_options, reduce_onnx, reduce_openvino
from kit.files import write_json
from kit.model.classifier import Classifier
from kit.model.saving import save_model
from kit.model.strangeness import Strangeness
from kit.run import Run

OPSET = 18  # the newest that tf2onnx 1.17 writes; ONNX Runtime reads it since 1.14


def write_model(
    format_name: str,
    run: Run,
    classifier: Classifier,
    folder: Path,
    precision: str,
    images: np.ndarray,
    strangeness: Strangeness | None = None,
) -> None:
    """Write the model's files into the existing `folder`; this process's backend must be able to write the format.

    `precision` is of the numbers inside; `images`, uint8 (n, S, S, 3), give the ranges of int8; a `strangeness` is a
    second output, of the formats that take one.
    """
    if format_name == "web":
        _write_web(classifier, folder, strangeness)
        return
    if format_name == "keras-hub":
        _write_keras_hub(run, classifier, folder)
        return
    model = classifier.full() if strangeness is None else _with_strangeness(classifier, strangeness)
    if format_name == "keras" and run.unapplied_temperature == 1 and strangeness is None:
        shutil.copyfile(run.model_path, folder / "model.keras")  # the file that the run's scores are of
    elif format_name == "keras":
        save_model(model, folder / "model.keras")
    elif format_name == "saved_model":
        _called(model).export(str(folder / "model"), format="tf_saved_model", verbose=False)
    elif format_name == "onnx":
        _write_onnx(model, folder / "model.onnx")
        reduce_onnx(folder / "model.onnx", precision, images)
    elif format_name == "litert":
        options = litert_options(precision, images)
        _called(model).export(str(folder / "model.tflite"), format="litert", verbose=False, **options)
    else:
        _write_openvino(model, folder / "model.xml", precision, images)


def _with_strangeness(classifier: Classifier, strangeness: Strangeness) -> keras.Model:
    """Whole network with both OUTPUTS, of Keras's own layers: `Strangeness.of` says what they compute."""
    plain = classifier.full(pooled=True)
    probabilities, pooled = plain.outputs
    alike = _alike(pooled, strangeness)
    places = keras.layers.Reshape((alike.shape[1], 1), name="strangeness_places")(alike)
    nearest = keras.layers.GlobalMaxPooling1D(name="strangeness_nearest")(places)
    outputs = {PROBABILITIES: probabilities, STRANGENESS: _scaled(nearest, strangeness)}
    return keras.Model(plain.input, outputs, name="classifier")


def _alike(pooled: Any, strangeness: Strangeness) -> Any:
    """Cosines of pooled features, (batch, channels), to those of the kept images, (batch, kept)."""
    compared = keras.layers.Dense(len(strangeness.bank), use_bias=False, name="strangeness_compared")
    alike = compared(keras.layers.UnitNormalization(name="strangeness_unit")(pooled))
    compared.set_weights([strangeness.bank.astype(np.float32).T])
    return alike


def _scaled(nearest: Any, strangeness: Strangeness) -> Any:
    """Strangeness from the greatest cosine, both (batch, 1)."""
    scale = float(strangeness.scale[0])
    return keras.layers.Rescaling(-1 / scale, 1 / scale, name=STRANGENESS)(nearest)


def _called(model: keras.Model) -> keras.Model:
    """The model, called once: Keras exports no other."""
    model(keras.ops.zeros((1, *model.input.shape[1:]), "uint8"))
    return model


def _write_onnx(model: keras.Model, path: Path) -> None:
    """Export by tf2onnx, and give the model's input and outputs plain names."""
    import onnx

    _called(model).export(str(path), format="onnx", opset_version=OPSET, verbose=False)
    written = onnx.load(path)
    # outputs by name come in the order of the alphabet, as OUTPUTS are
    renamed = dict(zip((output.name for output in written.graph.output), OUTPUTS, strict=False))
    for node in written.graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    for output in written.graph.output:
        output.name = renamed[output.name]
    for end in (written.graph.input[0], *written.graph.output):
        end.type.tensor_type.shape.dim[0].dim_param = "batch"
    del written.graph.value_info[:]
    onnx.checker.check_model(written, full_check=True)
    onnx.save(written, path)


def _write_openvino(model: keras.Model, path: Path, precision: str, images: np.ndarray) -> None:
    import openvino

    _called(model).export(str(path), format="openvino", verbose=False)
    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})  # the files are replaced below
    written = reduce_openvino(core.read_model(path), precision, images)
    openvino.save_model(written, path, compress_to_fp16=precision == FLOAT16)


# === The page ===


class _Evidence(keras.layers.Layer):
    """Class activation maps, in units of the logit: what `kit.insights.thumbnails.activation_maps` computes.

    Takes the backbone's output (batch, height, width, channels) and its mean (batch, channels); gives
    (batch, height * width, classes).
    """

    def __init__(self, head: keras.Model):
        super().__init__(name="evidence")
        layers = {layer.name: layer for layer in head.layers}
        self.last, self.hidden = layers["probabilities"], layers.get("hidden")
        self.built = True

    def call(self, features, pooled):
        places, channels = features.shape[1] * features.shape[2], features.shape[3]
        if self.hidden is None:
            flat = ops.matmul(ops.reshape(features, (-1, channels)), self.last.kernel)
            return ops.reshape(flat, (-1, places, self.last.units))
        on = ops.cast(ops.matmul(pooled, self.hidden.kernel) + self.hidden.bias > 0, "float32")
        towards = ops.expand_dims(on, 1) * ops.transpose(self.last.kernel)
        towards = ops.matmul(ops.reshape(towards, (-1, self.hidden.units)), ops.transpose(self.hidden.kernel))
        towards = ops.reshape(towards, (-1, self.last.units, channels))
        return ops.matmul(ops.reshape(features, (-1, places, channels)), ops.transpose(towards, (0, 2, 1)))

    def compute_output_shape(self, features_shape, pooled_shape):
        return (features_shape[0], features_shape[1] * features_shape[2], self.last.units)


def _write_web(classifier: Classifier, folder: Path, strangeness: Strangeness | None) -> None:
    """Write the parts of the page that are the model's: probabilities, evidence for each class, and a strangeness."""
    from kit.export.tfjs_graph import graph_model
    from kit.export.web_page import GRAPH, WEIGHTS

    _require_known_head(classifier, "web")
    backbone = classifier.backbone
    pixels = keras.Input(backbone.model.input.shape[1:], name="pixels")
    features = backbone.model(backbone.preprocessing(pixels))
    pooled = keras.layers.GlobalAveragePooling2D(name="pooling")(features)
    evidence = _Evidence(classifier.head)(features, pooled)
    outputs = [classifier.head(pooled), evidence]
    if strangeness is not None:
        nearest = ops.max(_alike(pooled, strangeness), axis=-1, keepdims=True)
        outputs.append(_scaled(nearest, strangeness))
    found = graph_model(keras.Model(pixels, outputs))
    graph = {"modelTopology": found.topology, "weightSpecs": found.specs, "outputs": found.outputs}
    write_json(folder / GRAPH, {**graph, "grid": list(features.shape[1:3])})
    (folder / WEIGHTS).write_bytes(found.weights)


def _require_known_head(classifier: Classifier, name: str) -> None:
    if classifier.has_own_head:
        raise ExportError(f"The format {name} has transferkit's own head; the run's is another.", "Take onnx or keras.")


# === KerasHub ===


def _write_keras_hub(run: Run, classifier: Classifier, folder: Path) -> None:
    """Write a preset: an ImageClassifier whose backbone is the network up to its last layer but one.

    KerasHub's head is pooling, dropout and one Dense, so the hidden layer goes into the backbone, behind a pooling that
    keeps height and width as 1; the head's own pooling then changes nothing.
    """
    _require_known_head(classifier, "keras-hub")
    import keras_hub

    head = {layer.name: layer for layer in classifier.head.layers}
    rescaling = isinstance(classifier.backbone.preprocessing, keras.layers.Rescaling)
    images = keras.Input(classifier.backbone.model.input.shape[1:], name="images")
    scaled = images if rescaling else classifier.backbone.preprocessing(images)
    features = classifier.backbone.model(scaled)
    if "hidden" in head:
        pooled = keras.layers.GlobalAveragePooling2D(keepdims=True, name="pooling")(features)
        hidden = keras.layers.Dense.from_config(head["hidden"].get_config())
        features = hidden(pooled)
        hidden.set_weights(head["hidden"].get_weights())
    last = head["probabilities"]
    task = keras_hub.models.ImageClassifier(
        backbone=keras.Model(images, features, name="backbone"),
        num_classes=last.units,
        preprocessor=keras_hub.models.ImageClassifierPreprocessor(_image_converter(run, classifier, rescaling)),
        pooling="avg",
        activation="softmax",
        dropout=head["dropout"].rate if "dropout" in head else 0.0,
    )
    task.output_dense.set_weights(last.get_weights())
    task.save_to_preset(str(folder))


def _image_converter(run: Run, classifier: Classifier, rescaling: bool) -> Any:
    """Converter that resizes as the run did (KerasHub would crop), and rescales if that is all the preprocessing.

    An image of the model's size passes through unchanged.
    """
    import keras_hub

    data, layer = run.config.data, classifier.backbone.preprocessing
    return keras_hub.layers.ImageConverter(
        image_size=(data.image_size, data.image_size),
        scale=layer.scale if rescaling else None,
        offset=layer.offset if rescaling else None,
        crop_to_aspect_ratio=data.resize == "crop",
        pad_to_aspect_ratio=data.resize == "pad",
        interpolation="bilinear",
        antialias=True,
    )
