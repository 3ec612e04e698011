"""Classes that a saved model may name; any other is refused before Keras reads the file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kit.errors import StorageError

DEEPEST = 100  # levels of a configuration; ours have about 20
# Everything that the configuration of a model names, by module; a test writes every backbone and compares.
CLASSES: dict[str | None, set[str]] = {
    "keras": {"DTypePolicy", "Sequential"},
    "keras.initializers": {"GlorotUniform", "Ones", "VarianceScaling", "Zeros"},
    "keras.layers": {
        "Activation",
        "Add",
        "AveragePooling2D",
        "BatchNormalization",
        "Concatenate",
        "Conv2D",
        "Dense",
        "DepthwiseConv2D",
        "Dropout",
        "GlobalAveragePooling2D",
        "InputLayer",
        "LayerNormalization",
        "MaxPooling2D",
        "Multiply",
        "ReLU",
        "Rescaling",
        "Reshape",
        "ZeroPadding2D",
    },
    "keras.src.applications.convnext": {"LayerScale"},
    "keras.src.models.functional": {"Functional"},
    "keras.src.ops.numpy": {"Add", "Flip", "Multiply"},
    None: {"__keras_tensor__"},  # the place of a tensor in the graph
}
# What models that began as presets of KerasHub hold besides; loading layers of its own imports keras_hub.
HUB_CLASSES: dict[str | None, set[str]] = {
    "keras.layers": {"LeakyReLU", "SeparableConv2D"},
    "keras.src.ops.numpy": {"Split"},
    "keras_hub.src.models.efficientnet.cba": {"CBABlock"},
    "keras_hub.src.models.efficientnet.fusedmbconv": {"FusedMBConvBlock"},
    "keras_hub.src.models.efficientnet.mbconv": {"MBConvBlock"},
    "keras_hub.src.models.mobilenet.mobilenet_backbone": {
        "ConvBnActBlock",
        "DepthwiseConvBlock",
        "InvertedResidualBlock",
        "SqueezeAndExcite2D",
    },
}
_HINT = "Only models that transferkit wrote are loaded; if you trust where it comes from, load it with Keras itself."


def require_classes(path: Path, config: Any, *, hub: bool = False) -> None:
    """Raise StorageError, naming `path`, if a configuration names a class transferkit never writes.

    `config` is as `keras.saving.serialize_keras_object` gives it; `hub` also allows layers of KerasHub.
    """
    for module, name, registered in named(path, config):
        known = CLASSES.get(module, set()) | (HUB_CLASSES.get(module, set()) if hub else set())
        if name not in known or registered not in (None, name):
            raise refused(path, f"it holds {module or 'something'}.{name}, which transferkit never writes")


def named(path: Path, config: Any) -> Iterator[tuple[str | None, str, str | None]]:
    """Yield (module, class, registered name) of everything a configuration names, at any depth."""
    waiting = [(config, 0)]
    while waiting:
        value, level = waiting.pop()
        if level > DEEPEST:
            raise refused(path, f"its config.json has more than {DEEPEST} levels")
        if isinstance(value, dict):
            # Keras also takes `class_name` without a module, and looks such a name up among its own.
            if "class_name" in value:
                yield _text(value.get("module")), str(value["class_name"]), _text(value.get("registered_name"))
            waiting += [(inner, level + 1) for inner in value.values()]
        elif isinstance(value, list):
            waiting += [(inner, level + 1) for inner in value]


def _text(value: Any) -> str | None:
    return value if value is None else str(value)


def refused(path: Path, why: str) -> StorageError:
    """Error of a model that holds what transferkit never writes."""
    return StorageError(f"{path} is refused: {why}.", _HINT)
