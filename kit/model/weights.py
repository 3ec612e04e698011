"""Pretrained weights: found or downloaded, proved, and loaded into the model they belong to."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.backends.choice import keras_home
from kit.config import STARTER, STARTER_SETTINGS
from kit.data.download import DownloadError, fetch
from kit.errors import WeightsError
from kit.files import is_address, storage_errors
from kit.fingerprint import sha256_file
from kit.model.catalog import MOBILENET_V2, Published, find, is_hub

if TYPE_CHECKING:
    import h5py
    import keras

# Numbers in MobileNetV2 without its top, moving statistics included, by alpha; they tell of which alpha a file is.
NUMBERS = {0.35: 410_208, 0.5: 706_224, 0.75: 1_382_064, 1.0: 2_257_984, 1.3: 3_766_048, 1.4: 4_363_712}
# Weights that have a name instead of a file; docs/starter-weights.md says where the kit's own come from.
NAMED = ("imagenet", STARTER, "none")
STARTER_FILE = Path(__file__).with_name("starter.weights.h5")
WANTED = (
    "Wanted are weights without the classification top, as model.save_weights('x.weights.h5') or Keras 2 writes them."
)


@dataclass(frozen=True)
class Weights:
    """Where a backbone's first weights come from.

    Attributes:
        name: `imagenet`, `starter`, `none`, or a file's name.
        path: The HDF5 file; None for random weights.
        sha256: Of the file's bytes, 64 hex digits; empty for random weights.
    """

    name: str
    path: Path | None
    sha256: str

    def __post_init__(self):
        if (self.path is None) != (self.name == "none") or (self.path is None) != (self.sha256 == ""):
            raise ValueError(f"weights are a file with its SHA-256, or `none` without; received {self}")


def resolve(weights: str, alpha: float, image_size: int, backbone: str = MOBILENET_V2.name) -> Weights:
    """Finds the weights asked for, downloading Keras's own where they are not there yet, and checks the file.

    Args:
        weights: `imagenet`, `starter` (the kit's own for MobileNetV2, of alpha 0.35, for images of any size), `none`,
            or a weights file: .weights.h5 (Keras 3) or .h5 (Keras 2, by layer).
        alpha: Width multiplier of the backbone that is to have them.
        image_size: Side of the images in pixels. For MobileNetV2 there are files for 96, 128, 160, 192 and 224; any
            other size takes the one for 224, as Keras does.
        backbone: Name of the backbone; that of a KerasHub preset has `imagenet` mean the preset's own weights.

    Raises:
        ConfigError: If there is no such backbone, or none of that width.
        WeightsError: If there is no such file, it cannot be downloaded, or it is damaged or of another alpha.
    """
    if weights == STARTER:  # first: a width that these weights brought must not be laid to the user
        path = _starter(backbone, alpha)
        return Weights(STARTER, path, sha256_file(path))
    if is_hub(backbone):
        from kit.model.hub import resolve_preset

        found = resolve_preset(backbone, alpha)
        if weights == "imagenet":
            return Weights("preset", found, sha256_file(found))
    else:
        recipe = find(backbone)
        recipe.require_alpha(alpha)
    if weights == "none":
        return Weights("none", None, "")
    if weights == "imagenet":
        published = recipe.imagenet(alpha, image_size)
        path = _imagenet(recipe.builder, published, alpha)
        return Weights("imagenet", path, sha256_file(path))
    path = _local(weights)
    if not is_hub(backbone) and recipe is MOBILENET_V2:
        _require_alpha(path, alpha)
    return Weights(path.name, path, sha256_file(path))


def load_into(backbone: "keras.Model", weights: Weights) -> None:
    """Gives `backbone` the weights of a file, after every layer's shapes have been compared: all or nothing.

    Args:
        backbone: A built model of plain layers, such as MobileNetV2(include_top=False).
        weights: What `resolve` returned. `none` changes nothing.

    Raises:
        WeightsError: If the file does not fit; it names the first layer that differs.
    """
    if weights.path is None:
        return
    path = weights.path
    layers = [layer for layer in backbone.layers if layer.weights]
    with _opened(path) as file:
        saved = _saved_layers(path, file)
        # A Keras 2 file is read in order, as Keras does: its layers may have been named otherwise.
        names = _names_in_keras3(backbone.layers) if _is_keras3(file) else _names_in_order(layers, saved)
        held = {layer.name: [array for name in names.get(layer.name, ()) for array in saved.get(name, ())]
                for layer in layers}  # fmt: skip
        for layer in layers:
            _require_shapes(path, layer, held[layer.name])
        known = {name for layer in layers for name in names.get(layer.name, ())}
        if extra := next((name for name in saved if name not in known), None):
            raise _misfit(path, f"it holds {len(saved)} layers, the model has {len(layers)}; one too many is {extra}")
        values = [(layer, [_finite(path, layer, array) for array in held[layer.name]]) for layer in layers]
    for layer, arrays in values:
        layer.set_weights(arrays)


def imagenet_file(alpha: float, size: int) -> Path:
    """Where Keras keeps its ImageNet weights for MobileNetV2 without top, whether they are there or not."""
    return _place(MOBILENET_V2.imagenet(alpha, size))


def imagenet_fault(alpha: float, size: int) -> str | None:
    """What is wrong with Keras's ImageNet weights for MobileNetV2 as they lie on this machine; None if nothing."""
    published = MOBILENET_V2.imagenet(alpha, size)
    path = _place(published)
    if not path.is_file():
        return f"There is no {path}."
    try:
        _prove(path, published, alpha)
    except WeightsError as error:
        return error.what
    return None


def offline_ways(published: Published) -> str:
    """What to do where a file of Keras's cannot be downloaded."""
    path = _place(published)
    return (
        f"Three ways on: download {published.address}{path.name} elsewhere, or copy it from another machine's Keras "
        f"folder, and put it into {path.parent}; use --weights FILE with weights you have; or use --weights {STARTER}, "
        "the small network that comes with the kit (less accurate; docs/starter-weights.md)."
    )


def _starter(backbone: str, alpha: float) -> Path:
    wanted = STARTER_SETTINGS["model.alpha"]
    if is_hub(backbone) or find(backbone) is not MOBILENET_V2 or alpha != wanted:
        raise WeightsError(
            f"The starter weights are of {MOBILENET_V2.name} with alpha {wanted}, not of {backbone} with alpha {alpha}."
        )
    if not STARTER_FILE.is_file():
        raise WeightsError(f"The kit's own weights are missing: there is no {STARTER_FILE}.", "Install the kit again.")
    _require_alpha(STARTER_FILE, alpha)
    return STARTER_FILE


def _place(published: Published) -> Path:
    return keras_home() / "models" / published.file


def _imagenet(network: str, published: Published, alpha: float) -> Path:
    """The published file on this machine, downloaded where it is not there yet, and proved."""
    path = _place(published)
    if path.is_file():
        try:
            _prove(path, published, alpha)
        except WeightsError as error:
            aside = path.with_name(path.name + ".damaged")
            with storage_errors(path):
                path.replace(aside)
            raise WeightsError(
                error.what, f"It was renamed to {aside.name}; run again to download it anew, or use --weights FILE."
            ) from None
        return path
    try:
        fetch(published.address + published.file, path, size=published.size, label=f"{network} ImageNet weights")
    except DownloadError as error:
        raise WeightsError(
            f"The ImageNet weights {path.name} are not in {path.parent}, and {error.what}",
            offline_ways(published),
        ) from error
    try:
        _prove(path, published, alpha)
    except WeightsError:
        path.unlink()
        raise
    return path


def _prove(path: Path, published: Published, alpha: float) -> None:
    """Raises WeightsError unless the file has the digest or, where Keras tells none, the structure it should have."""
    found = path.stat().st_size
    if published.size is not None and found != published.size:
        raise WeightsError(f"The weights file {path} is damaged: it has {found:,} bytes, not {published.size:,}.")
    if not published.digest:
        _require_alpha(path, alpha)
        return
    kind = "md5" if len(published.digest) == 32 else "sha256"
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
    if digest != published.digest:
        raise WeightsError(
            f"The weights file {path} is damaged: its {kind.upper()} is {digest}, not {published.digest}."
        )


def _local(weights: str) -> Path:
    if is_address(weights):
        raise WeightsError(
            f"--weights takes a file on this machine, not the address {weights}.", "Download it, then name the file."
        )
    path = Path(weights).expanduser()
    if path.name.endswith(".keras"):
        raise WeightsError(f"{path} is a whole model, not a weights file.", WANTED)
    if not path.name.endswith(".h5"):
        raise WeightsError(
            f"--weights must be imagenet, starter, none, or a file that ends in .weights.h5 or .h5, not {weights!r}.",
            WANTED,
        )
    if not path.is_file():
        raise WeightsError(
            f"There is no weights file {path}.", f"Check the path, or use --weights imagenet or --weights {STARTER}."
        )
    return path


def _require_alpha(path: Path, alpha: float) -> None:
    """Refuses a file that is no weights file, or clearly belongs to a MobileNetV2 of another width."""
    with _opened(path) as file:
        found = _alpha_of(_saved_layers(path, file))
    if found not in (None, alpha):
        raise WeightsError(
            f"The weights file {path} seems to be of alpha {found}, not of alpha {alpha}.",
            f"Use --set model.alpha={found}, or a file for alpha {alpha}.",
        )


def _alpha_of(saved: "dict[str, list[h5py.Dataset]]") -> float | None:
    """The alpha of the MobileNetV2 without top that has as many numbers; None where none has."""
    count = sum(math.prod(array.shape) for arrays in saved.values() for array in arrays)
    return next((alpha for alpha, numbers in NUMBERS.items() if numbers == count), None)


@contextmanager
def _opened(path: Path) -> "Iterator[h5py.File]":
    """The HDF5 file, read-only; what HDF5 finds damaged, then or later, is one WeightsError."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
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
    """Each layer that has weights, by its name in the file, with its arrays in order; nothing is read yet."""
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

    A layer inside a model inside the model, `layers/OUTER/layers/INNER/vars/0`, is called OUTER/INNER.
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
    """A list of names kept in an attribute, or, where it is long, in pieces: key0, key1, ..."""
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

    A layer is called there by its class in snake case, numbered from the second one on.
    Source: _load_container_state in keras/src/saving/saving_lib.py and to_snake_case in keras/src/utils/naming.py.
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


def _names_in_order(layers: list[Any], saved: "dict[str, list[h5py.Dataset]]") -> dict[str, list[str]]:
    """Layer name -> its name in a Keras 2 file: the first that has weights is the first there, and so on."""
    return {layer.name: [name] for layer, name in zip(layers, saved, strict=False)}


def _require_shapes(path: Path, layer: Any, arrays: "list[h5py.Dataset]") -> None:
    wanted, found = [tuple(variable.shape) for variable in layer.weights], [array.shape for array in arrays]
    if wanted != found:
        raise _misfit(path, f"layer {layer.name} needs the shapes {_shapes(wanted)}, the file has {_shapes(found)}")


def _shapes(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes) or "none"


def _misfit(path: Path, fault: str) -> WeightsError:
    with _opened(path) as file:
        alpha = _alpha_of(_saved_layers(path, file))
    kind = f" It seems to be of MobileNetV2 without top, alpha {alpha}." if alpha else ""
    return WeightsError(f"The weights file {path} does not fit the model: {fault}.{kind}", WANTED)


def _finite(path: Path, layer: Any, array: "h5py.Dataset") -> Any:
    import numpy as np

    values = np.asarray(array[()], dtype="float32")
    if not np.isfinite(values).all():
        raise WeightsError(f"The weights file {path} is damaged: layer {layer.name} holds NaN or infinity.", WANTED)
    return values
