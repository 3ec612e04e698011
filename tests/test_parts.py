"""Heads, losses, metrics and augmentations of one's own: as objects, and from a file."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

import kit
from in_process import _loud, command, refused  # noqa: F401  # fixtures
from kit import backends
from kit.config import DataConfig, RunConfig, ViewsConfig
from kit.data.pixels import pixel_store
from kit.data.views import render_views
from kit.errors import ConfigError
from kit.model.classifier import own_head
from kit.model.saving import save_model
from kit.parts import given_parts, load_plugin
from kit.training.loop import loss_and_sums
from small_settings import SMALL

pytestmark = pytest.mark.backend

SETTINGS = SMALL | {"views": 2, "fine_tune_epochs": 2}
del SETTINGS["head_units"]
PLUGIN = """
import keras
from PIL import ImageOps


def head(feature_map):
    x = keras.layers.Conv2D(6, 1, activation="relu")(feature_map)
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalMaxPooling2D()(x))
    return keras.layers.Dense(8, activation="gelu", kernel_initializer="he_normal")(x)


loss = "CategoricalFocalCrossentropy"


def metrics():
    return ["F1Score", keras.metrics.TopKCategoricalAccuracy(2, name="top_2")]


def augmentation(image, rng):
    return ImageOps.mirror(image) if rng.random() < 0.5 else image.rotate(rng.uniform(-5, 5))
"""


def head(pooled):
    return keras.layers.Dropout(0.3)(keras.layers.Dense(8, activation="silu")(pooled))


def far(y_true, y_pred):
    """A loss on probabilities."""
    return ops.sum(ops.square(y_true - y_pred), axis=-1)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    file = tmp_path_factory.mktemp("plugin") / "my_parts.py"
    file.write_text(PLUGIN)
    return file


@pytest.fixture(scope="module")
def trained(images, toy_weights, plugin, tmp_path_factory):
    """A run with every part from a file, whose best epoch has the best F1."""
    folder = tmp_path_factory.mktemp("runs") / "own"
    own = {"training.monitor": "val_f1_score", "class_weights": "balanced"}
    return kit.train(images, folder, weights=toy_weights, plugin=plugin, **SETTINGS, **own)


def test_a_file_of_parts_makes_a_whole_run(trained, plugin, images):
    assert (trained.path / "plugin.py").read_text() == PLUGIN
    parts = trained.manifest["parts"]
    assert parts["parts"] == ["head", "loss", "metrics", "augmentation"]
    history = trained.history.to_frame()
    assert history[["val_f1_score", "val_top_2"]].notna().all(axis=None)
    fine = trained.history.best("val_f1_score")
    assert dict(fine.val_metrics)["f1_score"] == history["val_f1_score"].max()
    own = trained.metrics["own_metrics"]["test"]
    assert own["f1_score"] == pytest.approx(trained.metrics["test"]["macro_f1"], abs=1e-6)
    assert own["top_2"] >= trained.metrics["test"]["accuracy"]
    assert trained.report().exists()


def test_the_model_is_plain_layers_and_answers_as_the_run_did(trained, images):
    model = keras.saving.load_model(trained.model_path)  # Keras alone
    *_, backbone, network = model.layers
    assert [layer.__class__.__name__ for layer in network.layers] == [
        "InputLayer", "Conv2D", "GlobalMaxPooling2D", "Dropout", "Dense", "Dense",
    ]  # fmt: skip
    assert network.input.shape == backbone.output.shape
    recorded = trained.predictions.set_index("path")
    file = next(path for path in recorded.index if recorded.loc[path, "split"] == "test")
    one = trained.predict(images / file)
    assert one.label == recorded.loc[file, "predicted"]
    assert one.confidence == pytest.approx(recorded.loc[file, "confidence"], abs=5e-3)  # activations were float16
    scores = trained.evaluate()["test"]
    assert scores["log_loss"] == pytest.approx(trained.metrics["test"]["log_loss"], abs=1e-6)
    with pytest.raises(ConfigError, match="no closed form"):
        trained.explain(images / file)


def test_the_next_run_starts_from_its_backbone(trained, images):
    config = kit.configure(images, weights=trained.path, **SMALL)
    from kit.run_weights import resolve_weights
    from kit.training.session import build_classifier

    network = build_classifier(config, 3, resolve_weights(config)).backbone.model
    stock = trained.model.layers[-2]
    both = zip(network.get_weights(), stock.get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in both)


class _Stop(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        assert "val_categorical_accuracy" in logs
        if epoch == 1:
            raise KeyboardInterrupt


def _turn(image, rng):
    return image.rotate(int(rng.integers(0, 360)))


def _layers():
    return [keras.layers.RandomFlip("horizontal"), keras.layers.RandomRotation(0.1)]


@pytest.mark.parametrize("augment", [lambda: _turn, _layers], ids=["function", "layers"])
def test_a_run_with_objects_goes_on_to_the_bit_with_the_same_ones_alone(augment, images, toy_weights, tmp_path):
    def own():
        """Objects of Keras made anew, as by another process."""
        return {"head": head, "loss": far, "metrics": "categorical_accuracy", "augmentation": augment()}

    whole = kit.train(images, tmp_path / "whole", weights=toy_weights, **SETTINGS, **own())
    with pytest.raises(KeyboardInterrupt):
        kit.train(images, tmp_path / "part", weights=toy_weights, callbacks=[_Stop()], **SETTINGS, **own())
    for wrong, message in (
        ({}, "was started with a head of its own.\nGive it again: kit.resume"),
        (own() | {"head": lambda pooled: pooled}, "The head is no longer the one"),
        (own() | {"loss": "CategoricalHinge"}, "The loss is no longer the one"),
        (own() | {"augmentation": keras.layers.RandomRotation(0.1)}, "The augmentation is no longer the one"),
    ):
        with pytest.raises(ConfigError, match=message):
            kit.resume(tmp_path / "part", **wrong)
    done = kit.resume(tmp_path / "part", **own())
    assert done.history.equal_curves(whole.history)
    both = zip(done.model.get_weights(), whole.model.get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in both)


@pytest.mark.once(backend="tensorflow")
@pytest.mark.full
def test_folds_seeds_and_the_range_test_of_rates_take_the_file_too(plugin, images, toy_weights, command, tmp_path):  # noqa: F811
    settings = SETTINGS | {"views": 1, "weights": toy_weights, "plugin": plugin}
    folds = kit.train(images, tmp_path / "folds", folds=2, **settings)
    assert folds.manifest["parts"]["parts"] == ["head", "loss", "metrics", "augmentation"]
    own = folds.metrics["own_metrics"]["out-of-fold"]
    assert own["f1_score"] == pytest.approx(folds.metrics["out-of-fold"]["macro_f1"], abs=1e-6)
    rates = kit.find_learning_rate(images, steps=20, **settings)
    plain = kit.find_learning_rate(images, steps=20, **settings | {"plugin": ""})
    own, stock = (found.sweeps[0].losses[0] for found in (rates, plain))
    assert own != pytest.approx(stock, rel=0.2)  # of another head, before anything is learned
    words = [f"--set={key}={value}" for key, value in (
        ("data.image_size", 32), ("model.backbone", "toy"), ("views.count", 1), ("phases.0.epochs", 1),
        ("phases.1.epochs", 1), ("phases.1.unfreeze_depth", 1),
    )]  # fmt: skip
    asked = ("train", images, "--weights", toy_weights, "--seeds", "2", "--plugin", plugin, "--out", tmp_path / "seeds")
    assert command(*asked, *words).status == 0
    for one in ("seed-0", "seed-1"):
        assert (tmp_path / "seeds" / one / "plugin.py").read_text() == PLUGIN


@pytest.mark.once(backend="jax")
def test_a_changed_copy_of_the_file_is_refused_and_not_run(trained, refused, tmp_path):  # noqa: F811
    folder = tmp_path / "stopped"
    folder.mkdir()
    (folder / "config.toml").write_bytes((trained.path / "config.toml").read_bytes())
    (folder / "manifest.json").write_text(json.dumps(trained.manifest | {"status": "interrupted"}))
    (folder / "plugin.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    message = refused("train", "--resume", folder)
    assert "plugin.py is no longer the plugin that" in message
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("name", ["CategoricalFocalCrossentropy", "far"])
def test_the_loss_is_that_of_keras_with_smoothed_labels_and_weights(name, smoothing):
    logits = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    labels, weights = np.array([0, 2, 1, 0], np.int32), np.array([1, 2, 0.5, 0], np.float32)
    given = far if name == "far" else name
    total, _ = loss_and_sums(*map(ops.convert_to_tensor, (logits, labels, weights, np.sign(weights))),
                             smoothing, given_parts(loss=given).per_sample)  # fmt: skip
    target = np.eye(3, dtype=np.float32)[labels] * (1 - smoothing) + smoothing / 3
    loss = far if name == "far" else keras.losses.CategoricalFocalCrossentropy(reduction=None)
    expected = ops.convert_to_numpy(loss(ops.convert_to_tensor(target), ops.softmax(ops.convert_to_tensor(logits))))
    assert float(total) == pytest.approx(float((expected * weights).sum()), rel=1e-5)


# === Augmentation ===


@pytest.fixture
def started():
    backends.start()


def _views(parts, views=(0, 1, 2), key="a" * 64):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 48, 3), np.uint8))
    return render_views(image, key, views, DataConfig(image_size=32), ViewsConfig(), 7, parts)


LAYERS = [keras.layers.RandomFlip, keras.layers.RandomContrast]


@pytest.mark.parametrize(
    "make", [lambda: _turn, lambda: [LAYERS[0]("horizontal"), LAYERS[1](0.5)]], ids=["function", "layers"]
)
def test_a_view_depends_on_seed_image_and_number_alone(make, started):
    first, second = (given_parts(augmentation=make()) for _ in range(2))
    found = _views(first)
    assert np.array_equal(found[0], _views(None)[0]), "view 0 is plain"
    assert not np.array_equal(found[1], found[2])
    assert np.array_equal(found[2], _views(second, (2,))[0]), "whatever was drawn before"
    assert not np.array_equal(found[1], _views(first, (1,), "b" * 64)[0])
    assert first.augmentation_key == second.augmentation_key != ""


def test_stores_are_keyed_by_source_and_version(started):
    def other(image, rng):
        return image

    def versioned(image, rng):
        return image

    versioned.version = 2
    given = [None, _turn, other, versioned, [keras.layers.RandomFlip()], [keras.layers.RandomFlip("vertical")]]
    configs = [replace(RunConfig(), parts=given_parts(augmentation=one)) for one in given]
    assert len({pixel_store(1, config).name for config in configs}) == len(given)
    assert len({pixel_store(0, config).name for config in configs}) == 1, "view 0 is nobody's"


def test_metrics_take_any_number_of_classes():
    parts = given_parts(metrics=["F1Score", "TopKCategoricalAccuracy"])
    parts.check(RunConfig())
    assert dict(parts.measure(np.arange(7), np.eye(7)))["f1_score"] == pytest.approx(1.0)


# === What is refused ===


class Mine(keras.layers.Layer):
    def call(self, inputs):
        return inputs


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda pooled: keras.layers.BatchNormalization()(pooled), "LayerNormalization"),
        (lambda pooled: Mine()(pooled), "a layer of your own"),
        (lambda pooled: keras.layers.Lambda(lambda x: x)(pooled), "cannot be saved as plain layers"),
        (lambda feature_map: feature_map, r"must give a Keras tensor \(batch, n\)"),
        (lambda pooled: 1 / 0, "ZeroDivisionError"),
        (lambda pooled: keras.layers.Dense(2, kernel_regularizer="l2")(pooled), "regularisers"),
    ],
)
def test_heads_that_a_run_cannot_have(make, message):
    with pytest.raises(ConfigError, match=message):
        own_head(make, (4, 4, 8), 3, 0)


def test_a_head_of_layers_is_copied_for_each_network(tmp_path):
    layers = keras.Sequential([keras.layers.Dense(5, activation="gelu"), keras.layers.LayerNormalization()])
    first, second = (own_head(layers, (4, 4, 8), 3, 0) for _ in range(2))
    assert first.count_params() == second.count_params() == 8 * 5 + 5 + 10 + 5 * 3 + 3
    assert not {id(one) for one in first.variables} & {id(one) for one in second.variables}
    save_model(first, tmp_path / "head.keras")
    assert keras.saving.load_model(tmp_path / "head.keras").output.shape == (None, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"loss": "SparseCategoricalCrossentropy"}, "Take CategoricalCrossentropy"),
        ({"loss": keras.losses.CategoricalCrossentropy(label_smoothing=0.1)}, "training.label_smoothing"),
        ({"loss": lambda y_true, y_pred: ops.mean(y_pred)}, "a number for each image"),
        ({"loss": "focal"}, "Keras has no loss 'focal'"),
        ({"metrics": keras.metrics.F1Score()}, 'average="macro"'),
        ({"metrics": ["F1Score", "F1Score"]}, "already"),
        ({"augmentation": lambda image: image}, "an image and a NumPy generator"),
        ({"head": head, "head_units": 16}, "model.head_units"),
        ({"metrics": "F1Score", "training.monitor": "val_f1"}, "val_accuracy, val_loss, val_f1_score, not 'val_f1'"),
        ({"metrics": "CategoricalCrossentropy", "training.monitor": "val_categorical_crossentropy"}, "falls"),
    ],
)
def test_parts_that_a_run_cannot_have(given, message):
    config = kit.configure("photos", **given)
    with pytest.raises(ConfigError, match=message):
        config.parts.check(config)


def test_a_monitor_without_its_metric_is_told_before_anything_is_loaded(refused, images):  # noqa: F811
    assert "must be one of val_accuracy, val_loss" in refused("train", images, "--set", "training.monitor=val_f1_score")


def test_plugins_that_say_nothing_or_fail(refused, images, tmp_path):  # noqa: F811
    file = tmp_path / "mine.py"
    assert "cannot be read" in refused("train", images, "--weights", "none", "--plugin", file)
    file.write_text("x = 1\n")
    with pytest.raises(ConfigError, match="defines none of head, loss"):
        load_plugin(file)
    file.write_text("x = 1\nimport nothing_like_it\n")
    with pytest.raises(ConfigError, match=r"fails \(line 2\): ModuleNotFoundError"):
        load_plugin(file)
