"""The second output of an export, how strange an image is: as `predict` says it, and what the papers say of it."""

import ast
import json
import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from doubles import swap
from kit.config import AbstentionConfig
from kit.data.images import decode
from kit.errors import ExportError
from kit.export import export_run, package
from kit.export.formats import FORMATS, STRANGENESS_TOLERANCE, find_format, no_strangeness
from kit.export.writers import write_model
from kit.files import write_json
from kit.model.classifier import own_head
from kit.predict import load_classifier
from kit.thresholds import Thresholds, choose_thresholds

pytestmark = pytest.mark.backend

NO_IMAGES = np.zeros((0, 32, 32, 3), np.uint8)
LIMITS = Thresholds(
    *(0.75, 2.5, 0.9, 0.0, 0.95, "validation", 40, 38.0),
    answered=30,
    right=29,
    accuracy_interval=(0.83, 0.99),
    unlike=2,
)


@pytest.fixture
def limited(own_run) -> Path:
    """The folder of a run whose record has both thresholds: what the processes compute is their double's."""
    os.unlink(own_run / "abstention.json")
    write_json(own_run / "abstention.json", LIMITS.to_dict())
    return own_run


@pytest.fixture
def anywhere(monkeypatch):
    """Every format's packages seem installed."""
    swap(monkeypatch, package, "require_installed", lambda chosen: None)


@pytest.fixture(scope="module")
def noise(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("noise") / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(file)
    return file


def facts(export: Path) -> dict:
    return json.loads((export / "preprocessing.json").read_text())


# === What an export says, the processes being doubles ===


@pytest.mark.parametrize("off", [0.01, -0.01, np.nan])
def test_a_model_whose_strangeness_is_another_is_not_handed_over(limited, answers, tmp_path, off):
    answers["strange"] = off
    with pytest.raises(ExportError, match=r"a strangeness is off by (1\.0e-02|inf), where 0.001 is allowed") as told:
        export_run(limited, "keras", tmp_path / "out")
    assert "leave thresholds and strangeness out (--always-answer;" in told.value.hint
    assert not (tmp_path / "out").exists()


def test_the_papers_name_both_thresholds_and_what_they_were_chosen_for(limited, answers, tmp_path):
    answers["strange"] = 5e-4
    done = export_run(limited, "keras", tmp_path / "out")
    assert answers["written"]["strangeness"]
    gate = done.record["gate"]
    assert gate["strangeness_difference"] == pytest.approx(5e-4, rel=1e-3)
    said = facts(done.path)
    assert (said["threshold"], said["strangeness_threshold"]) == (0.75, 2.5)
    assert said["outputs"] == ["probabilities", "strangeness"]
    assert said["strangeness"]["shape"] == [None, 1]
    chosen = {name: said["abstention"][name] for name in ("accuracy", "coverage", "known", "split", "n", "answered")}
    assert chosen == {"accuracy": 0.9, "coverage": 0, "known": 0.95, "split": "validation", "n": 40, "answered": 30}
    card = " ".join((done.path / "README.md").read_text().split())
    assert "Where its output `strangeness` is more than 2.5 the image is unlike anything it was trained on" in card
    assert "95.0% of 40 validation images are within" in card
    assert "answers 30 of the validation images, 96.7% of them rightly (95% interval 83.0% to 99.0%)" in card
    assert "No strangeness is off by more than 5.0e-04 (allowed: 0.001)." in card


def test_another_confidence_may_be_asked_for(limited, answers, tmp_path):
    done = export_run(limited, "keras", tmp_path / "out", threshold=0.5)
    assert (facts(done.path)["threshold"], facts(done.path)["strangeness_threshold"]) == (0.5, 2.5)
    card = (done.path / "README.md").read_text()
    assert "Where its confidence is below 0.5 it is unsure" in card
    assert "of them rightly" not in card, "that was promised of another threshold"


def test_always_answer_leaves_all_of_it_out(limited, run, answers, tmp_path):
    """As an export of a run without thresholds, which has nothing of it."""
    names = ("labels.json", "labels.txt", "preprocessing.json", "preprocessing.py")
    without = export_run(run, "keras", tmp_path / "without")
    plain = export_run(limited, "keras", tmp_path / "plain", always_answer=True)
    assert not answers["written"]["strangeness"]
    assert all((plain.path / name).read_bytes() == (without.path / name).read_bytes() for name in names)
    assert facts(plain.path)["threshold"] == 0
    assert not {"outputs", "strangeness", "strangeness_threshold", "abstention"} & facts(plain.path).keys()
    assert plain.record["gate"].keys() == without.record["gate"].keys()
    only = export_run(limited, "keras", tmp_path / "only", always_answer=True, threshold=0.6)
    assert facts(only.path)["threshold"] == 0.6
    assert "outputs" not in only.record


@pytest.mark.parametrize(
    ("name", "precision", "why"),
    [
        ("keras-hub", "float32", "the format keras-hub has probabilities alone"),
        ("litert", "int8", "LiteRT's int8 are too coarse: no image would be stranger than another"),
    ],
)
def test_what_has_no_strangeness_says_why(limited, answers, tmp_path, anywhere, name, precision, why):
    done = export_run(limited, name, tmp_path / "out", precision=precision)
    assert not answers["written"]["strangeness"]
    said = facts(done.path)
    assert said["threshold"] == 0.75, "the confidence needs no second output"
    assert not {"outputs", "strangeness_threshold"} & said.keys()
    assert said["abstention"]["left_out"] == why
    card = " ".join((done.path / "README.md").read_text().split())
    assert f"too; this copy of it cannot, for {why}" in card
    assert '"unlike"' not in card


def test_smaller_numbers_have_thresholds_of_their_own(limited, run, answers, tmp_path, anywhere):
    """Chosen on what the exported model answers to the validation images, for what the run's were chosen for."""
    write_json(limited / "abstention.json", replace(LIMITS, accuracy=0.0, coverage=0.5, known=0.8).to_dict())
    done = export_run(limited, "onnx", tmp_path / "out", precision="float16", allowed_loss=1)
    rows = run.samples.query("split == 'validation'")
    assert [Path(file).name for file in answers["written"]["choosing"]] == [Path(path).name for path in rows["path"]]
    n = len(run.samples.query("split == 'test'"))
    probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], n + len(rows)).astype(np.float32)[n:]
    strange = np.random.default_rng(1).gamma(8, 1 / 8, (n + len(rows), 1)).astype(np.float32)[n:, 0]
    labels = np.array([run.classes.index(label) for label in rows["label"]])
    wanted = AbstentionConfig(accuracy=0.0, coverage=0.5, known=0.8)
    chosen = choose_thresholds(probabilities, labels, tuple(rows["group"]), strange, wanted)
    assert done.record["abstention"]["strangeness"] == chosen.strangeness != LIMITS.strangeness
    assert facts(done.path)["threshold"] == chosen.confidence != LIMITS.confidence
    assert facts(done.path)["strangeness_threshold"] == chosen.strangeness
    assert "chosen on its own answers to the validation images" in (done.path / "README.md").read_text()
    asked = export_run(limited, "onnx", tmp_path / "asked", precision="float16", allowed_loss=1, threshold=0.6)
    assert facts(asked.path)["threshold"] == 0.6
    write_json(limited / "abstention.json", replace(LIMITS, known=0.8).to_dict())
    kept = export_run(limited, "onnx", tmp_path / "kept", precision="float16", allowed_loss=1)
    assert facts(kept.path)["threshold"] == 0.75
    card = (kept.path / "README.md").read_text()
    assert "No confidence promises an accuracy of 0.9 on the validation images" in card
    assert "of them rightly" not in card


def test_a_cross_validated_run_has_no_images_to_choose_them_on(limited, answers, tmp_path, anywhere):
    metrics = json.loads((limited / "metrics.json").read_text())
    os.unlink(limited / "metrics.json")  # a link to what other tests read
    write_json(limited / "metrics.json", metrics | {"folds": []})
    done = export_run(limited, "onnx", tmp_path / "out", precision="float16", allowed_loss=1)
    assert "has no images to choose its threshold anew on" in done.record["abstention"]["left_out"]
    assert facts(done.path)["threshold"] == LIMITS.confidence
    assert "outputs" in export_run(limited, "keras", tmp_path / "whole").record


def test_the_command_says_how_far_the_strangeness_is_off(command, limited, answers, tmp_path, anywhere):
    asked = ("export", limited, "--format", "keras", "--out", tmp_path / "out")
    answers["strange"] = 5e-4
    assert "No strangeness is off by more than 5.0e-04 (allowed: 0.001)." in command(*asked).out
    assert "strangeness" not in command(*asked, "--always-answer").out
    assert "outputs" not in facts(tmp_path / "out")
    hub = command("export", limited, "--format", "keras-hub", "--out", tmp_path / "hub").out
    assert "It has no strangeness, as the run has: the format keras-hub has probabilities alone." in hub


# === The models ===


def test_a_keras_file_gives_the_strangeness_of_predict_by_layers_of_keras(judged, unsure_images, noise, tmp_path):
    files = [min(unsure_images.rglob("*.jpg")), noise]
    pixels = np.stack([decode(file, judged.config.data) for file in files])
    said = judged.predict(files)
    assert said[0].strangeness < judged.abstention.strangeness < said[1].strangeness

    def written(classifier) -> dict:
        write_model("keras", judged, classifier, tmp_path, "float32", NO_IMAGES, judged.strangeness)
        return keras.saving.load_model(tmp_path / "model.keras").predict_on_batch(pixels)

    classifier = load_classifier(judged)
    found = written(classifier)
    assert set(found) == {"probabilities", "strangeness"}
    np.testing.assert_allclose(found["probabilities"], [one.probabilities for one in said], atol=1e-5)
    strange = [[one.strangeness] for one in said]
    np.testing.assert_allclose(found["strangeness"], strange, atol=STRANGENESS_TOLERANCE["float32"])
    # a head that reads the feature map leaves no pooling in the network to take the features from
    flat = own_head(keras.layers.Flatten(), (4, 4, 32), 3, 0)
    np.testing.assert_allclose(
        written(replace(classifier, head=flat))["strangeness"], strange, atol=STRANGENESS_TOLERANCE["float32"]
    )


WITH_STRANGENESS = [
    (one.name, precision)
    for one in FORMATS
    for precision in one.precisions
    if one.both and not no_strangeness(one, precision, 0)
]
SHORTER = (("keras", "float32"), ("onnx", "float32"), ("onnx", "float16"), ("openvino", "int8"))


def marks_of(name: str, precision: str) -> list[pytest.MarkDecorator]:
    """TensorFlow writes most, whatever the run's backend; of few the thinner suite sees to all that is computed."""
    once = [pytest.mark.once(backend="tensorflow")] if find_format(name).writer else []
    return once if (name, precision) in SHORTER else [*once, pytest.mark.full]


def rounded_between_layers(path: Path) -> list[str]:
    """Layers of the strangeness of an ONNX model whose float32 pass through float16 on their way to the next."""
    from onnx import TensorProto, load

    nodes = load(path).graph.node
    maker = {output: node for node in nodes for output in node.output}

    def cast_to(kind: int, node) -> bool:
        return node.op_type == "Cast" and any(one.name == "to" and one.i == kind for one in node.attribute)

    whole = [maker[node.input[0]] for node in nodes if cast_to(TensorProto.FLOAT, node) and node.input[0] in maker]
    return [node.name for node in whole if cast_to(TensorProto.FLOAT16, node)]


@pytest.mark.parametrize(("name", "precision"), [pytest.param(*one, marks=marks_of(*one)) for one in WITH_STRANGENESS])
def test_every_format_gives_the_three_answers_of_predict(
    name, precision, judged, unsure_images, noise, run_card, tmp_path
):
    """By the example of its card, which says as well how strange each image is; smaller numbers by their thresholds."""
    missing = [needed for needed in find_format(name).needs if find_spec(needed) is None]
    if missing:
        pytest.skip(f"{name} needs {', '.join(missing)}")
    done = export_run(judged, name, tmp_path / "out", precision=precision, allowed_loss=0.1)
    if (name, precision) == ("onnx", "float16"):
        assert rounded_between_layers(done.path / "model.onnx") == []
    gate, close = done.record["gate"], STRANGENESS_TOLERANCE[precision]
    assert gate["strangeness_difference"] <= gate["strangeness_tolerance"] == close
    off = gate["greatest_difference"]
    assert off <= (gate["tolerance"] if precision == "float32" else 0.3)
    own = done.record["abstention"]
    assert own["of"] == ("the run" if precision == "float32" else "this export")
    assert own["strangeness"] == pytest.approx(judged.abstention.strangeness, abs=close)
    assert 1 - own["unlike"] / own["n"] >= own["known"], "what it promises of the images it was chosen on"
    by_answer = {one.answer(): one for one in judged.predict([*sorted(unsure_images.rglob("*.jpg")), noise])}
    assert {"unsure", "unlike", *judged.classes} == set(by_answer)
    if precision != "float32":
        by_answer.pop("unsure")  # between two, a rounding decides
    printed = run_card(done.path, [Path(one.path) for one in by_answer.values()])
    for line, (answer, one) in zip(printed, by_answer.items(), strict=True):
        said, shares = line.rpartition(" ")[0].split(" ", 1)
        assert said == answer
        np.testing.assert_allclose(list(ast.literal_eval(shares).values()), one.probabilities, atol=max(off * 2, 1e-4))
        assert float(line.rpartition(" ")[2]) == pytest.approx(one.strangeness, rel=close, abs=close)


def test_what_is_written_of_a_run_without_thresholds_is_its_own_file(judged, tmp_path):
    plain = export_run(judged, "keras", tmp_path / "plain", always_answer=True)
    assert (plain.path / "model.keras").read_bytes() == judged.model_path.read_bytes()
    assert "strangeness_difference" not in plain.record["gate"]
