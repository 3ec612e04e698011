"""A run folder from someone else: what its model may hold, and what is refused before Keras sees it."""

import io
import json
import pickle
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from kit.errors import StorageError
from kit.model.backbones import build_backbone
from kit.model.catalog import RECIPES
from kit.model.classifier import Classifier, build_head
from kit.model.loading import CLASSES, MEMBERS, load_model, named, require_classes, require_safe

pytestmark = [pytest.mark.backend, pytest.mark.full, pytest.mark.once(backend="tensorflow")]

Members = dict[str, bytes]


def members_of(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, members: Members, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def with_config(members: Members, change: Callable[[dict], None]) -> Members:
    """The same archive with another configuration."""
    config = json.loads(members["config.json"])
    change(config)
    return members | {"config.json": json.dumps(config).encode()}


def with_weights(members: Members, change: Callable[[h5py.File], None]) -> Members:
    """The same archive with other weights."""
    content = io.BytesIO(members["model.weights.h5"])
    with h5py.File(content, "r+") as file:
        change(file)
    return members | {"model.weights.h5": content.getvalue()}


def dense(config: dict) -> dict:
    """The last layer of a saved classifier, deep in its head."""
    return config["config"]["layers"][-1]["config"]["layers"][-1]


def _lambda(path: Path) -> None:
    """A layer that runs Python when it is loaded without `safe_mode`, beside an ordinary one."""
    x = keras.Input((4,))
    y = keras.layers.Lambda(lambda value: value * 2)(keras.layers.Dense(3)(x))
    keras.Model(x, y).save(path)


def _nested_lambda(path: Path) -> None:
    x = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda value: value + 1)])
    keras.Model(x, keras.Sequential([keras.Input((4,)), inner])(x)).save(path)


def _wrapped_lambda(path: Path) -> None:
    """Deep in the configuration of a layer that applies another."""
    x = keras.Input((4, 4))
    keras.Model(x, keras.layers.TimeDistributed(keras.layers.Lambda(lambda value: value + 1))(x)).save(path)


LAMBDA = {"module": "keras.layers", "class_name": "Lambda", "config": {}, "registered_name": None}


def _wrapped_in_a_known_layer(path: Path) -> None:
    """Keras would read it wherever it stands."""
    write(path, with_config(members_of(path), lambda config: dense(config)["config"].update(kernel_initializer=LAMBDA)))


def _compile_config(path: Path) -> None:
    """Read for an inner model even where the whole one is not compiled."""
    change = {"compile_config": {"optimizer": "adam", "loss": [LAMBDA]}}
    write(path, with_config(members_of(path), lambda config: config["config"]["layers"][-1].update(change)))


def _build_config(path: Path) -> None:
    write(
        path, with_config(members_of(path), lambda config: dense(config).update(build_config={"input_shape": LAMBDA}))
    )


def _other_encoding(path: Path) -> None:
    """JSON may be UTF-16; who searched the bytes for a name would find none."""
    members = members_of(path)
    config = json.loads(members["config.json"]) | {"class_name": "Lambda"}
    write(path, members | {"config.json": json.dumps(config).encode("utf-16")})


def _crowd(path: Path) -> None:
    write(path, members_of(path) | {f"assets/{number}": b"" for number in range(2_000)})


def _traversal(path: Path) -> None:
    write(path, {"../../escaped.txt": b"x"} | members_of(path))


def _assets(path: Path) -> None:
    write(path, members_of(path) | {"assets/vocabulary.txt": b"x"})


def _missing(path: Path) -> None:
    members = members_of(path)
    del members["metadata.json"]
    write(path, members)


def _twice(path: Path) -> None:
    members = members_of(path)
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # zipfile finds it odd too
        archive.writestr("config.json", members["config.json"])


def _bomb(path: Path) -> None:
    """300 MB of zeros in 300 kB."""
    write(path, members_of(path) | {"model.weights.h5": bytes(300_000_000)}, zipfile.ZIP_DEFLATED)


def _large(path: Path) -> None:
    write(path, members_of(path) | {"config.json": b" " * (MEMBERS["config.json"] + 1)})


def _system(path: Path) -> None:
    write(path, with_config(members_of(path), lambda config: dense(config).update(module="os", class_name="system")))


def _keras_class(path: Path) -> None:
    """A class of Keras's own, which reads a file that the configuration names."""
    write(path, with_config(members_of(path), lambda config: dense(config).update(class_name="TFSMLayer")))


def _legacy(path: Path) -> None:
    """Without a module, Keras reads a layer as Keras 2 wrote it."""
    write(path, with_config(members_of(path), lambda config: dense(config).pop("module")))


def _registered(path: Path) -> None:
    write(path, with_config(members_of(path), lambda config: dense(config).update(registered_name="evil>Dense")))


def _function(path: Path) -> None:
    function = {"module": "builtins", "class_name": "function", "config": "system", "registered_name": "function"}
    write(path, with_config(members_of(path), lambda config: dense(config)["config"].update(activation=function)))


def _deep(path: Path) -> None:
    write(path, members_of(path) | {"config.json": b"[" * 500 + b"]" * 500})


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weights": [1, 2, 3]}))


def _whole_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{}"


def _page(path: Path) -> None:
    path.write_text("<html>please log in</html>")


def _external_link(path: Path) -> None:
    def change(file: h5py.File) -> None:
        file["layers/stolen"] = h5py.ExternalLink("/etc/passwd", "/")

    write(path, with_weights(members_of(path), change))


def _external_storage(path: Path) -> None:
    def change(file: h5py.File) -> None:
        file.create_dataset("layers/stolen", (4,), "float32", external=[("/etc/passwd", 0, 16)])

    write(path, with_weights(members_of(path), change))


def _claims_much(path: Path) -> None:
    """A terabyte that takes no room until it is read."""

    def change(file: h5py.File) -> None:
        file.create_dataset("layers/vast", (1 << 38,), "float32", chunks=(1 << 20,))

    write(path, with_weights(members_of(path), change))


def _loop(path: Path) -> None:
    def change(file: h5py.File) -> None:
        file["layers/again"] = file["layers"]

    write(path, with_weights(members_of(path), change))


REFUSED = [
    (_lambda, "keras.layers.Lambda, which transferkit never writes"),
    (_nested_lambda, "keras.layers.Lambda, which transferkit never writes"),
    (_wrapped_lambda, "which transferkit never writes"),
    (_wrapped_in_a_known_layer, "keras.layers.Lambda, which transferkit never writes"),
    (_compile_config, "keras.layers.Lambda, which transferkit never writes"),
    (_build_config, "keras.layers.Lambda, which transferkit never writes"),
    (_other_encoding, "Lambda, which transferkit never writes"),
    (_crowd, "it holds 'assets/0'"),
    (_traversal, "'../../escaped.txt'"),
    (_assets, "'assets/vocabulary.txt'"),
    (_missing, "it holds 2 files"),
    (_twice, "it holds 4 files"),
    (_bomb, "is compressed"),
    (_large, "config.json would have"),
    (_system, "os.system, which transferkit never writes"),
    (_keras_class, "keras.layers.TFSMLayer, which transferkit never writes"),
    (_legacy, "something.Dense, which transferkit never writes"),
    (_registered, "keras.layers.Dense, which transferkit never writes"),
    (_function, "builtins.function, which transferkit never writes"),
    (_deep, "more than 100 levels"),
    (_pickle, "pickles are not read"),
    (_whole_h5, "whole models in HDF5"),
    (_page, "no .keras archive"),
    (_external_link, "the link 'stolen'"),
    (_external_storage, "/layers/stolen, which is not a plain array"),
    (_claims_much, "its weights claim 1,099,5"),
    (_loop, "more than 20,000 names"),
]


@pytest.fixture
def foreign(run, tmp_path) -> Path:
    """The run folder as it came from elsewhere."""
    return Path(shutil.copytree(run.path, tmp_path / "foreign"))


@pytest.mark.parametrize(("spoil", "told"), REFUSED, ids=[spoil.__name__.strip("_") for spoil, _ in REFUSED])
def test_what_the_kit_never_writes_is_refused_with_one_message(foreign, images, refused, monkeypatch, spoil, told):
    spoil(foreign / "model.keras")
    monkeypatch.setattr(keras.saving, "load_model", lambda *args, **options: pytest.fail("Keras was asked to load it"))
    said = refused("predict", foreign, images / "red/0000.jpg")
    assert str(foreign / "model.keras") in said
    assert told in said
    assert not list(foreign.parent.glob("**/escaped.txt"))


def test_the_run_itself_is_loaded_and_says_what_it_said(foreign, run, images, command):
    both = [command("predict", folder, images / "red/0000.jpg", "--csv").out for folder in (foreign, run.path)]
    assert both[0] == both[1] != ""


def test_evaluate_refuses_too(foreign, refused):
    _lambda(foreign / "model.keras")
    assert "Lambda" in refused("evaluate", foreign)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_model_is_damaged(foreign, images, refused, share):
    content = (foreign / "model.keras").read_bytes()
    (foreign / "model.keras").write_bytes(content[: int(len(content) * share)])
    assert "cannot be loaded" in refused("predict", foreign, images / "red/0000.jpg")


def test_a_model_of_another_run_is_refused(foreign, images, refused):
    head = build_head(1280, 2, 0, 0.0, 0)
    Classifier(build_backbone("mobilenet_v2", 48, 0.35), head, "stock").full().save(foreign / "model.keras")
    assert "is not the network of this run" in refused("predict", foreign, images / "red/0000.jpg")


@pytest.mark.parametrize("path", ["https://example.org/model.keras", "gs://bucket/model.keras", "hf://one/model.keras"])
def test_an_address_is_refused(path):
    with pytest.raises(StorageError, match="an address"):
        load_model(path)


@pytest.mark.parametrize("path", ["https://example.org/run", "gs://bucket/run", "hf://someone/run"])
def test_a_run_at_an_address_is_refused_with_one_message(path, refused, images):
    for arguments in (
        ("predict", path, images / "red/0000.jpg"),
        ("evaluate", path),
        ("export", path, "--format=keras"),
    ):
        assert "not the address" in refused(*arguments)
    assert "not at the address" in refused("train", path)


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(StorageError, match=r"does not end in .keras"):
        require_safe(tmp_path / "model.h5")


# === The list is that of what the kit writes ===


def test_the_list_holds_what_the_backbones_need_and_nothing_else():
    found = set()
    with pytest.MonkeyPatch.context() as patch:
        for kind in (keras.initializers.VarianceScaling, keras.initializers.TruncatedNormal):
            patch.setattr(kind, "__call__", lambda self, shape, dtype=None: np.zeros(shape, "float32"))
        for name in RECIPES:
            backbone = build_backbone(name, 32)
            model = Classifier(backbone, build_head(backbone.model.output.shape[-1], 2, 2, 0.1, 0), "stock").full()
            config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
            require_classes(Path(name), config)
            found |= {(module, one) for module, one, _ in named(Path(name), config)}
    assert found == {(module, one) for module, names in CLASSES.items() for one in names}
