"""The pages of a small real run and study, made as a person would: flowers, pretrained weights, one backend."""

import os
import re
import shutil
import subprocess

import pytest

from kit.run import Run
from search.records import StudyRecord

pytestmark = [pytest.mark.backend, pytest.mark.real, pytest.mark.once(backend="jax")]

PER_CLASS = 12
SETTINGS = (
    "data.image_size=96",
    "views.count=1",
    "phases.0.epochs=2",
    "phases.1.epochs=1",
    "phases.1.unfreeze_depth=2",
)
SPACE = "[model]\nhead_units = [32, 64]\n"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or ""
HEADLESS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


@pytest.fixture(scope="module")
def pages(needs_backend, real_data, run_cli, tmp_path_factory):
    """Kind -> page: of a run, a study, its best run and an inspection, and of two runs compared."""
    folder = tmp_path_factory.mktemp("real")
    for label in sorted(path for path in (real_data / "flowers").iterdir() if path.is_dir()):
        (folder / "photos" / label.name).mkdir(parents=True)
        for photo in sorted(label.glob("*.jpg"))[:PER_CLASS]:
            shutil.copy(photo, folder / "photos" / label.name)
    (weights,) = (real_data / "weights").glob("mobilenet_v2_1.0_224_no_top.weights.h5")
    (folder / "space.toml").write_text(SPACE)
    settings = [word for setting in SETTINGS for word in ("--set", setting)]

    def done(*arguments):
        ended = run_cli(*arguments, cwd=folder)
        assert ended.returncode == 0, ended.stderr

    done("train", "photos", "--weights", weights, *settings, "--out", "run")
    study = ("--name", "study", "--trials", "2", "--space", "space.toml", "--out", "study")
    done("study", "run", "photos", "--weights", weights, *settings, *study)
    done("inspect", "photos", "--out", "inspection")
    done("report", "run", "study/best", "--out", "comparison.html")
    kinds = {kind: folder / kind / "report.html" for kind in ("run", "study", "inspection")}
    return {**kinds, "best": folder / "study" / "best" / "report.html", "comparison": folder / "comparison.html"}


def test_commands_leave_pages_of_what_they_measured(pages):
    run = Run.open(pages["run"].parent)
    html = pages["run"].read_text(encoding="utf-8")
    test = run.metrics["test"]
    assert f"{round(test['accuracy'] * test['n'])} of {test['n']} right" in html
    assert 'class="note missing"' not in html
    study = StudyRecord.load(pages["study"].parent)
    assert study.counts.finished == 2
    html = pages["study"].read_text(encoding="utf-8")
    assert f"What trial {study.best_trial} chose" in html
    assert 'href="best/report.html"' in html
    assert all(path.stat().st_size < 8e6 for path in pages.values())


@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium on this machine")
@pytest.mark.parametrize("kind", ["run", "study", "inspection", "best", "comparison"])
def test_chromium_draws_every_figure_and_has_nothing_to_say(pages, kind, tmp_path):
    wait = ("--virtual-time-budget=20000", "--enable-logging=stderr", f"--user-data-dir={tmp_path}", "--dump-dom")
    command = [CHROMIUM, *HEADLESS, *wait, pages[kind].as_uri()]
    seen = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=True)
    asked = pages[kind].read_text(encoding="utf-8").count('<script type="application/json" data-figure=')
    assert asked > 0
    assert re.search(r'<html[^>]* data-drawn="(\d+)"', seen.stdout)[1] == str(asked)
    assert [line for line in seen.stderr.splitlines() if "CONSOLE" in line] == []
