"""One confidence: saved model, exports, tables, scores, page and `predict` say the same of the same images."""

import os
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import reports
from image_files import make_images
from judged import train_toy
from kit.backends import current_name
from kit.data.images import decode
from kit.evaluation import apply_temperature, calibration_error, log_loss
from kit.export.parity import load_runtime
from kit.export.writers import write_model
from kit.predict import load_classifier
from kit.run_writer import RunWriter

pytestmark = pytest.mark.backend

CLASSES = ("blue", "green", "red")
NO_IMAGES = np.zeros((0, 32, 32, 3), np.uint8)  # to calibrate int8 with


@pytest.fixture(scope="module")
def mislabelled(tmp_path_factory) -> Path:
    """Images of which every fourth lies in the next class's folder, so that no model gets all of them right."""
    folder = make_images(tmp_path_factory.mktemp("mislabelled"), CLASSES, 40, seed=4)
    for place, name in enumerate(CLASSES):
        for number in range(0, 40, 4):
            os.rename(
                folder / name / f"{number:04d}.jpg", folder / CLASSES[(place + 1) % 3] / f"moved-{name}-{number}.jpg"
            )
    return folder


@pytest.fixture(scope="module")
def calibrated(mislabelled, toy_weights, tmp_path_factory) -> RunWriter:
    """A run of two phases, with activations in float32: nothing is rounded on the way."""
    settings = {"training.label_smoothing": 0.5}  # too modest by far: the temperature has much to do
    return train_toy(mislabelled, toy_weights, tmp_path_factory.mktemp("confidence") / "run", settings)


@pytest.fixture(scope="module")
def predicted(calibrated, mislabelled) -> np.ndarray:
    """What `Run.predict` says of the run's images, in the order of predictions.csv."""
    found = calibrated.predict([mislabelled / path for path in calibrated.predictions["path"]])
    return np.array([one.probabilities for one in found])


def test_the_run_is_scaled_and_says_by_how_much(calibrated):
    metrics = calibrated.metrics
    assert metrics["temperature"] < 0.8, "there was little to scale: the tests here would show nothing"
    assert metrics["temperature_note"] == ""
    assert metrics["validation"]["log_loss"] < metrics["validation"]["log_loss_unscaled"]
    assert all(phase["validation"]["log_loss_unscaled"] is not None for phase in metrics["phases"])
    last = metrics["phases"][-1]
    assert {name: last[name] for name in ("train", "validation", "test")} == {
        name: metrics[name] for name in ("train", "validation", "test")
    }


def test_the_table_says_what_predict_says(calibrated, predicted):
    table = calibrated.predictions
    recorded = table[[f"p_{name}" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(recorded, predicted, atol=1e-6)
    np.testing.assert_allclose(table["confidence"], predicted.max(axis=1), atol=1e-6)
    assert table["predicted"].tolist() == [CLASSES[i] for i in predicted.argmax(axis=1)]


def test_model_and_export_say_what_predict_says(calibrated, mislabelled, predicted, tmp_path):
    files = [mislabelled / path for path in calibrated.predictions["path"]]
    pixels = np.stack([decode(file, calibrated.config.data) for file in files])
    model = keras.saving.load_model(calibrated.model_path)
    np.testing.assert_allclose(np.asarray(model.predict_on_batch(pixels)), predicted, atol=1e-6)
    name = "saved_model" if current_name() == "tensorflow" else "keras"
    write_model(name, calibrated, load_classifier(calibrated), tmp_path, "float32", NO_IMAGES)
    forward, _ = load_runtime(name, calibrated, tmp_path)
    np.testing.assert_allclose(forward(pixels), predicted, atol=1e-6)


def test_the_headline_is_of_what_predict_says(calibrated, predicted):
    table = calibrated.predictions
    labels = np.array([CLASSES.index(label) for label in table["label"]])
    for split in ("train", "validation", "test"):
        chosen, scores = (table["split"] == split).to_numpy(), calibrated.metrics[split]
        assert scores["log_loss"] == pytest.approx(log_loss(predicted[chosen], labels[chosen]), abs=1e-6)
        found = calibration_error(predicted[chosen], labels[chosen])
        assert scores["calibration_error"] == pytest.approx(found, abs=1e-6)


def test_the_page_says_what_predict_says(calibrated, predicted):
    page = reports.write_report(calibrated).read_text(encoding="utf-8")
    said = {
        f"{CLASSES[row.argmax()]} {row.max():.0%}"
        for row, split in zip(predicted, calibrated.predictions["split"], strict=True)
        if split == "test"
    }
    section = re.search(r'<section[^>]* id="predictions".*?</section>', page, re.DOTALL)
    assert section is not None
    shown = set(re.findall(rf"\b(?:{'|'.join(CLASSES)}) \d+%", section[0]))
    assert len(shown) > 3
    assert shown <= said


def test_a_run_whose_model_was_saved_unscaled_says_the_same(calibrated, mislabelled, predicted, tmp_path):
    """As version 0.1 left it: model, table and scores unscaled, the temperature beside them."""
    old = RunWriter(Path(shutil.copytree(calibrated.path, tmp_path / "old")))
    model = load_classifier(old)
    temperature = calibrated.metrics["temperature"]
    model.scale(1 / temperature)
    model.full().save(old.model_path)
    metrics = calibrated.metrics
    for split in ("train", "validation", "test"):
        for name in ("log_loss", "calibration_error"):
            scores = metrics[split]
            scores[f"{name}_scaled"], scores[name] = scores[name], scores.pop(f"{name}_unscaled")
    old.write_metrics(metrics)
    table = calibrated.predictions
    columns = [f"p_{name}" for name in CLASSES]
    table[columns] = apply_temperature(table[columns].to_numpy(), 1 / temperature).astype(np.float32)
    old.write_predictions(table.assign(confidence=table[columns].max(axis=1)))
    with old.lock():
        old.update_manifest(schema_version=1)
    assert old.metrics == calibrated.metrics
    for name, column in calibrated.predicted.items():
        found = old.predicted[name]
        assert np.allclose(found, column, atol=1e-6) if name == "confidence" else found.equals(column)
    images = [mislabelled / path for path in calibrated.predictions["path"]]
    found = np.array([one.probabilities for one in RunWriter(old.path).predict(images)])
    np.testing.assert_allclose(found, predicted, atol=1e-6)
    write_model("keras", old, load_classifier(old), tmp_path, "float32", NO_IMAGES)
    pixels = np.stack([decode(file, calibrated.config.data) for file in images])
    exported = keras.saving.load_model(tmp_path / "model.keras").predict_on_batch(pixels)
    np.testing.assert_allclose(np.asarray(exported), predicted, atol=1e-6)
