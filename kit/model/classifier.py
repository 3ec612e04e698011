"""trunk | tail | head: one network, split at a cut point and joined again for saving.

All parts share their layers: training a tail trains the full model.
"""

import hashlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from kit.backends.kernels import accelerate
from kit.errors import ConfigError, StorageError
from kit.model.backbones import Backbone, Cut, find_cuts
from kit.model.graph import inner_layers, output_of, structure
from kit.model.loading import require_classes
from kit.parts import seed_generators

OWN_HEAD = "own_head"


def build_head(features: int, classes: int, units: int, dropout: float, seed: int) -> keras.Model:
    """Dense(units, relu) → dropout → Dense(classes, softmax), float32 (batch, features) to (batch, classes).

    Args:
        units: 0 leaves the hidden layer out.
        dropout: Share of hidden outputs dropped while training; 0 leaves the layer out.
        seed: Draws initial weights and dropout, each from a stream of its own; differs between backends.
    """
    streams = np.random.SeedSequence(seed).spawn(3)
    for_hidden, for_dropout, for_output = (int(stream.generate_state(1)[0]) for stream in streams)
    pooled = keras.Input((features,), name="pooled")
    outputs = pooled
    if units:
        outputs = keras.layers.Dense(
            units, activation="relu", kernel_initializer=keras.initializers.GlorotUniform(for_hidden), name="hidden"
        )(outputs)
    if dropout:
        # below 2**31: Keras on PyTorch takes no greater one, and would not load the model
        outputs = keras.layers.Dropout(dropout, seed=for_dropout % 2**31, name="dropout")(outputs)
    outputs = keras.layers.Dense(
        classes,
        activation="softmax",
        kernel_initializer=keras.initializers.GlorotUniform(for_output),
        name="probabilities",
    )(outputs)
    return keras.Model(pooled, outputs, name="head")


def own_head(made: Any, features: tuple[int, ...], classes: int, seed: int) -> keras.Model:
    """Head of a person's own, then Dense(classes, softmax); of layers of Keras that any Keras loads.

    Args:
        made: Function of a Keras tensor, or layers of Keras, which are copied. A function whose parameter is called
            `feature_map` gets the feature map, any other the pooled features; it gives a tensor (batch, n), or layers
            to apply.
        features: Shape of the feature map (height, width, channels).

    Raises ConfigError for what gives no such tensor, and for layers that training or the saved model cannot take.
    """
    try:
        # A layer's name would be that of its `call`; what is given as a layer takes pooled features.
        takes = "" if isinstance(made, keras.layers.Layer) else next(iter(inspect.signature(made).parameters), "")
    except (TypeError, ValueError):
        takes = ""
    whole = takes == "feature_map"
    inputs = keras.Input(features if whole else features[-1:], name="feature_map" if whole else "pooled")
    try:
        outputs = _applied(made, inputs) if _is_layers(made) else made(inputs)
        outputs = _applied(outputs, inputs) if _is_layers(outputs) else outputs
    except Exception as error:  # whatever the function does
        raise ConfigError(f"The head fails on a tensor {inputs.shape}: {type(error).__name__}: {error}.") from error
    if not isinstance(outputs, keras.KerasTensor) or len(outputs.shape) != 2 or outputs.shape[-1] is None:
        found = getattr(outputs, "shape", outputs)
        raise ConfigError(f"The head must give a Keras tensor (batch, n), not {found!r:.80}.",
                          "End it with a pooling layer or Flatten; a dense layer of logits is added.")  # fmt: skip
    stream = int(np.random.SeedSequence(seed).spawn(3)[2].generate_state(1)[0])
    last = keras.layers.Dense(
        classes, activation="softmax", kernel_initializer=keras.initializers.GlorotUniform(stream), name="probabilities"
    )
    head = keras.Model(inputs, last(outputs), name=OWN_HEAD)
    _require_trainable(head)
    seed_generators([head])  # so that what is dropped is resumed
    return head


def _is_layers(thing: Any) -> bool:
    listed = thing if isinstance(thing, list | tuple) else [thing]
    return bool(listed) and all(isinstance(one, keras.layers.Layer) for one in listed)


def _applied(layers: Any, x: keras.KerasTensor) -> keras.KerasTensor:
    """Copies of layers, one after the other: each network, as of folds, has its own."""
    for one in layers if isinstance(layers, list | tuple) else [layers]:
        x = type(one).from_config(one.get_config())(x)
    return x


def _require_trainable(head: keras.Model) -> None:
    """Raise ConfigError for layers of a head that the saved model or the training cannot take."""
    for layer in inner_layers(head):
        kind = type(layer)
        if kind.__module__.partition(".")[0] != "keras":
            raise ConfigError(
                f"The head holds a layer of your own ({kind.__module__}.{kind.__qualname__}); the saved model would "
                "load only where its code is.",
                "Make it of layers of Keras and keras.ops.",
            )
        if isinstance(layer, keras.layers.BatchNormalization):
            raise ConfigError("The head holds BatchNormalization, whose statistics the last, padded batch would spoil.",
                              "Take LayerNormalization.")  # fmt: skip
    if head.losses:
        raise ConfigError("The head holds regularisers, which are not part of the loss here.",
                          "Weight decay is phases.N.weight_decay.")  # fmt: skip
    config = keras.saving.serialize_keras_object(head)
    try:
        require_classes(Path("the head"), json.loads(json.dumps(config)))
    except StorageError as error:
        raise ConfigError(f"The head cannot be saved as plain layers: {error.what}", "Leave that layer out.") from error


class _Logits(keras.layers.Layer):
    """A dense layer without its activation; both share their variables."""

    def __init__(self, stock: keras.layers.Dense):
        super().__init__(name=f"{stock.name}_logits")
        self.stock = stock
        self.built = True

    def call(self, inputs):
        return ops.matmul(inputs, self.stock.kernel) + self.stock.bias

    def compute_output_shape(self, input_shape):
        return self.stock.compute_output_shape(input_shape)


def mean_over_places(features: keras.KerasTensor) -> keras.KerasTensor:
    """Pooled features (batch, channels) of a backbone's output, which a head of one's own may take unpooled."""
    rank = len(features.shape)
    if rank == 4:
        return keras.layers.GlobalAveragePooling2D()(features)
    return keras.layers.GlobalAveragePooling1D()(features) if rank == 3 else features


def without_softmax(head: keras.Model) -> keras.Model:
    """The same head up to the logits, for training: the softmax of a confident mistake has no gradient."""
    last = head.layers[-1]
    return keras.Model(head.input, _Logits(last)(last.input), name="logits")


@dataclass(frozen=True)
class Classifier:
    """A backbone and a head.

    `head` maps float32 (batch, features), or a feature map, to probabilities (batch, classes). `kernels`, `stock` or
    `own`, are those of `trunk` and `tail`; see `kit.backends.kernels`. `trains_normalisation`: whether scale and offset
    of batch normalisation are trained with the layers around them, its statistics fixed.
    """

    backbone: Backbone
    head: keras.Model
    kernels: str
    trains_normalisation: bool = False

    @classmethod
    def of(cls, model: keras.Model, blocks: str, kernels: str) -> "Classifier":
        """Take apart a model that `full` made, sharing its layers; raises ValueError for any other.

        `blocks` is a regular expression of the names of the backbone's blocks.
        """
        _, preprocessing, backbone, *pooling, head = model.layers
        if len(pooling) > 1:
            raise ValueError(f"{len(model.layers)} layers")
        return cls(Backbone(backbone, preprocessing, find_cuts(backbone, blocks)), head, kernels)

    def full(self, *, pooled: bool = False) -> keras.Model:
        """Whole network of plain Keras layers: uint8 (batch, size, size, 3), 0-255, to float32 (batch, classes).

        `pooled` outputs the pooled features as well, after the probabilities.
        """
        pixels = self._pixels()
        features = self.backbone.model(self.backbone.preprocessing(pixels))
        read = keras.layers.GlobalAveragePooling2D(name="pooling")(features) if self.pools else features
        outputs = self.head(read)
        if pooled:
            outputs = [outputs, read if self.pools else mean_over_places(features)]
        return keras.Model(pixels, outputs, name="classifier")

    @property
    def pools(self) -> bool:
        """Whether the head reads pooled features; one of a person's own may read the feature map."""
        return len(self.head.input.shape) == 2

    @property
    def has_own_head(self) -> bool:
        """Whether a person made the head: what is known of transferkit's, such as evidence in closed form, is not."""
        return self.head.name.startswith(OWN_HEAD)

    def trunk(self, start: Cut, ends: tuple[Cut, ...]) -> keras.Model:
        """Frozen part of the backbone, from `start` to each of the higher `ends`, one output each.

        The deepest cut starts at uint8 pixels; depth 0 ends after the pooling.
        """
        inputs, outputs = self._apply(start, ends)
        pooling = keras.layers.GlobalAveragePooling2D()
        pooled = [pooling(y) if end.depth == 0 and self.pools else y for y, end in zip(outputs, ends, strict=True)]
        return keras.Model(inputs, pooled)

    def tail(self, start: Cut, *, logits: bool = False, pooled: bool = False) -> keras.Model:
        """Trained part, from `start` to probabilities or `logits`; at depth 0 the head alone, on pooled features.

        `pooled` outputs the pooled features as well, after the others; not at depth 0.
        """
        head = without_softmax(self.head) if logits else self.head
        if start.depth == 0:
            return head
        inputs, (features,) = self._apply(start, (self.backbone.cut(0),), self.trains_normalisation)
        mean = mean_over_places(features) if self.pools or pooled else features
        outputs = head(mean if self.pools else features)
        return keras.Model(inputs, [outputs, mean] if pooled else outputs)

    def feature_maps(self, start: Cut) -> keras.Model:
        """From `start` (uint8 pixels at the deepest cut) to the backbone's output before pooling, for inference."""
        inputs, outputs = self._apply(start, (self.backbone.cut(0),))
        return keras.Model(inputs, outputs)

    def unfreeze(self, cut: Cut) -> None:
        """Make the head and the layers above `cut` trainable, except batch normalisation.

        `trains_normalisation` includes that too, but not where it is nested in a layer of KerasHub. Layer normalisation
        has no statistics of its own and is trained like any layer.
        """
        above = set()
        if cut.depth:
            above = {layer.name for layer in self._stock_segment(cut, (self.backbone.cut(0),)).layers}
        for layer in self.backbone.model.layers:
            layer.trainable = layer.name in above
            for inner in inner_layers(layer):
                if isinstance(inner, keras.layers.BatchNormalization):
                    inner.trainable = inner is layer and layer.trainable and self.trains_normalisation

    def freeze_normalisation(self) -> None:
        """Make batch normalisation untrainable, as it is saved: trained on by Keras, its statistics would change."""
        for layer in inner_layers(self.backbone.model):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False

    def depths(self, variables: Sequence[keras.Variable]) -> list[int]:
        """Unfreeze depth of the block of each variable; 0 for those of the head."""
        places = {operation.name: place for place, operation in enumerate(self.backbone.model.operations)}
        bottoms = [places.get(cut.layer, -1) for cut in self.backbone.cuts[1:]]  # what a block reads, from the top
        depth_of = {
            id(variable): 1 + next(i for i, bottom in enumerate(bottoms) if bottom < places[layer.name])
            for layer in self.backbone.model.layers
            for variable in layer.variables
        }
        return [depth_of.get(id(variable), 0) for variable in variables]

    def scale(self, temperature: float) -> None:
        """Divide the logits by a temperature, in the weights of the last layer: the class predicted stays."""
        last = self.head.layers[-1]
        for variable in (last.kernel, last.bias):
            variable.assign(variable / temperature)

    def shape(self, cut: Cut) -> tuple[int, ...]:
        """Shape of one image's activations at a cut point."""
        tensor = self._tensor(cut)
        return tuple(tensor.shape[-1:]) if cut.depth == 0 and self.pools else tuple(tensor.shape[1:])

    def fingerprint(self, cut: Cut) -> str:
        """SHA-256 (64 hex digits) of all that decides the activations at a cut point.

        Covers weights and layers below it, and the preprocessing, but no layer names: Keras numbers some of them per
        process.
        """
        digest = hashlib.sha256()
        if not self._is_pixels(cut):
            segment = self._stock_segment(self.backbone.cut(-1), (cut,))
            shape = [structure(self.backbone.preprocessing), structure(segment)]
            digest.update(json.dumps(shape, sort_keys=True).encode())
            for weight in segment.weights:
                digest.update(f"{weight.shape}".encode())
                digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight)).tobytes())
        return digest.hexdigest()

    def _pixels(self) -> keras.KerasTensor:
        return keras.Input(self.backbone.model.input.shape[1:], dtype="uint8", name="pixels")

    def _is_pixels(self, cut: Cut) -> bool:
        return cut == self.backbone.cut(-1)

    def _tensor(self, cut: Cut) -> keras.KerasTensor:
        model = self.backbone.model
        if cut.depth == 0:
            return model.output
        return model.input if self._is_pixels(cut) else output_of(model, cut.layer)

    def _stock_segment(self, start: Cut, ends: tuple[Cut, ...]) -> keras.Model:
        return keras.Model(self._tensor(start), [self._tensor(end) for end in ends])

    def _apply(
        self, start: Cut, ends: tuple[Cut, ...], trains_normalisation: bool = False
    ) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
        """New inputs at `start` (uint8 pixels at the deepest cut), and the backbone's outputs at `ends`."""
        segment = accelerate(self._stock_segment(start, ends), self.kernels, trains_normalisation=trains_normalisation)
        if self._is_pixels(start):
            inputs = self._pixels()
            return inputs, segment(self.backbone.preprocessing(inputs))
        inputs = keras.Input(segment.input.shape[1:])
        return inputs, segment(inputs)
