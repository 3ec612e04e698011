"""Run and study folders of version 0.1 (tests/fixtures) open, predict, report, export and resume."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import kit
import reports
from kit.data.dataset import load_dataset
from kit.insights import Insights
from search.records import StudyRecord
from search.study import own_config

BACKEND = os.environ.get("KERAS_BACKEND", "")
FIXTURES = Path(__file__).parents[1] / "fixtures"
FLOWERS = FIXTURES / "flowers"
on_jax = pytest.mark.skipif(BACKEND != "jax", reason="the run was trained on JAX")


def copied(name: str, folder: Path) -> Path:
    """A copy to write into; the paths in it lead to the images and to itself."""
    copy = Path(shutil.copytree(FIXTURES / name, folder / name))
    for file in copy.rglob("*.toml"):
        text = file.read_text(encoding="utf-8").replace("/tmp/flowers", str(FLOWERS))
        file.write_text(text.replace(f"/tmp/{name}", str(copy)), encoding="utf-8")
    return copy


@pytest.fixture
def old_run(tmp_path) -> kit.Run:
    return kit.load_run(copied("run-0.1", tmp_path))


@pytest.fixture
def old_study(tmp_path) -> Path:
    return copied("study-0.1", tmp_path)


def test_a_run_tells_its_record(old_run):
    assert (old_run.manifest["status"], old_run.classes) == ("finished", ("daisy", "dandelion", "roses"))
    assert old_run.config.model.weights == "starter"
    assert len(old_run.history) == 14
    assert len(old_run.samples) == len(old_run.predictions) == 60
    test = old_run.predicted.query("split == 'test'")
    assert (test["label"] == test["predicted"]).mean() == old_run.metrics["test"]["accuracy"] == 3 / 7
    insights = Insights(old_run.insights)
    assert (len(insights.album("thumbnails")), len(insights.images)) == (42, 60)
    assert insights.learning_curve["photos"].max() == 39


def test_their_splits_are_those_of_then(old_run, old_study, tmp_path):
    """Version 0.1 split by a threshold on a hash, and recorded no method; so do its run and its trials still."""
    study = own_config(StudyRecord.load(old_study))
    assert (old_run.config.split.method, study.split.method) == ("hash", "hash")
    assert load_dataset(old_run.config).table().drop(columns="sha256").equals(old_run.samples)
    (tmp_path / "own.toml").write_text("[split]\nseed = 0\ntrain = 0.7\nvalidation = 0.15\ntest = 0.15\n")
    assert kit.configure(file=tmp_path / "own.toml").split.method == "stratified"


def test_the_page_of_a_run_is_drawn(old_run):
    page = reports.write_report(old_run).read_text(encoding="utf-8")
    assert "3 of 7 right" in page
    assert '"evidence":{"' in page  # activation maps of mistakes


@pytest.mark.backend
def test_a_run_predicts_as_it_did(old_run):
    recorded = json.loads((FIXTURES / "predicted-0.1.json").read_text(encoding="utf-8"))
    predicted = old_run.predict([FLOWERS / path for path in recorded])
    expected = [tuple(one.values()) for one in recorded.values()]
    np.testing.assert_allclose(
        [one.probabilities for one in predicted], expected, atol=1e-5 if BACKEND == "jax" else 1e-4
    )


@pytest.mark.backend
@pytest.mark.full
@on_jax
def test_a_run_is_scored_again(old_run):
    scores = kit.evaluate(old_run)
    for split in ("train", "validation", "test"):
        recorded = old_run.metrics[split]
        assert scores[split]["confusion"] == recorded["confusion"]
        assert scores[split]["log_loss"] == pytest.approx(recorded["log_loss"], rel=1e-3)


@pytest.mark.once(backend="tensorflow")
@pytest.mark.backend
@pytest.mark.full
def test_a_run_is_exported(old_run, tmp_path, command):
    done = command("export", old_run.path, "--format", "keras", "--out", tmp_path / "exported", "--json")
    assert done.status == 0, done.err
    gate = json.loads(done.out)["gate"]
    assert gate["photos"] == 7
    assert gate["greatest_difference"] <= gate["tolerance"]
    assert (tmp_path / "exported" / "model.keras").exists()


@pytest.mark.backend
@pytest.mark.full
@on_jax
def test_a_killed_run_is_resumed_with_its_splits_whatever_would_be_drawn_now(old_run, tmp_path):
    killed = copied("killed-run-0.1", tmp_path)
    text = (killed / "config.toml").read_text(encoding="utf-8")
    (killed / "config.toml").write_text(text.replace("[split]", '[split]\nmethod = "stratified"'), encoding="utf-8")
    recorded, before = kit.load_run(killed).samples, kit.load_run(killed).history
    columns = list(recorded.columns)  # sha256 came later
    assert not load_dataset(kit.load_run(killed).config).table()[columns].equals(recorded)
    run = kit.resume(killed)
    assert run.samples[columns].equals(recorded)
    assert kit.evaluate(run) == {split: run.metrics[split] for split in ("train", "validation", "test")}
    assert run.manifest["status"] == "finished"
    assert run.history.records[:6] == before.records[:6]
    for one, uninterrupted in zip(run.history, old_run.history, strict=True):
        assert one.loss == pytest.approx(uninterrupted.loss, rel=1e-3)
    assert run.metrics["test"]["confusion"] == old_run.metrics["test"]["confusion"]


def test_a_study_shows_lists_exports_and_has_its_page(old_study, command, monkeypatch):
    shown = command("study", "show", old_study, "--json")
    assert (shown.status, shown.err) == (0, "")
    record = json.loads(shown.out)
    assert (len(record["trials"]), record["best"]["trial"]) == (5, 3)
    assert record["trials"][0]["params"] == {"phases.1.unfreeze_depth": 2, "phases.1.learning_rate": 0.001}
    exported = command("study", "export", old_study)
    assert exported.out == (FIXTURES / "study-0.1" / "trials.csv").read_text(encoding="utf-8")
    monkeypatch.chdir(old_study.parent)
    Path("studies").mkdir()
    old_study.rename("studies/flowers")
    assert "flowers" in command("study", "list").out
    page = reports.write_report(Path("studies/flowers")).read_text(encoding="utf-8")
    assert "flowers" in page
    best = StudyRecord.load(Path("studies/flowers")).best
    assert (best.trial, best.reproduced) == (3, True)
