"""`transferkit evaluate`: the very figures of a run, or those of other images."""

import json
import shutil

import pytest

from image_files import make_images
from kit.run import Run


@pytest.fixture
def copied(run, tmp_path) -> Run:
    """A copy of the run that a test may damage."""
    return Run(shutil.copytree(run.path, tmp_path / "copied"))


def change_manifest(run: Run, **fields) -> None:
    with run.lock():
        run.update_manifest(**fields)


def test_the_very_figures_of_the_run(run, command):
    before = run.manifest, run.metrics
    done = command("evaluate", run.path, "--json")
    assert (done.status, done.err) == (0, "")
    said = json.loads(done.out)
    assert (said["run"], said["data"], said["as_recorded"]) == (str(run.path), None, True)
    assert said["metrics"] == {split: run.metrics[split] for split in ("train", "validation", "test")}
    assert (run.manifest, run.metrics) == before


def test_also_when_the_cache_is_empty_and_from_another_folder(run, command, tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    done = command("evaluate", run.path)
    assert done.status == 0
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["train", "validation", "test"]
    assert f"accuracy {run.metrics['train']['accuracy']:.3f}" in lines[0]
    assert lines[3:] == ["These are the figures of the run."]


def test_figures_that_differ_are_said_to_and_why(copied, command):
    metrics = copied.metrics
    metrics["test"]["log_loss"] += 1e-9
    copied.write_metrics(metrics)
    environment = copied.manifest["environment"]
    assert "nothing it recorded of its environment changed" in command("evaluate", copied.path).out
    change_manifest(copied, environment=environment | {"threads": 99})
    done = command("evaluate", copied.path)
    assert done.status == 0
    assert "These differ from the figures the run recorded" in done.out
    assert f"threads {environment['threads']} (the run: 99)" in done.out
    assert json.loads(command("evaluate", copied.path, "--json").out)["as_recorded"] is False


def test_other_images_are_scored_together(run, command, tmp_path):
    other = make_images(tmp_path / "other", ("green", "red"), 5, seed=1)
    done = command("evaluate", run.path, other, "--json")
    assert (done.status, done.err) == (0, "")
    said = json.loads(done.out)
    assert (said["data"], said["as_recorded"]) == (str(other), None)
    assert set(said["metrics"]) == {"all"}
    assert said["metrics"]["all"]["n"] == 10
    assert sum(map(sum, said["metrics"]["all"]["confusion"])) == 10
    shown = command("evaluate", run.path, other).out
    assert shown.startswith("all ")
    assert "n = 10" in shown
    assert "figures of the run" not in shown


def test_the_runs_own_images_given_as_others_score_alike(run, command, images):
    """Whole images through the saved model, against stored float16 activations through the tail."""
    scores = json.loads(command("evaluate", run.path, images, "--json").out)["metrics"]["all"]
    own = [run.metrics[split] for split in ("train", "validation", "test")]
    total = sum(split["n"] for split in own)
    assert scores["n"] == total == 72
    expected = sum(split["log_loss"] * split["n"] for split in own) / total
    assert scores["log_loss"] == pytest.approx(expected, rel=0.01)


def test_what_is_refused(run, refused, tmp_path):
    strange = make_images(tmp_path / "strange", ("green", "violet"), 3)
    assert "also has violet" in refused("evaluate", run.path, strange)
    assert "There is no " in refused("evaluate", run.path, "nowhere")
    assert "nowhere is not a folder" in refused("evaluate", "nowhere")
    assert "is not a run folder" in refused("evaluate", strange)
    assert "torch" in refused("evaluate", run.path, "--backend", "torch")


def test_a_run_without_its_model_or_with_a_damaged_one(copied, refused):
    whole = copied.model_path.read_bytes()
    copied.model_path.write_bytes(whole[: len(whole) // 2])
    assert "model.keras cannot be loaded" in refused("evaluate", copied.path)
    copied.model_path.unlink()
    assert "it has no model yet" in refused("evaluate", copied.path)
    copied.model_path.write_bytes(whole)
    change_manifest(copied, status="interrupted")
    assert f"transferkit train --resume {copied.path}" in refused("evaluate", copied.path)


def test_images_that_are_no_longer_those_of_the_run(copied, refused):
    change_manifest(copied, data=copied.manifest["data"] | {"fingerprint": "0" * 64})
    message = refused("evaluate", copied.path)
    assert "no longer those of" in message
    assert f"transferkit evaluate {copied.path} {copied.config.data.path}" in message
