"""Processes that are killed, interrupted and started in odd folders: nothing that is finished is lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from objectives import ran
from studies import assert_exact, make

from kit.errors import UserError
from search.records import StudyRecord
from search.workers import run_trials

pytestmark = pytest.mark.full


def test_a_trial_that_kills_its_workers_is_given_up_and_a_worker_that_has_grown_is_replaced(tmp_path):
    record = run_trials(make(tmp_path), 9, objective="objectives:DeadlyAndGrowing")
    assert_exact(record, 9)
    lost = [trial for trial in record.trials if trial.state == "failed"]
    assert [(trial.number, trial.retry_of) for trial in lost] == [(1, None), (2, 1), (3, 1)]
    assert {trial.error for trial in lost} == {"Its worker died."}
    assert lost[0].params == lost[1].params == lost[2].params
    each = Counter(trial.worker for trial in record.trials)
    # three died; of the fourth three trials show what it needs, two more stay below 64 MiB, the third does not
    assert list(each.values()) == [2, 1, 1, 6, 2]


def test_four_workers_and_three_killed(tmp_path):
    study = make(tmp_path)
    killer = threading.Thread(target=kill_some, args=(tmp_path, 3))
    killer.start()
    record = run_trials(study, 60, workers=4, objective="objectives:Short")
    killer.join()
    assert_exact(record, 60)
    lost = [trial for trial in record.trials if trial.state == "failed"]
    assert len(lost) <= 3
    assert len(ran(tmp_path)) in range(60, 64)


def test_a_study_killed_and_interrupted_goes_on(tmp_path):
    """Killed before it has begun, killed at work, interrupted: one study through all of it."""
    with start_parent(tmp_path, 1000) as parent:
        wait_for(lambda: (tmp_path / "optuna.db").exists())
        parent.kill()
    with start_parent(tmp_path, 1000) as parent:
        wait_for(lambda: len(ran(tmp_path)) >= 3)
        workers = [int(file.name.rsplit("-", 2)[1]) for file in (tmp_path / "workers").glob("*.lock")]
        parent.kill()
    wait_for(lambda: not any(alive(tmp_path / f"x-{pid}-x") for pid in workers))
    before = [trial for trial in make(tmp_path).refresh().trials if trial.finished]
    begun = len(ran(tmp_path))
    with start_parent(tmp_path, 1000) as parent:
        wait_for(lambda: len(ran(tmp_path)) >= begun + 3)
        (tmp_path / "hold").touch()
        study = make(tmp_path)
        wait_for(lambda: study.refresh().counts.running == 2)
        parent.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in parent.communicate(timeout=60)[1]
    (tmp_path / "hold").unlink()
    record = StudyRecord.load(tmp_path)
    assert record.counts.running == 0
    assert record.counts.finished > len(before)
    assert [record.trial(trial.number) for trial in before] == before
    assert "It was interrupted." in {trial.error for trial in record.trials}
    before = [trial for trial in record.trials if trial.finished]
    wanted = len(before) + 3
    record = run_trials(make(tmp_path), wanted, objective="objectives:Quick")
    assert_exact(record, wanted)
    assert [record.trial(trial.number) for trial in before] == before


def test_the_same_error_thrice_ends_a_study_from_a_folder_with_a_search_and_a_kit_of_its_own(tmp_path, monkeypatch):
    """Workers import transferkit, not what lies in the folder where it is called."""
    here = tmp_path / "here"
    (here / "kit").mkdir(parents=True)
    (here / "search.py").write_text("raise SystemExit('this is not transferkit')")
    (here / "kit" / "__init__.py").write_text("raise SystemExit('this is not transferkit')")
    monkeypatch.chdir(here)
    with pytest.raises(UserError, match="the images are upside down") as caught:
        run_trials(make(tmp_path / "study"), 10, objective="objectives:Failing")
    assert "failed alike" in caught.value.what
    assert ran(tmp_path / "study") == [0, 1, 2]


def test_a_worker_that_cannot_begin_is_told_with_its_own_words(tmp_path):
    with pytest.raises(UserError, match="A worker has ended with status 1") as caught:
        run_trials(make(tmp_path), 2, objective="objectives:Missing")
    assert "has no attribute 'Missing'" in str(caught.value)


# A suite that runs in the background has Ctrl-C ignored, and so have its children.
PARENT = """
import signal
from pathlib import Path
from studies import make
from search.workers import run_trials
signal.signal(signal.SIGINT, signal.default_int_handler)
run_trials(make(Path({path!r})), {target}, workers=2, objective="objectives:Slow")
"""


def start_parent(path, target):
    code = PARENT.format(path=str(path), target=target)
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True)


def kill_some(path, count, after=10):
    """Kills the worker of a running trial, several times, each some trials after the last."""
    for turn in range(1, count + 1):
        wait_for(lambda turn=turn: len(ran(path)) >= turn * after)
        os.kill(a_worker(path), signal.SIGKILL)


def a_worker(path) -> int:
    """Process id of a worker: its file is named HOST-PID-TOKEN.lock."""
    found = wait_for(lambda: [file.name for file in (path / "workers").glob("*.lock") if alive(file)])
    return int(found[0].rsplit("-", 2)[1])


def alive(file) -> bool:
    pid = int(file.name.rsplit("-", 2)[1])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come about")
