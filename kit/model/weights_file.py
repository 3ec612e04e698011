"""Load HDF5 weights files of Keras 3 and Keras 2, or a run's model, into a backbone, all or nothing."""

import io
import math
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import StorageError, WeightsError
from kit.model.loading import WEIGHTS, load_model, require_plain_weights, require_safe

if TYPE_CHECKING:
    import h5py
    import keras

# Parameters of MobileNetV2 without its top, moving statistics included, by alpha; they tell of which alpha a file is.
NUMBERS = {0.35: 410_208, 0.5: 706_224, 0.75: 1_382_064, 1.0: 2_257_984, 1.3: 3_766_048, 1.4: 4_363_712}
WANTED = (
    "Wanted are weights without the classification top, as model.save_weights('x.weights.h5') or Keras 2 writes them."
)


def load_by_layer(backbone: "keras.Model", path: Path) -> None:
    """Load .weights.h5 (Keras 3) or .h5 (Keras 2) after comparing every layer's shapes.

    `backbone` is a built model of plain layers, such as MobileNetV2(include_top=False). Raises WeightsError, naming the
    first layer that differs, if the file does not fit.
    """
    with _opened(path) as file:
        _load(backbone, path, _saved_layers(path, file), keras3=_is_keras3(file))


def load_from_model(backbone: "keras.Model", path: Path, *, hub: bool = False) -> None:
    """Load the backbone of a run's model.keras; its head is left aside.

    Raises StorageError if the file holds what transferkit never writes, WeightsError if its backbone is another one.
    """
    if hub:
        _, _, found, *_ = load_model(path, hub=True).layers
        if [tuple(one.shape) for one in found.weights] != [tuple(one.shape) for one in backbone.weights]:
            raise WeightsError(f"The network in {path} does not fit the preset.", "Take the preset of that run.")
        backbone.set_weights(found.get_weights())
        return
    require_safe(path)
    with zipfile.ZipFile(path) as archive:
        content = io.BytesIO(archive.read(WEIGHTS))
    with _opened(path, content) as file:
        parts: defaultdict[str, dict[str, h5py.Dataset]] = defaultdict(dict)
        for name, arrays in _saved_layers(path, file).items():
            part, _, inner = name.partition("/")
            parts[part][inner] = arrays
        # inner models are numbered in their order: the backbone's comes before the head's
        first = min(parts, key=lambda part: (len(part), part), default="")
        _load(backbone, path, parts[first], keras3=True)


def _load(backbone: "keras.Model", path: Path, saved: "dict[str, list[h5py.Dataset]]", *, keras3: bool) -> None:
    layers = [layer for layer in backbone.layers if layer.weights]
    # A Keras 2 file is read in order, as Keras does: its layers may have been named otherwise.
    names = (
        _names_in_keras3(backbone.layers)
        if keras3
        else {layer.name: [name] for layer, name in zip(layers, saved, strict=False)}
    )
    held = {
        layer.name: [array for name in names.get(layer.name, ()) for array in saved.get(name, ())] for layer in layers
    }
    for layer in layers:
        wanted, found = [tuple(one.shape) for one in layer.weights], [one.shape for one in held[layer.name]]
        if wanted != found:
            raise _misfit(
                path, saved, f"layer {layer.name} needs the shapes {_shapes(wanted)}, the file has {_shapes(found)}"
            )
    known = {name for layer in layers for name in names.get(layer.name, ())}
    if extra := next((name for name in saved if name not in known), None):
        fault = f"it holds {len(saved)} layers, the model has {len(layers)}; one too many is {extra}"
        raise _misfit(path, saved, fault)
    values = [(layer, [_finite(path, layer, array) for array in held[layer.name]]) for layer in layers]
    for layer, arrays in values:
        layer.set_weights(arrays)


def load_by_keras(backbone: "keras.Model", path: Path) -> None:
    """Load weights of a KerasHub network (nested layers) as Keras does; raises WeightsError if they do not fit."""
    try:
        require_plain_weights(path, path, path.stat().st_size)
        backbone.load_weights(path)
    except StorageError as error:
        raise WeightsError(error.what, error.hint) from error
    except (ValueError, OSError, KeyError) as error:
        first = str(error).splitlines()[0].rstrip(".")
        raise WeightsError(f"The weights file {path} does not fit the preset: {first}.") from error


def require_alpha(path: Path, alpha: float) -> None:
    """Raise WeightsError if a file is no weights file, or of a MobileNetV2 of another width."""
    with _opened(path) as file:
        found = _alpha_of(_saved_layers(path, file))
    if found not in (None, alpha):
        raise WeightsError(
            f"The weights file {path} seems to be of alpha {found}, not of alpha {alpha}.",
            f"Set model.alpha to {found}, or take a file for alpha {alpha}.",
        )


def _alpha_of(saved: "dict[str, list[h5py.Dataset]]") -> float | None:
    """Alpha of the MobileNetV2 without top that has as many parameters, or None."""
    count = sum(math.prod(array.shape) for arrays in saved.values() for array in arrays)
    return next((alpha for alpha, numbers in NUMBERS.items() if numbers == count), None)


@contextmanager
def _opened(path: Path, content: "io.BytesIO | None" = None) -> "Iterator[h5py.File]":
    """Open an HDF5 file read-only, or its `content`; damage found then or later raises one WeightsError."""
    import h5py

    try:
        with h5py.File(content or path, "r") as file:
            yield file
    except PermissionError as error:
        raise WeightsError(f"The weights file {path} cannot be read: {error.strerror}.") from error
    except (OSError, RuntimeError, KeyError) as error:
        raise WeightsError(
            f"The weights file {path} ({path.stat().st_size:,} bytes) is damaged or no HDF5 file: {error}.", WANTED
        ) from error


def _is_keras3(file: "h5py.File") -> bool:
    return "layer_names" not in file.attrs


def _saved_layers(path: Path, file: "h5py.File") -> "dict[str, list[h5py.Dataset]]":
    """Arrays of each layer that has weights, by its name in the file; nothing is read yet."""
    import h5py

    if "model_weights" in file or "model_config" in file.attrs:
        raise WeightsError(f"{path} is a whole model in HDF5, not a weights file.", WANTED)
    if _is_keras3(file) and not isinstance(file.get("layers"), h5py.Group):
        raise WeightsError(f"{path} is an HDF5 file, but holds no Keras weights.", WANTED)
    saved = _keras3_layers(file) if _is_keras3(file) else _keras2_layers(file)
    for arrays in saved.values():
        for array in arrays:
            # An array may be declared to lie in other files: then a weights file would read whatever it names.
            if not isinstance(array, h5py.Dataset) or array.external or array.is_virtual or array.dtype.kind != "f":
                raise WeightsError(f"{path} holds {array.name}, which is not a plain array of weights.", WANTED)
    return saved


def _keras3_layers(file: "h5py.File") -> "dict[str, list[h5py.Dataset]]":
    """`layers/NAME/vars/0`, `1`, ... (keras/src/saving/saving_lib.py, H5IOStore).

    A layer nested in an inner model, `layers/OUTER/layers/INNER/vars/0`, is called OUTER/INNER.
    """
    saved = {}
    waiting = [("", file["layers"])]
    while waiting:
        outer, group = waiting.pop()
        for name in _plain_members(group):
            holder = group[name]
            inside = _plain_members(holder)
            if "layers" in inside:
                waiting.append((f"{outer}{name}/", holder["layers"]))
            holder = holder["vars"] if "vars" in inside else holder
            numbers = sorted((number for number in _plain_members(holder) if number.isdecimal()), key=int)
            if numbers:
                saved[f"{outer}{name}"] = [holder[number] for number in numbers]
    return saved


def _keras2_layers(file: "h5py.File") -> "dict[str, list[h5py.Dataset]]":
    """Names of layers and their weights in attributes (keras/src/legacy/saving/legacy_h5_format.py)."""
    saved = {}
    for name in _texts(file, "layer_names"):
        weights = _texts(file[name], "weight_names")
        if weights:
            saved[name] = [file[name][weight] for weight in weights]
    return saved


def _texts(group: "h5py.Group", key: str) -> list[str]:
    """List of names in an attribute or, where long, in pieces: key0, key1, ..."""
    pieces = [key] if key in group.attrs else []
    while f"{key}{len(pieces)}" in group.attrs:
        pieces.append(f"{key}{len(pieces)}")
    found = [text for piece in pieces for text in group.attrs[piece]]
    return [text.decode() if isinstance(text, bytes) else str(text) for text in found]


def _plain_members(group: "h5py.Group") -> list[str]:
    """Names of members, links to other files left out."""
    import h5py

    if not isinstance(group, h5py.Group):
        return []
    return [name for name in group if isinstance(group.get(name, getlink=True), h5py.HardLink)]


def _names_in_keras3(layers: list[Any], outer: str = "") -> dict[str, list[str]]:
    """Layer name -> the names in a Keras 3 file of the layer and all inside it, in the order of its weights.

    Named there by class in snake case, numbered from the second on. Source: _load_container_state in
    keras/src/saving/saving_lib.py and to_snake_case in keras/src/utils/naming.py.
    """
    seen: Counter[str] = Counter()
    names = {}
    for layer in layers:
        kind = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", type(layer).__name__))
        kind = re.sub(r"([a-z])([A-Z])", r"\1_\2", kind).lower()
        own = f"{outer}{kind}_{seen[kind]}" if seen[kind] else f"{outer}{kind}"
        seen[kind] += 1
        inside = _names_in_keras3(getattr(layer, "layers", []), f"{own}/")
        names[layer.name] = [own, *(name for inner in inside.values() for name in inner)]
    return names


def _shapes(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes) or "none"


def _misfit(path: Path, saved: "dict[str, list[h5py.Dataset]]", fault: str) -> WeightsError:
    alpha = _alpha_of(saved)
    kind = f" It seems to be of MobileNetV2 without top, alpha {alpha}." if alpha else ""
    return WeightsError(f"The weights file {path} does not fit the model: {fault}.{kind}", WANTED)


def _finite(path: Path, layer: Any, array: "h5py.Dataset") -> Any:
    import numpy as np

    values = np.asarray(array[()], dtype="float32")
    if not np.isfinite(values).all():
        raise WeightsError(f"The weights file {path} is damaged: layer {layer.name} holds NaN or infinity.", WANTED)
    return values
