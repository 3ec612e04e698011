"""A trial is a run without what a run leaves: the same course, no test images, the trunk and the head computed once."""

import shutil
from dataclasses import replace

import pytest

from doubles import swap
from image_files import make_images
from kit.cache.stores import Store
from kit.config import DataConfig, ModelConfig, PhaseConfig, RunConfig, TrainingConfig, ViewsConfig
from kit.data.dataset import load_dataset
from kit.errors import DataError
from kit.pipeline import train
from kit.settings import override
from kit.training.extraction import Extractor
from kit.trial import Trainer
from search.objective import values

pytestmark = [pytest.mark.backend, pytest.mark.full]

DEPTHS = (0, 1, 2)


@pytest.fixture
def config(images, toy_weights, tmp_path, monkeypatch) -> RunConfig:
    """Seconds of training, in a cache of its own."""
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    return RunConfig(
        data=DataConfig(path=str(images), image_size=32),
        views=ViewsConfig(count=2),
        model=ModelConfig(backbone="toy", weights=str(toy_weights), head_units=16, dropout=0.3),
        training=TrainingConfig(batch_size=16, base_depth=2),
        phases=(
            PhaseConfig(name="head", epochs=2, learning_rate=1e-2),
            PhaseConfig(name="tail", epochs=2, unfreeze_depth=2, learning_rate=1e-3),
        ),
    )


def test_a_trial_takes_the_course_of_a_run(config, tmp_path):
    trained = Trainer().train(config, DEPTHS)
    run = train(config, tmp_path / "run")
    assert run.history.equal_curves(trained.history)
    assert trained.kept == trained.history.best()
    network = run.manifest["network"]
    assert (trained.parameters, trained.multiply_adds) == (network["parameters"], network["multiply_adds"])
    head, tail = (phase["trained_parameters"] for phase in network["phases"])
    assert trained.trained_parameters == tail > head
    assert list(values(trained, ("accuracy", "trained_parameters"))) == [trained.kept.val_accuracy, tail]


PLUGIN = """
import keras
from PIL import ImageOps

def head(pooled):
    return keras.layers.Dropout(0.2)(keras.layers.Dense(8, activation="silu")(pooled))

loss = "CategoricalFocalCrossentropy"

def metrics():
    return [keras.metrics.F1Score(average="macro")]

def augmentation(image, rng):
    return ImageOps.mirror(image) if rng.random() < 0.5 else image.rotate(rng.uniform(-5, 5))
"""


@pytest.mark.once(backend="tensorflow")
def test_trials_with_parts_of_a_file_take_the_course_of_a_run_and_train_its_head_once(config, tmp_path):
    file = tmp_path / "parts.py"
    file.write_text(PLUGIN)
    config = replace(config, plugin=str(file), model=replace(config.model, head_units=128, dropout=0.0))
    trainer = Trainer()
    first = trainer.train(config, DEPTHS)
    assert not trainer.work.shared_head
    second = trainer.train(config, DEPTHS)
    assert trainer.work.shared_head
    run = train(config, tmp_path / "run")
    assert all(dict(record.val_metrics)["f1_score"] <= 1 for record in run.history)
    assert first.history.equal_curves(run.history)
    assert second.history.equal_curves(run.history)
    file.write_text(PLUGIN.replace("silu", "relu"))
    other = Trainer()
    other.train(config, DEPTHS)
    assert not other.work.shared_head


@pytest.mark.once(backend="tensorflow")
def test_the_search_needs_no_test_image(config, tmp_path):
    """Once the images are audited, those of the test split may vanish, and nothing changes."""
    images = make_images(tmp_path / "images", ("blue", "red"), 24)
    config = override(config, {"data.path": str(images)}, "the test")
    trainer, dataset = Trainer(), load_dataset(config)
    before = trainer.train(config, DEPTHS)
    test = dataset.indices("test")
    assert len(test)
    for index in test:
        dataset.files[index].unlink()
    shutil.rmtree(tmp_path / "cache" / "stores")
    shutil.rmtree(tmp_path / "cache" / "heads")
    after = trainer.train(config, DEPTHS)
    assert after.history.equal_curves(before.history)
    assert not trainer.work.shared_head


@pytest.mark.once(backend="tensorflow")
def test_the_trunk_runs_once_for_all_depths(config, monkeypatch):
    trainer = Trainer()
    trainer.train(config, DEPTHS)

    def forbidden(self, batch, start, ends):
        raise AssertionError(f"the trunk runs again, from {start} to {ends}")

    swap(monkeypatch, Extractor, "forward", forbidden)
    for depth in DEPTHS:
        values = {"phases.1.unfreeze_depth": depth, "model.head_units": 8 + depth}
        trained = trainer.train(override(config, values, "the test"), DEPTHS)
        assert len(trained.history) == (4 if depth else 2)


@pytest.mark.once(backend="tensorflow")
def test_a_head_is_trained_once(config, monkeypatch):
    trainer, epochs = Trainer(), []
    first = trainer.train(config, DEPTHS)
    assert not trainer.work.shared_head
    other = override(config, {"phases.1.learning_rate": 3e-3, "training.layer_decay": 0.7}, "the test")
    second = trainer.train(other, DEPTHS, lambda history: epochs.append(len(history)))
    assert trainer.work.shared_head
    assert second.history.records[:2] == first.history.records[:2]  # seconds too: it is a record of that training
    assert epochs == [1, 2, 3, 4]
    shutil.rmtree(Store("pixels", {}, (1,), "uint8").folder.parents[1] / "heads")
    alone = trainer.train(other, DEPTHS)
    assert not trainer.work.shared_head
    assert alone.history.equal_curves(second.history)


@pytest.mark.once(backend="tensorflow")
@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"model.dropout": 0.2},
        {"phases.0.epochs": 1},
        {"split.seed": 1},
        {"training.ema": 0.9},
        {"training.mixup": 0.2},
    ],
    ids=str,
)
def test_another_head_is_trained_anew(config, change):
    trainer = Trainer()
    config = replace(config, phases=config.phases[:1])
    trainer.train(config)
    trainer.train(config)
    assert trainer.work.shared_head
    trainer.train(override(config, change, "the test"))
    assert not trainer.work.shared_head


@pytest.mark.once(backend="tensorflow")
def test_a_damaged_head_is_trained_again(config, tmp_path):
    trainer = Trainer()
    config = replace(config, phases=config.phases[:1])
    first = trainer.train(config)
    (kept,) = (tmp_path / "cache" / "heads").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    second = trainer.train(config)
    assert not trainer.work.shared_head
    assert second.history.equal_curves(first.history)


@pytest.mark.once(backend="tensorflow")
def test_images_without_validation_are_refused(config):
    config = override(config, {"split.train": 0.8, "split.validation": 0.0, "split.test": 0.2}, "the test")
    with pytest.raises(DataError, match="no validation images"):
        Trainer().train(config)


def test_latency_is_that_of_one_image(config):
    assert 0 < Trainer().latency(config, repeats=3) < 60_000
