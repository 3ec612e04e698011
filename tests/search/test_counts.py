"""Exactly as many trials as were asked for, each run once, whoever dies: on SQLite, with objectives without keras."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress

import optuna
import pytest
from objectives import ran
from studies import make

from doubles import swap
from kit.errors import UserError
from search.claims import Ledger, Owner, Verdict
from search.records import StudyRecord
from search.running import interrupts_noted, run_trials
from search.study import sampler_of

FINISHED = ("complete", "pruned")


def assert_exact(record, target):
    """`target` finished trials, dense numbers, nothing left over, and whatever was begun again is recorded as such."""
    numbers = [trial.number for trial in record.trials]
    assert numbers == list(range(len(numbers)))
    assert record.counts.finished == target
    assert record.counts.running == record.counts.waiting == 0
    begun = ran(record.path)
    assert len(set(begun)) == len(begun), "a trial ran twice under one number"
    assert {trial.number for trial in record.trials if trial.finished} <= set(begun)
    for trial in record.trials:
        if trial.retry_of is not None:
            assert record.trial(trial.retry_of).state == "failed"
    sources = [trial.retry_of for trial in record.trials if trial.finished and trial.retry_of is not None]
    assert len(set(sources)) == len(sources), "a lost trial was finished twice"


def ledger(study, owner, target=3):
    return Ledger(study.optuna, study.storage, study.address, owner, target)


def sampler(study):
    return lambda number: sampler_of(study.record, number)


def test_a_study_ends_with_the_number_asked_for_and_goes_on_to_more(tmp_path):
    record = run_trials(make(tmp_path), 5, objective="objectives:Quick")
    assert_exact(record, 5)
    assert record.trials[0].own
    before = record.trials
    record = run_trials(make(tmp_path), 8, objective="objectives:Quick")
    assert_exact(record, 8)
    assert record.trials[:5] == before
    assert ran(tmp_path) == list(range(8))
    assert run_trials(make(tmp_path), 8, objective="objectives:Quick").trials == record.trials


def test_failed_trials_are_extra_and_keep_their_place(tmp_path):
    record = run_trials(make(tmp_path), 6, objective="objectives:SometimesFailing")
    assert_exact(record, 6)
    failed = [trial for trial in record.trials if trial.state == "failed"]
    assert [trial.number for trial in failed] == [1, 4, 7][: len(failed)]
    assert failed[0].error == "ValueError: trial 1 had bad luck"


def test_the_same_error_thrice_ends_the_study_with_it(tmp_path):
    with pytest.raises(UserError, match="the photos are upside down") as caught:
        run_trials(make(tmp_path), 10, objective="objectives:Failing")
    assert "failed alike" in caught.value.what
    assert ran(tmp_path) == [0, 1, 2]
    # errors of an earlier run do not count against the next
    record = run_trials(make(tmp_path), 2, objective="objectives:Quick")
    assert record.counts.finished == 2


def test_a_trial_that_kills_its_workers_is_given_up(tmp_path):
    record = run_trials(make(tmp_path), 4, objective="objectives:Deadly")
    assert_exact(record, 4)
    lost = [trial for trial in record.trials if trial.state == "failed"]
    assert [trial.retry_of for trial in lost] == [None, 1, 1]
    assert {trial.error for trial in lost} == {"Its worker died."}
    assert lost[0].params == lost[1].params == lost[2].params


def test_a_worker_that_has_grown_is_replaced(tmp_path):
    record = run_trials(make(tmp_path), 10, objective="objectives:Growing")
    assert_exact(record, 10)
    assert record.counts.failed == 0
    each = Counter(trial.worker for trial in record.trials)
    # three trials show what it needs; two more stay below 64 MiB, the third does not
    assert list(each.values()) == [6, 4]


def test_four_workers_and_three_killed(tmp_path):
    study = make(tmp_path)
    killer = threading.Thread(target=kill_some, args=(tmp_path, 3))
    killer.start()
    record = run_trials(study, 100, workers=4, objective="objectives:Short")
    killer.join()
    assert_exact(record, 100)
    lost = [trial for trial in record.trials if trial.state == "failed"]
    assert len(lost) <= 3
    assert len(ran(tmp_path)) in range(100, 104)


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


# A suite that runs in the background has Ctrl-C ignored, and so have its children.
PARENT = """
import signal
from pathlib import Path
from studies import make
from search.running import run_trials
signal.signal(signal.SIGINT, signal.default_int_handler)
run_trials(make(Path({path!r})), {target}, workers=2, objective="objectives:{objective}")
"""


def start_parent(path, target, objective="Short"):
    code = PARENT.format(path=str(path), target=target, objective=objective)
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.parametrize("moment", [0, 1, 7])
def test_a_study_killed_at_any_moment_goes_on(tmp_path, moment):
    with start_parent(tmp_path, 12) as parent:
        wait_for(lambda: (tmp_path / "optuna.db").exists() and len(ran(tmp_path)) >= moment)
        parent.kill()
    study = make(tmp_path)
    before = [trial for trial in study.refresh().trials if trial.finished]
    record = run_trials(study, 12, workers=2, objective="objectives:Short")
    assert_exact(record, 12)
    assert [record.trial(trial.number) for trial in before] == before


def test_workers_end_with_their_parent(tmp_path):
    with start_parent(tmp_path, 1000, "Slow") as parent:
        wait_for(lambda: len(ran(tmp_path)) >= 2)
        workers = [int(file.name.rsplit("-", 2)[1]) for file in (tmp_path / "workers").glob("*.lock")]
        parent.kill()
    assert len(workers) == 2
    wait_for(lambda: not any(alive(tmp_path / f"x-{pid}-x") for pid in workers))


def test_ctrl_c_writes_down_what_is_known(tmp_path):
    with start_parent(tmp_path, 1000, "Slow") as parent:
        wait_for(lambda: len(ran(tmp_path)) >= 4)
        parent.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in parent.communicate(timeout=60)[1]
    record = StudyRecord.load(tmp_path)
    assert record.counts.running == 0
    assert record.counts.finished >= 1
    finished = record.counts.finished
    assert_exact(run_trials(make(tmp_path), finished + 3, objective="objectives:Quick"), finished + 3)


def test_a_ctrl_c_that_lands_in_a_finaliser_is_not_lost():
    class Finalised:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the suite runs in the background
    try:
        with interrupts_noted() as heed:
            heed()
            Finalised()
            with pytest.raises(KeyboardInterrupt):
                heed()
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_stop_lets_running_trials_finish_and_the_next_run_goes_on(tmp_path):
    study = make(tmp_path)

    def stop():
        wait_for(lambda: len(ran(tmp_path)) >= 2)
        study.note("stop", True)

    stopper = threading.Thread(target=stop)
    stopper.start()
    record = run_trials(study, 1000, objective="objectives:Slow")
    stopper.join()
    assert 2 <= record.counts.finished < 1000
    assert record.counts.running == record.counts.failed == 0
    assert_exact(
        run_trials(make(tmp_path), record.counts.finished + 1, objective="objectives:Quick"), record.counts.finished + 1
    )


def test_no_trial_begins_after_the_time(tmp_path):
    record = run_trials(make(tmp_path), 10, timeout=0.0, objective="objectives:Quick")
    assert record.counts.finished == 0
    assert ran(tmp_path) == []


def test_the_same_seed_gives_the_same_trials_however_often_it_is_interrupted(tmp_path):
    whole = run_trials(make(tmp_path / "a", sampler="tpe"), 14, objective="objectives:Quick")
    run_trials(make(tmp_path / "b", sampler="tpe"), 5, objective="objectives:Quick")
    parts = run_trials(make(tmp_path / "b", sampler="tpe"), 14, objective="objectives:Quick")
    other = run_trials(make(tmp_path / "c", sampler="tpe", seed=1), 14, objective="objectives:Quick")
    assert [trial.params for trial in whole.trials] == [trial.params for trial in parts.trials]
    assert [trial.params for trial in whole.trials[1:]] != [trial.params for trial in other.trials[1:]]


def test_trials_worse_than_the_median_are_pruned_in_fine_tuning_and_count(tmp_path):
    record = run_trials(make(tmp_path, pruner="median"), 16, objective="objectives:Reporting")
    assert_exact(record, 16)
    pruned = [tuple(map(int, line.split())) for line in (tmp_path / "pruned.txt").read_text().splitlines()]
    assert record.counts.pruned == len(pruned) > 0
    # 10 epochs of the head are left alone, and the first of fine-tuning; and there is no median of fewer than 5
    assert {step for _, step in pruned} == {12}
    assert min(number for number, _ in pruned) >= 5
    best = max(trial.values[0] for trial in record.trials if trial.values)
    assert record.trial(record.best).values == (best,)


class TestClaims:
    """One step at a time, without processes."""

    def test_no_more_are_claimed_than_are_wanted(self, tmp_path):
        study = make(tmp_path)
        first, second = (Owner(tmp_path / "workers") for _ in range(2))
        with first.alive(), second.alive():
            trial = ledger(study, first, target=1).claim(sampler(study))
            assert ledger(study, second, target=1).claim(sampler(study)) is Verdict.WAIT
            study.optuna.tell(trial, 1.0)
            assert ledger(study, second, target=1).claim(sampler(study)) is Verdict.DONE

    def test_a_failed_trial_makes_room(self, tmp_path):
        study, owner = make(tmp_path), Owner(tmp_path / "workers")
        with owner.alive():
            trial = ledger(study, owner, target=1).claim(sampler(study))
            study.optuna.tell(trial, state=optuna.trial.TrialState.FAIL)
            assert ledger(study, owner, target=1).claim(sampler(study)).number == 1

    def test_a_dead_workers_trial_is_repeated_with_its_parameters(self, tmp_path):
        study, dead, living = make(tmp_path), Owner(tmp_path / "workers"), Owner(tmp_path / "workers")
        with suppress(RuntimeError), dead.alive():
            trial = ledger(study, dead).claim(sampler(study))
            trial.suggest_int("model.head_units", 32, 1024, log=True)
            raise RuntimeError("as if killed: its lock is free, its file is there")
        with living.alive():
            again = ledger(study, living).claim(sampler(study))
        assert again.number == 1
        assert again.user_attrs["own"]
        assert again.suggest_int("model.head_units", 32, 1024, log=True) == 128
        assert study.refresh().trial(1).retry_of == 0

    def test_a_trial_finished_just_before_its_worker_died_is_not_repeated(self, tmp_path, monkeypatch):
        study, dying, living = make(tmp_path), Owner(tmp_path / "workers"), Owner(tmp_path / "workers")
        with suppress(RuntimeError), dying.alive():
            trial = ledger(study, dying).claim(sampler(study))
            raise RuntimeError("as if killed")
        is_dead = Owner.is_dead

        def finished_meanwhile(owner, name):  # after the running trials were read
            study.optuna.tell(trial, 1.0)
            return is_dead(owner, name)

        swap(monkeypatch, Owner, "is_dead", finished_meanwhile)
        ledger(study, living).sweep()
        assert [(trial.state, trial.error) for trial in study.refresh().trials] == [("complete", None)]

    def test_the_own_configuration_is_never_lost_to_interruptions(self, tmp_path):
        study, owner = make(tmp_path), Owner(tmp_path / "workers")
        with owner.alive():
            for _ in range(5):
                book = ledger(study, owner)
                book.release(book.claim(sampler(study)), "It was interrupted.")
            assert ledger(study, owner).claim(sampler(study)).user_attrs["own"]

    def test_a_trial_that_nobody_signed_is_given_up(self, tmp_path):
        study, owner = make(tmp_path), Owner(tmp_path / "workers")
        with owner.alive():
            study.optuna.ask()  # as if killed between asking and signing; this one was the own configuration
            study.optuna.ask()  # and this one a fresh one, of which nothing is known
            claimed = ledger(study, owner).claim(sampler(study))
        record = study.refresh()
        assert [trial.state for trial in record.trials] == ["failed", "failed", "running"]
        assert (claimed.number, record.trial(2).retry_of) == (2, 0)

    def test_a_silent_worker_of_another_machine_is_dead_after_a_while(self, tmp_path, monkeypatch):
        study, owner = make(tmp_path), Owner(tmp_path / "workers")
        with owner.alive():
            far = Owner(tmp_path / "elsewhere", "far-away-1-abc")
            trial = ledger(study, far).claim(sampler(study))
            assert ledger(study, owner).claim(sampler(study)).number == 1
            assert study.refresh().trial(0).state == "running"
            monkeypatch.setattr(study.storage, "grace_period", -1)
            ledger(study, Owner(tmp_path / "workers")).sweep()
        assert study.refresh().trial(trial.number).state == "failed"

    def test_a_result_of_a_worker_that_was_taken_for_dead_does_not_count(self, tmp_path):
        from search.workers import run_trial

        study, owner = make(tmp_path), Owner(tmp_path / "workers")
        book = ledger(study, owner)
        with owner.alive():
            trial = book.claim(sampler(study))

            def objective(trial):
                book.release(trial, "Taken for dead.")
                return (1.0,)

            run_trial(book, trial, objective)
        assert [trial.state for trial in study.refresh().trials] == ["failed", "waiting"]
