"""model.keras loads in older versions of Keras, as far as its configuration tells."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kit.model.saving import save_model, without_later

pytestmark = pytest.mark.backend

# Class -> arguments that Keras 3.5.0 knows, read from the signatures of its classes.
KNOWN = json.loads((Path(__file__).parents[1] / "fixtures" / "keras-3.5.json").read_text(encoding="utf-8"))


ANYTHING = ("Functional", "InputLayer")  # take arguments by **kwargs


def unknown(config):
    """(class, argument) that the older Keras would refuse."""
    if isinstance(config, list):
        return [fault for part in config for fault in unknown(part)]
    if not isinstance(config, dict):
        return []
    known = KNOWN.get(f"{config.get('module')}.{config.get('class_name')}")
    own = config.get("config")
    layer = known is not None and isinstance(own, dict) and config["class_name"] not in ANYTHING
    faults = [(config["class_name"], name) for name in own if name not in known] if layer else []
    return [*faults, *(fault for part in config.values() for fault in unknown(part))]


def written(model, path):
    with zipfile.ZipFile(path) as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        return json.loads(archive.read("config.json"))


def test_an_older_keras_knows_every_argument(toy_weights, tmp_path):
    import keras
    from toy import build

    from kit.model.classifier import build_head

    inputs = keras.Input((32, 32, 3), dtype="uint8")
    features = build((32, 32, 3), False, None)(keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs))
    head = build_head(32, 3, 8, 0.1, 0)
    model = keras.Model(inputs, head(keras.layers.GlobalAveragePooling2D()(features)))
    model.save(tmp_path / "plain.keras")
    save_model(model, tmp_path / "model.keras")
    assert {name for _, name in unknown(written(model, tmp_path / "plain.keras"))} >= {"input_axes", "renorm"}
    assert unknown(written(model, tmp_path / "model.keras")) == []
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["model.keras", "plain.keras"]
    again = keras.saving.load_model(tmp_path / "model.keras")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(again.predict(pixels, verbose=0), model.predict(pixels, verbose=0))


def test_what_is_no_default_stays():
    layers = [{"renorm": True, "renorm_momentum": 0.5, "renorm_clipping": None}, {"input_axes": [0]}]
    assert without_later(layers) == [{"renorm": True, "renorm_momentum": 0.5}, {"input_axes": [0]}]
