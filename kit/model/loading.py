"""Load a saved model, if it holds only what transferkit writes.

A `.keras` file may be untrusted. Before Keras sees it, the names and sizes of the archive's files, the classes of its
configuration and its weights are checked; all else is refused, Lambda layers above all. Keras's own `safe_mode` stays
on.
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import StorageError
from kit.files import is_address
from kit.model import undrawn

if TYPE_CHECKING:
    import h5py
    import keras

WEIGHTS = "model.weights.h5"
# Bytes that each member may have: the largest backbone that Keras publishes has about 1 GB of weights.
MEMBERS = {"metadata.json": 1 << 20, "config.json": 1 << 25, WEIGHTS: 1 << 32}
MOST_NAMES = 20_000  # of groups and arrays in the weights; ours have some thousands
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
# What heads of a person's own may hold besides: layers that compute what they are called, and run no code of others.
HEAD_CLASSES: dict[str | None, set[str]] = {
    "keras.initializers": {
        *("Constant", "GlorotNormal", "HeNormal", "HeUniform", "Identity", "LecunNormal", "LecunUniform"),
        *("Orthogonal", "RandomNormal", "RandomUniform", "TruncatedNormal"),
    },
    "keras.layers": {
        *("AlphaDropout", "Attention", "Average", "Conv1D", "ELU", "EinsumDense", "Flatten", "GaussianDropout"),
        *("GaussianNoise", "GlobalAveragePooling1D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GroupNormalization"),
        *("LeakyReLU", "Maximum", "Minimum", "MultiHeadAttention", "PReLU", "Permute", "RMSNormalization"),
        *("RepeatVector", "SeparableConv2D", "Softmax", "SpatialDropout1D", "SpatialDropout2D", "Subtract"),
        *("UnitNormalization",),
    },
    "keras.src.models.sequential": {"Sequential"},
    "keras.src.ops.nn": {"Gelu", "Relu", "Sigmoid", "Silu", "Softmax", "Softplus"},
    "keras.src.ops.numpy": {
        *("Absolute", "Concatenate", "Divide", "Exp", "ExpandDims", "Log", "Matmul", "Max", "Maximum", "Mean", "Min"),
        *("Minimum", "Power", "Reshape", "Sqrt", "Square", "Squeeze", "Subtract", "Sum", "Transpose", "TrueDivide"),
    },
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


def load_model(path: Path, *, hub: bool = False) -> "keras.Model":
    """Load a `.keras` file that transferkit wrote; `hub` also allows layers of KerasHub.

    Raises StorageError, saying why, if it is damaged or holds what transferkit never writes; nothing in it was run.
    """
    require_safe(path, hub=hub)
    import keras

    try:
        with undrawn():
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a damaged archive fails in many ways
        raise StorageError(
            f"{path} cannot be loaded: {type(error).__name__}: {_first_line(error)}.", "Train the run again."
        ) from error


def require_safe(path: Path, *, hub: bool = False) -> None:
    """Raise StorageError unless a file holds only what transferkit writes; keras is not imported."""
    path = Path(path)
    if is_address(path):
        raise refused(path, "it is an address, not a file on this machine")
    if not path.name.endswith(".keras"):
        raise refused(path, "its name does not end in .keras")
    try:
        with open(path, "rb") as file:
            _require_archive(path, file, hub)
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, KeyError, ValueError) as error:
        raise StorageError(f"{path} cannot be loaded: {_first_line(error)}.", "Train the run again.") from error


def _require_archive(path: Path, file: Any, hub: bool) -> None:
    if file.read(4) != b"PK\x03\x04":
        raise refused(path, "it is no .keras archive: whole models in HDF5 and pickles are not read")
    with zipfile.ZipFile(file) as archive:
        found = archive.infolist()
        names = [member.filename for member in found]
        if sorted(names) != sorted(MEMBERS):
            strange = next((name for name in names if name not in MEMBERS), None)
            raise refused(
                path,
                f"it holds {strange!r}" if strange else f"it holds {len(names)} files, not {', '.join(MEMBERS)}",
            )
        for member in found:
            if member.file_size > MEMBERS[member.filename]:
                raise refused(path, f"its {member.filename} would have {member.file_size:,} bytes")
            # Keras stores members as they are; what is compressed may unpack to a thousand times its size.
            if member.compress_type != zipfile.ZIP_STORED:
                raise refused(path, f"its {member.filename} is compressed")
        require_classes(path, _configuration(path, archive.read("config.json")), hub=hub)
        with archive.open(WEIGHTS) as weights:
            require_plain_weights(path, weights, archive.getinfo(WEIGHTS).file_size)


def _configuration(path: Path, text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StorageError(
            f"{path} cannot be loaded: its config.json is no JSON ({_first_line(error)}).", "Train the run again."
        ) from error


def require_classes(path: Path, config: Any, *, hub: bool = False) -> None:
    """Raise StorageError, naming `path`, if a configuration names a class transferkit never writes.

    `config` is as `keras.saving.serialize_keras_object` gives it; `hub` also allows layers of KerasHub.
    """
    for module, name, registered in named(path, config):
        known = CLASSES.get(module, set()) | HEAD_CLASSES.get(module, set())
        known |= HUB_CLASSES.get(module, set()) if hub else set()
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


def require_plain_weights(path: Path, source: Any, size: int) -> None:
    """Raise StorageError, naming `path`, if weights lie in other files or claim more than `size` bytes.

    `source` is the HDF5 file: a path or an open file.
    """
    import h5py

    with h5py.File(source, "r") as file:
        claimed = 0
        for array in _arrays(path, file):
            # An array may be declared to lie in other files: then the model would read whatever it names.
            if array.external or array.is_virtual or array.dtype.kind not in "fiu":
                raise refused(path, f"its weights hold {array.name}, which is not a plain array")
            claimed += array.nbytes
        if claimed > size:
            raise refused(path, f"its weights claim {claimed:,} bytes")


def _arrays(path: Path, file: "h5py.File") -> "Iterator[h5py.Dataset]":
    import h5py

    waiting, met = [file], 0
    while waiting:
        group = waiting.pop()
        for name in group:
            met += 1
            if met > MOST_NAMES:  # groups that hold each other have no end
                raise refused(path, f"its weights have more than {MOST_NAMES:,} names")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise refused(path, f"its weights hold the link {name!r}")
            inside = group[name]
            if isinstance(inside, h5py.Dataset):
                yield inside
            else:
                waiting.append(inside)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
