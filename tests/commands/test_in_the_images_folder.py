"""Every command run inside the folder of images leaves its records there, and none becomes data."""

import json
from pathlib import Path

import pytest

from image_files import make_images
from kit.run_writer import RunWriter

pytestmark = [pytest.mark.backend, pytest.mark.once(backend="tensorflow")]
UNDERSTOOD = "photos/: 2 class folders, 24 files: green 12, red 12"
SHORT = ("--head-epochs", "1", "--fine-tune-epochs", "1", "--unfreeze-depth", "1")


@pytest.fixture
def inside(tmp_path, monkeypatch, quick_jax) -> Path:
    """A folder of images that one is in."""
    folder = make_images(tmp_path / "photos", ("green", "red"), 12, size=48)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.full
def test_inspect_train_evaluate_and_resume_work_twice_in_a_row(inside, command, settings):
    for _ in range(2):
        assert "photos: 24 images in 2 classes" in command("inspect", ".").out
        seen = json.loads(command("inspect", ".", "--json").out)
        assert (seen["files"], [one["label"] for one in seen["classes"]]) == (24, ["green", "red"])
        done = command("train", ".", *settings, *SHORT, "--json")
        assert done.status == 0, done.err
        run = RunWriter(inside / json.loads(done.out)["run"])
        assert run.classes == ("green", "red")
        assert command("evaluate", run.path).out.endswith("These are the figures of the run.\n")
    with run.lock():
        run.update_manifest(status="interrupted")
    done = command("train", "--resume", run.path)
    assert done.status == 0, done.err
    done = command("evaluate", run.path, ".", "--json")
    assert done.status == 0, done.err
    assert len(list((inside / "runs").iterdir())) == len(list((inside / "inspections").iterdir())) == 2


@pytest.mark.full
def test_a_study_works_twice_in_a_row(inside, command, settings):
    flags = dict(zip(settings[::2], settings[1::2], strict=True))
    sets = (f"model.backbone={flags['--backbone']}", "data.image_size=48", "views.count=1", "model.head_units=16")
    sets += ("phases.0.epochs=1", "phases.1.epochs=1", "phases.1.unfreeze_depth=1")
    space = inside.parent / "space.toml"
    space.write_text("[phases.1]\nunfreeze_depth = { low = 0, high = 2 }\n")
    given = ["--space", space, "--weights", flags["--weights"], *(part for text in sets for part in ("--set", text))]
    for trials in (1, 2):
        done = command("study", "run", ".", "--name", "one", "--trials", trials, *given, "--json")
        assert done.status == 0, done.err
        assert json.loads(done.out)["counts"]["complete"] == trials


def test_how_the_folders_were_understood_is_said_by_train_and_its_dry_run(inside, command, settings):
    for extra in ((*SHORT, "--dry-run"), SHORT):
        done = command("train", ".", *settings, *extra)
        assert done.status == 0, done.err
        assert f"{UNDERSTOOD}\n" in done.err
    assert json.loads(command("train", ".", *settings, *SHORT, "--dry-run", "--json").out)["tree"] == [UNDERSTOOD]


def test_a_class_that_train_lacks_is_refused_before_any_work(inside, refused, settings):
    for split in ("train", "val"):
        make_images(inside / split, ("green", "Red" if split == "val" else "red"), 2, size=48)
    for name in ("green", "red"):
        for file in (inside / name).iterdir():
            file.unlink()
        (inside / name).rmdir()
    assert "'Red' (validation) and 'red' (train)" in refused("train", ".", *settings, "--quiet")
    assert not (inside / "runs").exists()
