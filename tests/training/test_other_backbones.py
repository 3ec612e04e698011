"""Runs on backbones other than MobileNetV2: trained, saved, loaded and scored as any run."""

import random
from pathlib import Path

import keras
import pytest
from small import HEAD_AND_TAIL, small_config

from kit import backends
from kit.config import RunConfig
from kit.model import undrawn
from kit.model.backbones import build_backbone
from kit.model.catalog import block_names
from kit.model.classifier import Classifier, build_head
from kit.model.loading import load_model
from kit.model.weights import Weights
from kit.pipeline import train
from kit.run_scores import evaluate
from kit.training.session import build_classifier

pytestmark = [pytest.mark.backend, pytest.mark.full]

NONE = Weights("none", None, "")


@pytest.fixture
def _no_drawing():
    """Weights of zeros, where only structure counts."""
    with undrawn():
        yield


def config_of(images: Path, name: str, **changes) -> RunConfig:
    return small_config(
        images, *HEAD_AND_TAIL, data={"image_size": 32}, model={"backbone": name, "alpha": 1.0}, **changes
    )


def test_a_whole_run_is_scored_again_to_the_digit(images, tmp_path):
    """With maps of where it looked, and a model that plain Keras loads."""
    run = train(config_of(images, "mobilenet_v3_small"), tmp_path / "run")
    network = run.manifest["network"]
    assert (network["backbone"], network["blocks"][0], network["blocks"][-1]) == (
        "mobilenet_v3_small",
        "stem",
        "conv_1",
    )
    assert network["phases"][1]["cut"] == "expanded_conv_10"
    assert evaluate(run)["test"] == run.metrics["test"]
    model = keras.saving.load_model(run.model_path)
    assert (model.input.shape, model.output.shape) == ((None, 32, 32, 3), (None, 3))


@pytest.mark.usefixtures("_no_drawing")
@pytest.mark.parametrize("name", ["resnet50", "convnext_tiny"])
def test_a_saved_classifier_is_the_one_that_was_built(name, tmp_path):
    """Same cuts; same fingerprints, so that scoring it again finds the stores; same answers."""
    backends.start()
    backbone = build_backbone(name, 32)
    built = Classifier(backbone, build_head(backbone.model.output.shape[-1], 3, 4, 0.0, 0), "stock")
    built.full().save(tmp_path / "model.keras")
    loaded = Classifier.of(load_model(tmp_path / "model.keras"), block_names(name), "stock")
    assert [(cut.depth, cut.name) for cut in loaded.backbone.cuts] == [(cut.depth, cut.name) for cut in backbone.cuts]
    for depth in (0, 2, len(backbone.cuts) - 2):
        assert loaded.fingerprint(loaded.backbone.cut(depth)) == built.fingerprint(backbone.cut(depth))
    loaded.unfreeze(loaded.backbone.cut(2))
    built.unfreeze(backbone.cut(2))
    assert [one.shape for one in loaded.full().trainable_variables] == [
        one.shape for one in built.full().trainable_variables
    ]


@pytest.mark.usefixtures("_no_drawing")
def test_fingerprints_tell_backbones_apart_where_weights_do_not():
    """Of zeros, both have the same weights below the first block; preprocessing and structure differ."""
    backends.start()
    found = []
    for name in ("resnet50", "resnet50_v2"):
        backbone = build_backbone(name, 32)
        head = build_head(backbone.model.output.shape[-1], 2, 0, 0.0, 0)
        found.append(Classifier(backbone, head, "stock").fingerprint(backbone.cut(16)))
    assert found[0] != found[1]


@pytest.mark.usefixtures("_no_drawing")
def test_layers_that_drop_at_random_have_the_seed_of_the_run(images):
    """Whatever was drawn before: else a trial would not repeat as a run."""
    config = config_of(images, "efficientnet_v2_b0")
    backends.start()

    def seeds() -> list:
        random.random()
        layers = build_classifier(config, 2, NONE).backbone.model.layers
        return [
            keras.ops.convert_to_numpy(layer.seed_generator.state).tolist()
            for layer in layers
            if isinstance(layer, keras.layers.Dropout)
        ]

    first = seeds()
    assert len(first) == len({tuple(seed) for seed in first}) > 5
    assert seeds() == first


@pytest.mark.usefixtures("_no_drawing")
def test_layer_normalisation_is_trained_above_the_cut_and_nowhere_else():
    backends.start()
    backbone = build_backbone("convnext_tiny", 32)
    classifier = Classifier(backbone, build_head(768, 2, 0, 0.0, 0), "stock")
    classifier.unfreeze(backbone.cut(4))  # three blocks, and the downsampling below them
    above = {layer.name for layer in backbone.model.layers if layer.trainable and layer.weights}
    normalised = [name for name in above if "layernorm" in name]
    assert sorted(normalised) == [f"convnext_tiny_stage_3_block_{number}_layernorm" for number in range(3)]
    assert "convnext_tiny_downsampling_block_2" in above
    assert not backbone.model.get_layer("convnext_tiny_downsampling_block_1").trainable_variables
