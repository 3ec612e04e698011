"""Every format whose runtime is installed, from a trained run to the answer of the example in its card."""

import ast
import hashlib
import json
import math
import re
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from awkward_images import IMAGES
from kit.data.images import decode
from kit.errors import ConfigError
from kit.export import export_run
from kit.export.formats import FORMATS, find_format
from kit.predict import Predictor
from kit.run import Run
from training.small import run_config

pytestmark = [pytest.mark.backend, pytest.mark.full]

RAW = """
import sys
import numpy, keras_hub
from PIL import Image
pixels = numpy.asarray(Image.open(sys.argv[1]))[None]
classifier = keras_hub.models.ImageClassifier.from_preset(sys.argv[2])
print(classifier.predict(pixels, verbose=0)[0].tolist())
"""


@pytest.fixture(scope="module")
def run(images, lively_weights, train_small) -> Run:
    """A finished run of a small MobileNetV2: what formats and their runtimes have to take."""
    return train_small(run_config(images, lively_weights))


# On JAX one of those that TensorFlow writes stands for the others.
ONCE = {name: pytest.mark.once(backend="tensorflow") for name in ("saved_model", "litert")}


# The page has tests of its own: test_web_page.py.
IN_PYTHON = [one for one in FORMATS if one.usage]


@pytest.fixture(scope="module", params=[pytest.param(one.name, marks=ONCE.get(one.name, ())) for one in IN_PYTHON])
def exported(request, run, tmp_path_factory):
    """The run, handed over in a format."""
    missing = [name for name in find_format(request.param).needs if find_spec(name) is None]
    if missing:
        pytest.skip(f"{request.param} needs {', '.join(missing)}")
    return export_run(run, request.param, tmp_path_factory.mktemp("exports") / request.param)


@pytest.fixture(scope="module")
def predictor(run):
    return Predictor.of(run)


def test_it_answers_as_the_run_does(exported, run):
    gate = exported.record["gate"]
    test = run.predictions.query("split == 'test'")
    assert np.ptp(test.filter(regex="^p_").to_numpy(), axis=0).max() > 0.05, "the images look alike to the model"
    assert (gate["split"], gate["photos"], gate["tolerance"]) == ("test", len(test), 1e-4)
    assert gate["greatest_difference"] <= 1e-4
    assert gate["agreement"] == 1
    assert gate["accuracy"] == gate["original_accuracy"] == run.metrics["test"]["accuracy"]


def test_the_record_is_of_the_files_that_are_there(exported):
    record = json.loads((exported.path / "export.json").read_text())
    assert record == exported.record
    there = {path.relative_to(exported.path).as_posix(): path for path in exported.path.rglob("*") if path.is_file()}
    assert set(record["files"]) == set(there) - {"export.json"}
    for name, said in record["files"].items():
        content = there[name].read_bytes()
        assert said == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    own = {"labels.json", "labels.txt", "preprocessing.json", "preprocessing.py", "README.md"}
    assert own < set(record["files"])
    assert record["bytes"] == sum(said["bytes"] for name, said in record["files"].items() if name not in own)
    assert (exported.path / record["model"]).exists()
    assert set(record["latency_ms"]) == {"1", "32"}
    assert all(value > 0 for value in record["latency_ms"].values())


def test_labels_and_preprocessing_are_those_of_the_run(exported, run):
    assert json.loads((exported.path / "labels.json").read_text()) == ["blue", "green", "red"]
    assert (exported.path / "labels.txt").read_text() == "blue\ngreen\nred\n"
    facts = json.loads((exported.path / "preprocessing.json").read_text())
    assert facts["input"] == {"shape": [None, 32, 32, 3], "dtype": "uint8", "range": [0, 255], "channels": "RGB"}
    assert facts["resize"]["mode"] == run.config.data.resize
    assert facts["in_the_model"] == [{"layer": "Rescaling", "scale": 1 / 127.5, "offset": -1.0}]
    assert facts["temperature"] == 1  # nothing is left to divide by


def test_the_example_of_its_card_gives_what_the_run_gives(exported, predictor, run_card, tmp_path):
    """On images as people have them, by the very text of the card, where transferkit is not."""
    for name, content in IMAGES.items():
        (tmp_path / name).write_bytes(content)
    (code,) = re.findall(r"```python\n(.*?)```", (exported.path / "README.md").read_text(), re.DOTALL)
    assert len(code.splitlines()) <= 12
    printed = [ast.literal_eval(line) for line in run_card(exported.path, [tmp_path / name for name in IMAGES])]
    expected = [predictor.forward(decode(content, predictor.data)[None])[0] for content in IMAGES.values()]
    assert [list(one) for one in printed] == [["blue", "green", "red"]] * len(IMAGES)
    np.testing.assert_allclose([list(one.values()) for one in printed], expected, atol=1e-4)
    assert np.ptp(expected, axis=0).max() > 0.05, "the images look alike to the model"


def test_the_example_says_unsure_below_the_threshold(run, predictor, images, run_python, tmp_path):
    photo = min(images.rglob("*.jpg"))
    (one,) = predictor.predict([photo])
    below, above = math.floor(100 * one.confidence) / 100, math.ceil(100 * one.confidence + 1e-6) / 100
    for threshold, said in ((below, one.label), (above, "unsure")):
        folder = export_run(run, "keras", tmp_path / said, threshold=threshold).path
        assert json.loads((folder / "preprocessing.json").read_text())["threshold"] == threshold
        card = (folder / "README.md").read_text()
        assert f"Where its confidence is below {threshold} it is unsure: the example says so" in card
        shutil.copy(photo, folder / "photo.jpg")
        (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        assert len(code.splitlines()) <= 12
        done = run_python("-c", code, cwd=folder, env={"PYTHONPATH": None})
        assert done.stdout.startswith(f"{said} {{'blue': "), done.stderr


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_is_a_confidence(run, tmp_path, threshold):
    with pytest.raises(ConfigError, match="threshold must be 0 to 1"):
        export_run(run, "keras", tmp_path / "out", threshold=threshold)


def test_keras_hub_resizes_a_raw_image_as_the_run_does(exported, predictor, images, run_python, tmp_path):
    """Not to the bit: Keras and Pillow resample in their own ways, and only one of them ends in whole numbers."""
    if exported.record["format"] != "keras-hub":
        pytest.skip("the other formats take images of the model's size alone")
    raw = tmp_path / "raw.png"
    # a wide image, smooth, whose edges are of another colour: what is cropped or squeezed otherwise is seen
    gradient = np.linspace(0, 255, 96)[None, :, None] * np.array([1, 0.5, 0]) + np.zeros((48, 96, 3))
    Image.fromarray(gradient.astype(np.uint8)).save(raw)
    done = run_python("-c", RAW, raw, exported.path)
    assert done.returncode == 0, done.stderr
    expected = predictor.forward(decode(raw, predictor.data)[None])[0]
    np.testing.assert_allclose(ast.literal_eval(done.stdout), expected, atol=1e-2)
