"""KerasHub presets as backbones: made on the spot with random weights, cut, trained, saved and loaded again."""

import json
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from image_files import make_images
from kit import backends
from kit.config import DataConfig, ModelConfig, PhaseConfig, RunConfig, TrainingConfig, ViewsConfig
from kit.errors import BackendError, ConfigError, StorageError, WeightsError
from kit.model.backbones import build_backbone
from kit.model.catalog import HUB_BLOCKS
from kit.model.classifier import Classifier, build_head
from kit.model.graph import multiply_adds
from kit.model.loading import load_model
from kit.model.weights import resolve
from kit.pipeline import train
from kit.predict import Predictor
from kit.run_scores import evaluate
from kit.training.session import build_classifier

pytestmark = [
    pytest.mark.backend,
    pytest.mark.full,
    pytest.mark.filterwarnings("ignore"),  # KerasHub and what it imports warn of each other
]

SIZE = 32
keras_hub = pytest.importorskip("keras_hub", reason="needs the extra `hub`", exc_type=ImportError)


def resnet(folder: Path) -> None:
    """Two stages of two basic blocks; every layer is one of Keras's own."""
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128],
        stackwise_num_blocks=[2, 2],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
    )
    backbone.save_to_preset(folder)
    converter = keras_hub.layers.ResNetImageConverter(scale=[1 / 60, 1 / 58, 1 / 57], offset=[-2.1, -2.0, -1.8])
    converter.save_to_preset(folder)


def efficientnet(folder: Path) -> None:
    """Three blocks in layers of KerasHub's own, with batch normalisation inside them."""
    backbone = keras_hub.models.EfficientNetBackbone(
        stackwise_kernel_sizes=[3, 3, 3],
        stackwise_num_repeats=[1, 1, 1],
        stackwise_input_filters=[8, 8, 16],
        stackwise_output_filters=[8, 16, 16],
        stackwise_expansion_ratios=[1, 4, 4],
        stackwise_squeeze_and_excite_ratios=[0, 0, 0.25],
        stackwise_strides=[1, 2, 2],
        stackwise_block_types=["fused", "fused", "unfused"],
        width_coefficient=1.0,
        depth_coefficient=1.0,
        include_stem_padding=False,
        use_depth_divisor_as_min_depth=True,
        cap_round_filter_decrease=True,
        stem_conv_padding="same",
        batch_norm_momentum=0.9,
    )
    backbone.save_to_preset(folder)
    keras_hub.layers.EfficientNetImageConverter(scale=1 / 127.5, offset=-1.0).save_to_preset(folder)


# preset -> blocks from the top, and whether a saved model needs keras_hub to be loaded
KINDS = {
    "resnet": (resnet, ["stack1_block1", "stack1_block0", "stack0_block1", "stack0_block0"], False),
    "efficientnet": (efficientnet, ["block3a", "block2a", "block1a"], True),
}


@pytest.fixture(scope="module", params=KINDS)
def preset(request, tmp_path_factory) -> Path:
    """The folder of a preset, called after its kind."""
    backends.start(seed=0)
    folder = tmp_path_factory.mktemp("presets") / request.param
    KINDS[request.param][0](folder)
    return folder


@pytest.fixture(scope="module")
def hub_images(tmp_path_factory) -> Path:
    return make_images(tmp_path_factory.mktemp("hub"), ("blue", "red"), 16, size=48)


def run_config(preset: Path, images: Path) -> RunConfig:
    return RunConfig(
        data=DataConfig(path=str(images), image_size=SIZE),
        views=ViewsConfig(count=1),
        model=ModelConfig(backbone=f"hub:{preset}", head_units=8),
        training=TrainingConfig(batch_size=8),
        phases=(PhaseConfig(epochs=2), PhaseConfig(epochs=1, unfreeze_depth=1, learning_rate=1e-3)),
    )


def numpy(tensor) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)


def test_a_preset_is_cut_before_its_blocks_and_joined_again(preset):
    backbone = build_backbone(f"hub:{preset}", SIZE)
    assert [cut.name for cut in backbone.cuts] == ["pooled", *KINDS[preset.name][1], "all"]
    classifier = Classifier(backbone, build_head(backbone.model.output.shape[-1], 3, 0, 0.0, 0), "own")
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    whole = numpy(classifier.full()(pixels))
    for cut in backbone.cuts[1:-1]:
        rows = classifier.trunk(backbone.cut(-1), (cut,))(pixels)
        rows = rows[0] if isinstance(rows, list) else rows
        np.testing.assert_allclose(numpy(classifier.tail(cut)(rows)), whole, atol=1e-5)


def test_weights_and_pixels_are_those_of_the_preset(preset):
    config = run_config(preset, Path())
    weights = resolve("imagenet", 1.0, SIZE, config.model.backbone)
    assert (weights.name, weights.path) == ("preset", preset / "model.weights.h5")
    classifier = build_classifier(config, 2, weights)
    theirs = keras_hub.models.Backbone.from_preset(str(preset))
    converter = keras_hub.layers.ImageConverter.from_preset(str(preset))
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    expected = numpy(theirs(converter(pixels.astype(np.float32))))
    assert np.ptp(expected) > 0
    found = numpy(classifier.backbone.model(classifier.backbone.preprocessing(pixels)))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.once(backend="jax")
def test_multiply_adds_count_what_is_inside_layers():
    """One fused block: a 3x3 convolution to 32 channels and a 1x1 one to 8, at 4 x 4 places, by hand."""
    from keras_hub.src.models.efficientnet.fusedmbconv import FusedMBConvBlock

    x = keras.Input((4, 4, 8))
    block = FusedMBConvBlock(input_filters=8, output_filters=8, expand_ratio=4, kernel_size=3, strides=1, se_ratio=0)
    model = keras.Model(x, block(x))
    assert multiply_adds(model) == 16 * (3 * 3 * 8 * 32 + 32 * 8)
    assert model(np.zeros((1, 4, 4, 8), np.float32)).shape == (1, 4, 4, 8)


def test_no_batch_normalisation_is_trained_wherever_it_is(preset):
    backbone = build_backbone(f"hub:{preset}", SIZE)
    classifier = Classifier(backbone, build_head(backbone.model.output.shape[-1], 3, 0, 0.0, 0), "stock")
    classifier.unfreeze(backbone.cut(1))
    trained = [variable.path for variable in classifier.full().trainable_variables]
    assert len(trained) > 2
    assert not any("bn" in path.lower() or "gamma" in path or "beta" in path for path in trained)


def test_a_preset_is_trained_end_to_end(preset, hub_images, tmp_path):
    run = train(run_config(preset, hub_images), tmp_path / "run")
    assert run.manifest["status"] == "finished"
    assert run.manifest["weights"]["name"] == "preset"
    assert run.manifest["network"]["blocks"] == ["stem", *KINDS[preset.name][1][::-1]]
    assert run.history.records[1].loss < run.history.records[0].loss
    scores = evaluate(run)
    assert scores["test"]["accuracy"] == run.metrics["test"]["accuracy"]
    moved = tmp_path / "presets gone"
    shutil.move(preset, moved)  # a saved model is whole
    try:
        file = hub_images / "red" / "0000.jpg"
        (row,) = Predictor.of(run).probabilities([file])
    finally:
        shutil.move(moved, preset)
    assert row.shape == (2,)
    if KINDS[preset.name][2]:
        with pytest.raises(StorageError, match=r"keras_hub.src.models"):
            load_model(run.model_path)
    else:
        assert load_model(run.model_path).output.shape == (None, 2)


# Others, by their builder, settings, and blocks from the top: cut, saved and loaded, but not trained here.
OTHERS = {
    "vgg": (
        "VGGBackbone",
        {"stackwise_num_repeats": [1, 1, 1], "stackwise_num_filters": [4, 8, 8]},
        ["block3", "block2"],
    ),
    "xception": (
        "XceptionBackbone",
        {"stackwise_conv_filters": [[4, 8], [16, 16], [32, 32]], "stackwise_pooling": [True, True, False]},
        ["block3", "block2"],
    ),
    "densenet": ("DenseNetBackbone", {"stackwise_num_repeats": [1, 1]}, ["stack2_block1", "stack1_block1"]),
    "cspnet": (
        "CSPNetBackbone",
        {
            "stem_filters": 8,
            "stem_kernel_size": 3,
            "stem_strides": 1,
            "stackwise_depth": [1, 2],
            "stackwise_strides": [1, 2],
            "stackwise_num_filters": [16, 32],
            "stage_type": "csp",
            "block_type": "dark_block",
            "expand_ratio": [2.0, 1.0],
            "bottle_ratio": [0.5, 1.0],
            "block_ratio": [1.0, 0.5],
            "down_growth": True,
        },
        ["stage_1_block_0", "stage_0_block_0"],
    ),
    "mobilenet": (
        "MobileNetBackbone",
        {
            "stackwise_expansion": [[8], [16]],
            "stackwise_num_blocks": [1, 1],
            "stackwise_num_filters": [[8], [16]],
            "stackwise_kernel_size": [[3], [5]],
            "stackwise_num_strides": [[2], [2]],
            "stackwise_se_ratio": [[None], [0.25]],
            "stackwise_activation": [["relu"], ["hard_swish"]],
            "stackwise_padding": [[1], [2]],
            "output_num_filters": 32,
            "input_activation": "hard_swish",
            "output_activation": "hard_swish",
            "input_num_filters": 8,
            "depthwise_filters": 8,
            "depthwise_stride": 2,
            "depthwise_residual": False,
            "squeeze_and_excite": 0.5,
            "last_layer_filter": 32,
        },
        ["block_3_0", "block_2_0", "block_1_0", "block_0_0"],
    ),
}


@pytest.mark.once(backend="jax")
@pytest.mark.usefixtures("quick_jax")
@pytest.mark.parametrize("name", OTHERS)
def test_networks_of_other_kinds_are_cut_saved_and_loaded(name, tmp_path):
    builder, settings, blocks = OTHERS[name]
    backends.start(seed=0)
    getattr(keras_hub.models, builder)(**settings).save_to_preset(tmp_path / name)
    keras_hub.layers.ImageConverter(scale=1 / 127.5, offset=-1.0).save_to_preset(tmp_path / name)
    backbone = build_backbone(f"hub:{tmp_path / name}", SIZE)
    assert [cut.name for cut in backbone.cuts] == ["pooled", *blocks, "all"]
    built = Classifier(backbone, build_head(backbone.model.output.shape[-1], 3, 0, 0.0, 0), "own")
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    whole = numpy(built.full()(pixels))
    cut = backbone.cut(1)
    np.testing.assert_allclose(numpy(built.tail(cut)(built.trunk(backbone.cut(-1), (cut,))(pixels))), whole, atol=1e-5)
    built.full().save(tmp_path / "model.keras")
    loaded = Classifier.of(load_model(tmp_path / "model.keras", hub=True), HUB_BLOCKS, "stock")
    assert [cut.name for cut in loaded.backbone.cuts] == [cut.name for cut in backbone.cuts]
    np.testing.assert_allclose(numpy(loaded.full()(pixels)), whole, atol=1e-5)


# === What is refused ===


@pytest.fixture
def spoilt(preset, tmp_path) -> Path:
    """A copy of a preset, to be spoilt."""
    return Path(shutil.copytree(preset, tmp_path / preset.name))


def change(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.once(backend="jax")
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder: (folder / "image_converter.json").unlink(), "it has no image_converter.json"),
        (lambda folder: (folder / "model.weights.h5").unlink(), "it has no model.weights.h5"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda folder: change(folder / "config.json", module="os", class_name="system"), "it holds os.system"),
        (lambda folder: change(folder / "config.json", module="keras.layers", class_name="Lambda"), "Lambda"),
        (lambda folder: change(folder / "config.json", module="keras.layers", class_name="TFSMLayer"), "TFSMLayer"),
        (lambda folder: change(folder / "config.json", registered_name="keras_hub>Lambda"), "is refused"),
    ],
)
def test_a_spoilt_preset_is_refused_with_one_message(spoilt, spoil, told):
    spoil(spoilt)
    with pytest.raises(ConfigError, match=told):
        build_backbone(f"hub:{spoilt}", SIZE)


@pytest.mark.once(backend="jax")
def test_weights_that_do_not_fit_are_refused(spoilt, preset):
    other = build_backbone("mobilenet_v2", SIZE, 0.35).model
    other.save_weights(spoilt / "model.weights.h5")
    config = run_config(spoilt, Path())
    with pytest.raises(WeightsError, match="does not fit the preset"):
        build_classifier(config, 2, resolve("imagenet", 1.0, SIZE, config.model.backbone))


def test_a_width_is_refused(preset):
    config = run_config(preset, Path())
    with pytest.raises(ConfigError, match=r"model.alpha must be 1.0"):
        resolve("imagenet", 0.5, SIZE, config.model.backbone)


@pytest.mark.once(backend="jax")
def test_a_backbone_without_feature_maps_is_refused(tmp_path):
    backbone = keras_hub.models.ViTBackbone(
        image_shape=(SIZE, SIZE, 3), patch_size=(16, 16), num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=8
    )
    backbone.save_to_preset(tmp_path / "vit")
    keras_hub.layers.ViTImageConverter(scale=1 / 127.5, offset=-1.0).save_to_preset(tmp_path / "vit")
    with pytest.raises(ConfigError, match="does not give feature maps"):
        build_backbone(f"hub:{tmp_path / 'vit'}", SIZE)


@pytest.mark.once(backend="jax")
def test_a_size_that_a_network_cannot_take_is_one_message(tmp_path):
    """This one adds what has been halved to what has not; only a size shows it."""
    filters = {"stackwise_conv_filters": [[4, 8], [8, 8], [16, 16]], "stackwise_pooling": [True, True, False]}
    keras_hub.models.XceptionBackbone(**filters).save_to_preset(tmp_path / "odd")
    keras_hub.layers.ImageConverter(scale=1 / 127.5, offset=-1.0).save_to_preset(tmp_path / "odd")
    with pytest.raises(ConfigError, match=r"XceptionBackbone of .*odd does not take images of 32 px"):
        build_backbone(f"hub:{tmp_path / 'odd'}", SIZE)


def test_an_address_that_cannot_be_reached_is_one_message(monkeypatch):
    def unreachable(preset, file):
        raise OSError("no network")

    monkeypatch.setattr("keras_hub.src.utils.preset_utils.get_file", unreachable)
    with pytest.raises(ConfigError, match=r"cannot be had: no network") as caught:
        resolve("imagenet", 1.0, SIZE, "hub:hf://someone/something")
    assert "hub:FOLDER" in caught.value.hint


def test_without_keras_hub_the_extra_is_named(preset, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(BackendError, match="KerasHub is not installed") as caught:
        build_backbone(f"hub:{preset}", SIZE)
    assert "pip install 'keras-hub" in caught.value.hint
