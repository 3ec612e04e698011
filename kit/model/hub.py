"""Image backbones of KerasHub presets, as plain Keras networks.

keras_hub brings TensorFlow with it, whatever the backend, so it is imported only to build. The network is taken out of
its KerasHub class: a saved model needs keras_hub only for layers of KerasHub's own (`allowed.HUB_CLASSES`). A preset
may be untrusted: its files are checked before KerasHub reads them.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.errors import BackendError, ConfigError, StorageError, UserError
from kit.machine import install_command
from kit.model.catalog import HUB, Pixels
from kit.model.loading import CLASSES, named, require_classes

if TYPE_CHECKING:
    import keras

CONFIG, CONVERTER, WEIGHTS = "config.json", "image_converter.json", "model.weights.h5"


def resolve_preset(name: str, alpha: float) -> Path:
    """Weights file of a preset (`hub:` and a folder or KerasHub address), downloaded if need be.

    Raises UserError if there is no such preset, it cannot be fetched, or alpha is not 1: a preset has one width.
    """
    if alpha != 1:
        raise ConfigError(f"model.alpha must be 1.0 for the backbone {name}, not {alpha}.")
    return _file(_preset(name), WEIGHTS)


def hub_network(name: str, image_size: int, alpha: float) -> "tuple[keras.Model, Pixels]":
    """Network of a preset with random weights, and the pixels it expects.

    Raises UserError as `resolve_preset`, and if KerasHub is missing or the network gives no feature maps.
    """
    import keras

    resolve_preset(name, alpha)
    preset = _preset(name)
    _require_harmless(preset, CONFIG)
    _require_harmless(preset, CONVERTER)
    hub = _keras_hub()
    with _one_message(preset):
        found = hub.models.Backbone.from_preset(preset, load_weights=False, dtype="float32")
        converter = hub.layers.ImageConverter.from_preset(preset)
    title = f"{type(found).__name__} of {preset}"
    if not all(isinstance(one, keras.KerasTensor) for one in (found.input, found.output)) or found.output.ndim != 4:
        raise ConfigError(
            f"{title} does not give feature maps (height, width, channels).",
            "Convolutional backbones do; choose one of those.",
        )
    plain = keras.Model(found.input, found.output, name=found.name)
    try:
        require_classes(Path(preset), keras.saving.serialize_keras_object(plain), hub=True)
    except StorageError as error:  # before a run is made whose model would be refused
        hint = "docs/adding-a-backbone.md says which layers of KerasHub are supported."
        raise ConfigError(error.what, hint) from error
    try:
        return _of_size(plain, image_size), Pixels(_numbers(converter.scale, 1.0), _numbers(converter.offset, 0.0))
    except (ValueError, TypeError) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(f"{title} does not take images of {image_size} px: {why}.") from error


def _preset(name: str) -> str:
    preset = name.removeprefix(HUB)
    folder = Path(preset).expanduser()
    return str(folder) if folder.is_dir() else preset


def _file(preset: str, file: str) -> Path:
    """Local path of a file of a preset."""
    folder = Path(preset)
    if folder.is_dir():
        if not (folder / file).is_file():
            raise ConfigError(f"{folder} is not a preset of KerasHub: it has no {file}.", _wanted(file))
        return folder / file
    if preset.startswith((".", "/", "~")) or not preset:
        raise ConfigError(f"There is no preset folder {preset!r}.", f"Name it after {HUB}, or a preset of KerasHub.")
    _keras_hub()
    from keras_hub.src.utils.preset_utils import get_file

    with _one_message(preset):
        return Path(get_file(preset, file))


def _wanted(file: str) -> str:
    if file == CONVERTER:
        return "It says what pixels the network expects: write it with ImageConverter(...).save_to_preset(folder)."
    return "A preset is what save_to_preset(folder) of a KerasHub backbone writes."


@contextmanager
def _one_message(preset: str) -> Iterator[None]:
    """Turn whatever KerasHub raises into one ConfigError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # network, credentials, versions: KerasHub and its downloaders raise many kinds
        first = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise ConfigError(
            f"The KerasHub preset {preset!r} cannot be had: {first}.",
            "Without a network, download the preset elsewhere and name its folder: --backbone hub:FOLDER.",
        ) from error


def _require_harmless(preset: str, file: str) -> None:
    """Raise ConfigError if a preset names other classes than KerasHub's and the allowed ones of Keras."""
    path = _file(preset, file)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error
    for module, name, registered in named(path, config):
        own = (module or "").partition(".")[0] == "keras_hub" and name != "function"
        plain = {None, name, f"keras_hub>{name}"}
        if not (own or name in CLASSES.get(module, ())) or registered not in plain:
            raise ConfigError(f"{path} is refused: it holds {module}.{name}, which no preset of KerasHub does.")


def _keras_hub() -> Any:
    try:
        import keras_hub
    except ImportError as error:
        raise BackendError(f"KerasHub is not installed: {error}.", f"Run `{install_command('hub')}`.") from error
    return keras_hub


def _of_size(model: "keras.Model", size: int) -> "keras.Model":
    """The same network for square inputs of one size: most presets leave it open, stores cannot."""
    import keras

    config = model.get_config()
    config["layers"][0]["config"]["batch_shape"] = (None, size, size, 3)
    return keras.Model.from_config(config)


def _numbers(value: Any, default: float) -> float | tuple[float, ...]:
    if value is None:
        return default
    return tuple(map(float, value)) if hasattr(value, "__len__") else float(value)
