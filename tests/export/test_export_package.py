"""What an export records and refuses, with the processes that compute replaced by answers."""

import json
import re

import keras
import numpy as np
import pytest

from doubles import swap
from kit.config import RunConfig
from kit.errors import ConfigError, DataError, ExportError, StorageError
from kit.export import export_run, package, worker
from kit.export.formats import FORMATS, find_format
from kit.export.model_card import front_matter, render_card
from kit.export.worker import ask, latency_ms
from kit.files import write_json
from kit.run_writer import RunWriter

pytestmark = [pytest.mark.backend, pytest.mark.once(backend="tensorflow")]


def test_the_record_says_what_was_measured(run, answers, tmp_path):
    done = export_run(run.path, "keras", tmp_path / "out")
    assert done.path == tmp_path / "out"
    record = done.record
    assert (record["schema_version"], record["kind"], record["format"]) == (1, "export", "keras")
    assert (record["run"], record["model"], record["bytes"]) == ("small", "model.keras", 10)
    assert (record["runtime"], record["latency_ms"]) == ("keras 1.0", {"1": 1.5, "32": 20.25})
    assert record["original"] == {"runtime": "original 1.0", "bytes": run.model_path.stat().st_size}
    assert record["gate"]["greatest_difference"] == 0
    assert {"keras", "transferkit"} <= set(record["versions"])
    own = run.config.backend
    assert answers["asked"] == [("write", ["keras"], own), ("run", ["keras", "original"], own)]


def test_it_lies_in_the_run_folder_by_default(own_run, answers):
    assert export_run(own_run, "keras").path == own_run / "exports" / "keras"
    assert {entry.name for entry in (own_run / "exports").iterdir()} == {"keras"}


@pytest.mark.parametrize(
    ("off", "told"),
    [
        (0.01, "a probability is off by 1.0e-02, where 1e-04 is allowed"),
        (np.nan, "some of its probabilities are not numbers"),
    ],
)
def test_beyond_the_tolerance_nothing_is_handed_over(run, answers, tmp_path, off, told):
    export_run(run, "keras", tmp_path / "out")
    before = (tmp_path / "out" / "export.json").read_bytes()
    answers["off"] = off
    for out in (tmp_path / "out", tmp_path / "new"):
        with pytest.raises(ExportError) as refused:
            export_run(run, "keras", out)
        assert told in refused.value.what
        assert "images get the same class" in refused.value.what
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "export.json").read_bytes() == before


def test_formats_that_need_tensorflow_are_written_and_run_under_it(run, answers, tmp_path, monkeypatch):
    swap(monkeypatch, package, "require_installed", lambda chosen: None)
    export_run(run, "onnx", tmp_path / "out")
    asked = {(task, name): backend for task, names, backend in answers["asked"] for name in names}
    assert asked == {
        ("write", "onnx"): "tensorflow",
        ("run", "onnx"): "tensorflow",
        ("run", "original"): run.config.backend,
    }


def test_smaller_numbers_have_a_folder_of_their_own_and_calibrate_on_training_images(own_run, answers, monkeypatch):
    swap(monkeypatch, package, "require_installed", lambda chosen: None)
    answers["off"] = 0.2  # of a probability, which changes no class
    done = export_run(own_run, "onnx", precision="int8")
    assert done.path == own_run / "exports" / "onnx-int8"
    assert (done.record["precision"], done.record["gate"]["allowed_loss"]) == ("int8", 0.01)
    samples = RunWriter.open(own_run).samples
    trained_on = set(samples[samples["split"] == "train"]["path"])
    assert answers["written"]["precision"] == "int8"
    assert {"/".join(file.split("/")[-2:]) for file in answers["written"]["calibration"]} == trained_on
    assert done.record["calibration_images"] == len(trained_on)
    card = (done.path / "README.md").read_text()
    assert f"The ranges of its numbers come from {len(trained_on)} training images." in card
    assert "at most 0.01 of accuracy may be lost" in card
    half = export_run(own_run, "onnx", precision="float16")
    assert (half.path.name, answers["written"]["calibration"]) == ("onnx-float16", [])
    assert "calibration_images" not in half.record


def test_a_precision_that_a_format_lacks_is_told_those_that_have_it(run, answers, tmp_path):
    with pytest.raises(ConfigError, match="keras holds float32 alone") as told:
        export_run(run, "keras", tmp_path / "out", precision="int8")
    assert told.value.hint == "int8 is for onnx, litert, openvino."
    with pytest.raises(ConfigError, match="one of float32, float16, int8, not 'int4'"):
        export_run(run, "onnx", tmp_path / "out", precision="int4")


def test_smaller_numbers_that_fail_leave_nothing_and_name_the_option(run, answers, tmp_path, monkeypatch):
    swap(monkeypatch, package, "require_installed", lambda chosen: None)
    answers["off"] = np.nan
    with pytest.raises(ExportError, match="some of its probabilities are not numbers") as told:
        export_run(run, "litert", tmp_path / "out", precision="float16")
    assert "--tolerance-accuracy" in told.value.hint
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_not_finished_is_refused(tmp_path):
    started = RunWriter.create(tmp_path / "run", RunConfig())
    with pytest.raises(StorageError, match="is not finished: it has no model yet"):
        export_run(started, "keras", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# === The card ===


def render(run, answers, tmp_path, **manifest) -> str:
    record = export_run(run, "keras", tmp_path / "out").record
    changed = {**run.manifest, **manifest}

    class Changed(RunWriter):
        @property
        def manifest(self):
            return changed

    return render_card(Changed(run.path), find_format("keras"), record)


def test_the_card_states_the_scores_of_the_run(run, answers, tmp_path):
    card = render(run, answers, tmp_path)
    test = run.metrics["test"]
    low, high = test["accuracy_interval"]
    assert f"| test | {test['n']} | {test['accuracy']:.3f} | {low:.3f} to {high:.3f} |" in card
    assert f"T = {run.metrics['temperature']:.3f}" in card
    assert f"learned from {run.metrics['train']['n']} images" in card
    assert run.manifest["weights"]["sha256"] in card
    assert "Fine-tuned from the weights file toy.weights.h5" in card
    assert "Fewer than ten test images stand behind the figures of: blue, green, red." in card
    text = re.sub(r"```.*?```", "", card, flags=re.DOTALL)  # the example says pixels[None]
    assert re.search(r"\b(nan|None|inf)\b", text) is None


@pytest.mark.parametrize("chosen", FORMATS, ids=lambda chosen: chosen.name)
def test_the_front_matter_is_yaml_that_hugging_face_reads(run, chosen):
    first, *lines, last = front_matter(run, chosen).splitlines()
    assert first == last == "---"
    fields = {key: json.loads(value) for key, _, value in (line.partition(": ") for line in lines)}
    assert fields.get("library_name", "") == chosen.library
    assert fields["pipeline_tag"] == "image-classification"
    assert fields["license"] == "other"
    (model,) = fields["model-index"]
    (result,) = model["results"]
    assert result["dataset"]["split"] == "test"
    scores = run.metrics["test"]
    assert [one["value"] for one in result["metrics"]] == pytest.approx(
        [scores["accuracy"], scores["macro_f1"]], abs=1e-6
    )


@pytest.mark.parametrize(
    ("backbone", "weights", "licence"),
    [
        ("mobilenet_v2", "imagenet", "apache-2.0"),
        ("resnet50", "imagenet", "mit"),
        ("densenet121", "imagenet", "bsd-3-clause"),
        ("resnet50", "none", "other"),
        ("mobilenet_v2", "mine.h5", "other"),
    ],
)
def test_the_licence_follows_the_weights(run, answers, tmp_path, backbone, weights, licence):
    network = {**run.manifest["network"], "backbone": backbone}
    card = render(run, answers, tmp_path, weights={"name": weights, "sha256": ""}, network=network)
    assert f'license: "{licence}"' in card
    assert ("whose licence is" in card) == (weights == "imagenet")


def test_names_of_other_people_stay_text(run, answers, tmp_path):
    data = {**run.manifest["data"], "name": "<script>\n# me | `you` [x](y)"}
    card = render(run, answers, tmp_path, data=data)
    title = next(line for line in card.splitlines() if line.startswith("# "))
    assert title == r"# \<script\> \# me \| \`you\` \[x\](y): an image classifier"


# === The processes ===


def test_what_a_process_raises_is_raised_here(run, tmp_path):
    write_json(tmp_path / "images.json", [str(tmp_path / "gone.jpg")])
    write_json(tmp_path / "written.json", {"strangeness": False, "choosing": []})
    with pytest.raises(DataError, match=r"gone\.jpg cannot be decoded"):
        ask("run", ["original"], run, tmp_path, tmp_path, run.config.backend)


def test_a_process_that_fails_is_told_in_one_line(run, tmp_path):
    write_json(tmp_path / "written.json", {"strangeness": False, "choosing": []})
    with pytest.raises(ExportError) as told:
        ask("run", ["of-no-kind"], run, tmp_path, tmp_path, run.config.backend)
    assert told.value.what.startswith("The model could not be exported: running it as of-no-kind failed (")
    assert "KeyError" in told.value.what
    assert "\n" not in told.value.what


def test_latency_is_the_median_of_passes_that_come_after_two_others(monkeypatch):
    clock, shapes = iter(range(1000)), []
    lengths = iter([0.004, 0.001, 0.002] * 20)
    now = {"at": 0.0}

    def tick() -> float:
        return now["at"]

    def forward(pixels):
        shapes.append(pixels.shape)
        next(clock)
        if len(shapes) > 2:
            now["at"] += next(lengths)

    swap(monkeypatch, worker.time, "perf_counter", tick)
    assert latency_ms(forward, np.zeros((32, 8, 8, 3))) == pytest.approx(2.0)
    assert len(shapes) == 2 + worker.REPEATS


def test_a_slow_model_is_measured_three_times(monkeypatch):
    now = {"at": 0.0}

    def forward(pixels):
        now["at"] += 10

    swap(monkeypatch, worker.time, "perf_counter", lambda: now["at"])
    assert latency_ms(forward, np.zeros((1, 8, 8, 3))) == 10_000
    assert now["at"] == 50


def test_what_the_model_does_to_pixels_is_told_step_by_step():
    rescaling = keras.layers.Rescaling(1 / 255, [0.5, 0.25, 0])
    alone = {"layer": "Rescaling", "scale": 1 / 255, "offset": [0.5, 0.25, 0]}
    assert worker._steps(rescaling) == [alone]
    pixels = keras.Input((8, 8, 3), dtype="uint8")
    turned = keras.Model(pixels, rescaling(keras.ops.flip(pixels, axis=-1)))
    assert worker._steps(turned) == [{"layer": "Flip", "axis": -1}, alone]
