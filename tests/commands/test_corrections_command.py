"""`--corrections FILE` of train, inspect, evaluate and study: applied, recorded, kept, and refused."""

import json
import os
import shutil
from pathlib import Path

import pytest

import kit
import reports
from kit.data.corrections import FILE
from kit.files import sha256_file
from kit.run import Run

pytestmark = [pytest.mark.backend, pytest.mark.once(backend="tensorflow")]
ROWS = (
    *(("blue", n, "relabel", "green") for n in range(4)),
    *(("red", n, "drop", "") for n in range(3)),
    ("green", 5, "keep", ""),
)
HEAD_ONLY = ("--head-epochs", "2", "--unfreeze-depth", "0")


def write(path: Path, rows=ROWS) -> Path:
    lines = [f"{label}/{n:04d}.jpg,{label},{action},{other}" for label, n, action, other in rows]
    path.write_text("\n".join(["path,label,action,new_label", *lines]) + "\n")
    return path


def stored_bytes() -> int:
    cache = Path(os.environ["TRANSFERKIT_CACHE"]) / "stores"
    return sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())


def split_of(run: Run) -> dict[str, str]:
    return dict(zip(run.samples["path"].tolist(), run.samples["split"].tolist(), strict=True))


@pytest.fixture(scope="module")
def corrected(images, toy_weights, run, tmp_path_factory):
    """The shared run's settings and images, with corrections, whose file is gone since; and what it stored anew."""
    folder = tmp_path_factory.mktemp("corrected")
    file = write(folder / "reviewed.csv")
    before = stored_bytes()
    sets = {"data.corrections": file, "phases.0.epochs": 2, "phases.1.epochs": 1}
    made = kit.train(kit.configure(file=run.path / "config.toml", **sets), folder / "run")
    stored, sha256 = stored_bytes() - before, sha256_file(file)
    file.unlink()
    return made, stored, sha256


def test_a_run_applies_corrections_and_records_them(corrected, run):
    made, _, sha256 = corrected
    applied = {"file": "reviewed.csv", "sha256": sha256, "relabelled": 4, "dropped": 3, "kept": 1}
    assert made.manifest["data"]["corrections"] == applied
    assert sha256_file(made.path / FILE) == sha256
    labels = dict(zip(made.samples["path"], made.samples["label"], strict=True))
    assert labels["blue/0000.jpg"] == "green"
    assert "red/0000.jpg" not in labels
    assert made.manifest["data"]["fingerprint"] != run.manifest["data"]["fingerprint"]
    page = reports.write_report(made).read_text()
    assert "reviewed.csv: 4 relabelled, 3 dropped, 1 kept" in page
    assert sha256 in page


def test_images_keep_their_splits_and_what_is_stored_of_them(corrected, run):
    made, stored, _ = corrected
    before, after = split_of(run), split_of(made)
    assert after == {path: split for path, split in before.items() if path in after}
    assert len(after) == len(before) - 3
    assert stored == 0


def test_relabelled_images_are_scored_by_their_new_label(corrected):
    made, _, _ = corrected
    said = made.predictions
    moved = said[[path in {f"blue/{n:04d}.jpg" for n in range(4)} for path in said["path"]]]
    assert set(moved["label"]) == {"green"}
    test = said[said["split"] == "test"]
    support = made.metrics["test"]["per_class"]["green"]["support"]
    assert support == (test["label"] == "green").sum()


def test_it_is_evaluated_and_repeated_without_the_file_that_was_given(corrected, command, images, tmp_path):
    made, _, _ = corrected
    test = made.metrics["test"]["log_loss"]
    assert kit.evaluate(made)["test"]["log_loss"] == pytest.approx(test, abs=1e-5)
    elsewhere = shutil.copytree(images, tmp_path / "elsewhere")
    moved = shutil.copytree(made.path, tmp_path / "moved")
    done = command("evaluate", moved, "--data", elsewhere, "--json")
    assert done.status == 0, done.err
    assert kit.evaluate(moved, moved=elsewhere)["test"]["n"] == made.metrics["test"]["n"]
    done = command("train", "--config", made.path / "config.toml", "--out", tmp_path / "again", "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["metrics"] == made.metrics


def test_other_images_are_scored_by_their_own_labels(corrected, images, tmp_path):
    """The run's corrections are of its own images."""
    made, _, _ = corrected
    other = shutil.copytree(images, tmp_path / "other")
    scored = kit.evaluate(made, other, include_seen=True)["images"]
    assert scored["scored"] == 72


def test_an_interrupted_run_goes_on_with_the_corrections_it_began_with(images, toy_weights, tmp_path):
    class Stop(Exception):
        pass

    def stop(history):
        if len(history) == 2:
            raise Stop

    file = write(tmp_path / "corrections.csv")
    settings = {"weights": toy_weights, "backbone": "toy", "image_size": 48, "views": 2, "head_units": 16}
    settings |= {"head_epochs": 3, "unfreeze_depth": 0, "corrections": file}
    with pytest.raises(Stop):
        kit.train(images, tmp_path / "run", on_epoch=stop, **settings)
    whole = kit.train(images, tmp_path / "whole", **settings)
    write(file, ROWS[:1])  # downloaded anew, to the same name
    resumed = kit.resume(tmp_path / "run")
    assert resumed.metrics == whole.metrics
    assert resumed.manifest["data"]["corrections"] == whole.manifest["data"]["corrections"]


def test_folds_stay_as_they_were(images, toy_weights, tmp_path):
    settings = {"weights": toy_weights, "backbone": "toy", "image_size": 32, "views": 1, "head_units": 8, "folds": 3}
    settings |= {"head_epochs": 1, "unfreeze_depth": 0}
    plain = kit.train(images, tmp_path / "plain", **settings).samples
    made = kit.train(images, tmp_path / "made", **settings, corrections=write(tmp_path / "reviewed.csv"))
    before = dict(zip(plain["path"], plain["fold"], strict=True))
    after = dict(zip(made.samples["path"], made.samples["fold"], strict=True))
    assert after == {path: fold for path, fold in before.items() if path in after}
    assert len(made.predictions) == 69
    assert kit.evaluate(made)["train"]["n"] == 69


def test_seeds_of_one_folder_have_one_file(refused, command, images, settings, tmp_path):
    file = write(tmp_path / "corrections.csv")
    asked = ("train", images, *settings, *HEAD_ONLY, "--seeds", "2", "--out", tmp_path / "seeds", "--corrections", file)
    assert command(*asked).status == 0
    assert command(*asked).status == 0  # a second call finds both
    write(file, ROWS[:1])
    assert "holds a run of other settings" in refused(*asked)


def test_what_does_not_fit_is_refused_before_anything_is_made(refused, images, settings, tmp_path):
    file = write(tmp_path / "corrections.csv", [("red", 99, "drop", "")])
    told = refused("train", images, *settings, "--out", tmp_path / "out", "--corrections", file)
    assert "names images that photos" in told
    assert "row 2 (red/0099.jpg)" in told
    assert not (tmp_path / "out").exists()
    told = refused("train", images, *settings, "--dry-run", "--corrections", tmp_path / "none.csv")
    assert "There is no file" in told
    assert "There is no file" in refused("inspect", images, "--corrections", tmp_path / "none.csv")


def test_a_plan_says_what_would_be_applied(command, images, settings, tmp_path):
    file = write(tmp_path / "corrections.csv")
    done = command("train", images, *settings, *HEAD_ONLY, "--dry-run", "--corrections", file)
    assert done.status == 0
    assert "corrections.csv (SHA-256 " in done.err
    assert "4 relabelled, 3 dropped, 1 kept" in done.err


def test_an_inspection_applies_and_records_them(command, images, tmp_path):
    file = write(tmp_path / "reviewed.csv")
    done = command("inspect", images, "--corrections", file, "--json", "--out", tmp_path / "record")
    assert done.status == 0, done.err
    said = json.loads(done.out)
    assert {entry["label"]: entry["images"] for entry in said["classes"]} == {"blue": 20, "green": 28, "red": 21}
    assert said["corrections"]["sha256"] == sha256_file(file) == sha256_file(tmp_path / "record" / FILE)
    assert "4 relabelled, 3 dropped, 1 kept" in reports.write_report(tmp_path / "record").read_text()
    assert command("inspect", images, "--json", "--out", tmp_path / "record").status == 0
    assert not (tmp_path / "record" / FILE).exists()


@pytest.mark.full
def test_a_study_goes_by_its_own_copy(run_cli, images, toy_weights, tmp_path):
    file, space = write(tmp_path / "corrections.csv"), tmp_path / "space.toml"
    space.write_text("[model]\nhead_units = [8, 16]\n[phases.1]\nunfreeze_depth = { low = 0, high = 2 }\n")
    sets = ("data.image_size=32", "model.backbone=toy", "model.head_units=16", "views.count=1", "phases.0.epochs=1")
    tail = ("phases.1.epochs=1", "phases.1.unfreeze_depth=1")
    flags = [word for text in (*sets, *tail) for word in ("--set", text)]
    asked = ("study", "run", images, "--weights", toy_weights, "--space", space, *flags, "--corrections", file)
    done = run_cli(*asked, "--trials", "2", "--name", "one", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    best = Run.open(tmp_path / "studies/one/best")
    assert best.manifest["data"]["corrections"]["relabelled"] == 4
    assert sha256_file(best.path / FILE) == sha256_file(tmp_path / "studies/one" / FILE)
    assert "4 relabelled, 3 dropped, 1 kept" in (tmp_path / "studies/one/report.html").read_text()
    write(file, ROWS[:1])
    other = run_cli(*asked, "--trials", "3", "--name", "one", cwd=tmp_path)
    assert other.returncode == 2
    assert "Give the same images and corrections" in other.stderr
