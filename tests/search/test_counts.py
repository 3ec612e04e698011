"""As many trials as were asked for, each run once, whoever dies: on SQLite, with objectives without keras."""

import signal
from contextlib import suppress

import filelock
import optuna
import pytest
from objectives import Failing, Immeasurable, Quick, Reporting, SometimesFailing, Stopping, ran
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError
from studies import assert_exact, make, run_here, worker

from doubles import swap
from search import worker as worker_module
from search.storage import is_lost
from search.trial_queue import MAX_RETRIES, TrialQueue, is_dead
from search.worker import GROWTH_BYTES, RENEW, SETTLED_AFTER
from search.workers import interrupts_noted, threads_for


def test_a_study_ends_with_the_number_asked_for_and_goes_on_to_more(tmp_path):
    record = run_here(make(tmp_path), 5)
    assert_exact(record, 5)
    assert record.trials[0].own
    before = record.trials
    record = run_here(make(tmp_path), 8)
    assert_exact(record, 8)
    assert record.trials[:5] == before
    assert ran(tmp_path) == list(range(8))
    assert run_here(make(tmp_path), 8).trials == record.trials


def test_failed_trials_are_extra_and_keep_their_place(tmp_path):
    record = run_here(make(tmp_path), 6, SometimesFailing)
    assert_exact(record, 6)
    failed = [trial for trial in record.trials if trial.state == "failed"]
    assert [trial.number for trial in failed] == [1, 4, 7][: len(failed)]
    assert failed[0].error == "ValueError: trial 1 had bad luck"


def test_a_trial_without_a_score_fails_with_that_word(tmp_path):
    record = run_here(make(tmp_path), 3, Immeasurable)
    assert_exact(record, 3)
    assert record.trial(1).error == "ValueError: a score is not a number: (nan,)"


def test_the_same_error_thrice_ends_the_study_and_counts_in_one_run_alone(tmp_path):
    record = run_here(make(tmp_path), 10, Failing)
    assert ran(tmp_path) == [0, 1, 2]
    assert {trial.error for trial in record.trials} == {"ValueError: the images are upside down"}
    assert worker(make(tmp_path), target=10).is_done()
    assert run_here(make(tmp_path), 2, first=3).counts.finished == 2


def test_a_worker_that_has_grown_asks_to_be_replaced(tmp_path, monkeypatch):
    sizes = iter([5, 6, 7, 7 + GROWTH_BYTES, 8 + GROWTH_BYTES])
    swap(monkeypatch, worker_module, "peak_memory", lambda: next(sizes))
    study = make(tmp_path)
    assert worker(study, target=9).run() == RENEW
    assert study.refresh().counts.finished == SETTLED_AFTER + 2


def test_stop_lets_running_trials_finish_and_the_next_run_goes_on(tmp_path):
    record = run_here(make(tmp_path), 1000, Stopping)
    assert [trial.state for trial in record.trials] == ["complete", "complete"]
    assert_exact(run_here(make(tmp_path), 3), 3)


def test_no_trial_begins_after_the_time(tmp_path):
    assert run_here(make(tmp_path), 10, deadline=0.0).counts.finished == 0
    assert ran(tmp_path) == []


def test_the_same_seed_gives_the_same_trials_however_often_it_is_interrupted(tmp_path):
    whole = run_here(make(tmp_path / "a", sampler="tpe"), 12)
    run_here(make(tmp_path / "b", sampler="tpe"), 5)
    parts = run_here(make(tmp_path / "b", sampler="tpe"), 12)
    other = run_here(make(tmp_path / "c", sampler="tpe", seed=1), 12)
    assert [trial.params for trial in whole.trials] == [trial.params for trial in parts.trials]
    assert [trial.params for trial in whole.trials[1:]] != [trial.params for trial in other.trials[1:]]


def test_trials_worse_than_the_median_are_pruned_in_fine_tuning_and_count(tmp_path):
    record = run_here(make(tmp_path, pruner="median"), 12, Reporting)
    assert_exact(record, 12)
    pruned = [tuple(map(int, line.split())) for line in (tmp_path / "pruned.txt").read_text().splitlines()]
    assert record.counts.pruned == len(pruned) > 0
    # 10 epochs of the head are left alone, and the first of fine-tuning; and there is no median of fewer than 5
    assert {step for _, step in pruned} == {12}
    assert min(number for number, _ in pruned) >= 5
    best = max(trial.values[0] for trial in record.trials if trial.values)
    assert record.trial(record.best_trial).values == (best,)


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


@pytest.mark.parametrize(
    ("workers", "wanted", "available", "threads"),
    [(1, 0, 8, 0), (1, 4, 8, 4), (4, 0, 8, 2), (4, 6, 8, 1), (4, 0, 2, 1)],
)
def test_workers_divide_the_cores(workers, wanted, available, threads):
    assert threads_for(workers, wanted, available) == threads


class Killed(BaseException):
    """What a worker raises in this process where the system would end it."""


def begin(study, name="host-1-abc"):
    """A running trial that a worker has begun; it beats no heart."""
    study.optuna.add_trial(optuna.create_trial(state=TrialState.RUNNING, user_attrs={"worker": name} if name else {}))
    return len(study.optuna.trials) - 1


class TestOneStepAtATime:
    """Workers of one study in this process."""

    def test_no_more_begin_than_are_wanted(self, tmp_path):
        study, inner = make(tmp_path), []

        def objective(trial):
            inner.append(worker(study, target=1).run_next())  # the first still runs
            return (1.0,)

        first = worker(study, target=1)
        first.objective = objective
        assert first.run_next()
        assert inner == [False]
        assert first.is_done()
        assert_states(study, "complete")

    def test_a_dead_workers_trial_is_repeated_with_its_parameters_twice(self, tmp_path):
        study, dying = make(tmp_path), worker(make(tmp_path))

        def killed(trial):
            drawn.append(Quick(study.record, 0).space.suggest(trial).model.head_units)
            raise Killed

        drawn = []
        dying.objective = killed
        for number in range(MAX_RETRIES + 1):
            with suppress(Killed):
                dying.run_next()
            record = study.refresh()
            assert record.trial(number).state == "running"
            assert record.trial(number).retry_of == (0 if number else None)
        assert drawn == [128] * 3
        worker(study).queue.sweep(dying.name)
        record = study.refresh()
        assert [(trial.state, trial.own, trial.error) for trial in record.trials] == [
            ("failed", True, "Its worker died.")
        ] * 3
        assert record.trials[0].params == record.trials[1].params == record.trials[2].params

    def test_a_lock_that_is_free_tells_a_dead_worker(self, tmp_path):
        study = make(tmp_path)
        name = worker(study).name
        begin(study, name)
        file = tmp_path / "workers" / f"{name}.lock"
        file.parent.mkdir()
        with filelock.FileLock(file):
            assert not is_dead(file.parent, name)
            worker(study).queue.sweep()
            assert_states(study, "waiting", "running")
        assert is_dead(file.parent, name)
        worker(study).queue.sweep()
        assert_states(study, "waiting", "failed")

    def test_a_trial_finished_just_before_its_worker_died_is_not_repeated(self, tmp_path, monkeypatch):
        study = make(tmp_path)
        number = begin(study)

        def finished_meanwhile(workers, name):  # after the running trials were read
            study.optuna.tell(number, 1.0)
            return True

        swap(monkeypatch, "search.trial_queue", "is_dead", finished_meanwhile)
        worker(study).queue.sweep()
        assert_states(study, "waiting", "complete")
        assert study.refresh().trial(number).error is None

    def test_the_own_configuration_is_never_lost_to_interruptions(self, tmp_path):
        study, interrupted = make(tmp_path), worker(make(tmp_path))

        def killed(trial):
            trial.set_user_attr("error", worker_module.INTERRUPTED)
            raise Killed

        interrupted.objective = killed
        for _ in range(5):
            with suppress(Killed):
                interrupted.run_next()
        interrupted.queue.sweep(interrupted.name)
        record = study.refresh()
        assert {trial.error for trial in record.trials[:5]} == {"It was interrupted."}
        assert (record.trials[5].state, record.trials[5].own, record.trials[5].retry_of) == ("waiting", True, 0)

    def test_a_trial_that_nobody_signed_is_given_up(self, tmp_path):
        study = make(tmp_path)
        begin(study, None)  # as if killed before it had its worker's name; nothing of it is known
        assert worker(study, target=1).run_next()
        assert_states(study, "complete", "failed")

    def test_a_silent_worker_of_another_machine_is_dead_after_a_while(self, tmp_path):
        study = make(tmp_path)
        far = worker(make(tmp_path))
        far.name = "far-away-1-abc"

        def silent(trial):
            raise Killed  # its heart has beaten once

        far.objective = silent
        with suppress(Killed):
            far.run_next()
        near = worker(study, target=2)
        assert near.run_next()
        assert_states(study, "running", "complete")
        study.storage.grace_period = -1
        near.queue.sweep()
        assert_states(study, "failed", "complete", "waiting")

    def test_a_result_of_a_worker_that_was_taken_for_dead_does_not_count(self, tmp_path):
        study, slow = make(tmp_path), worker(make(tmp_path))

        def objective(trial):
            worker(study).queue.sweep(slow.name)
            return (1.0,)

        slow.objective = objective
        assert slow.run_next()
        assert_states(study, "failed", "waiting")

    def test_a_result_outlives_the_connection(self, tmp_path, monkeypatch):
        """The server restarts in the very moment in which a result is written."""
        study, once = make(tmp_path), iter([True])
        keep = study.storage.set_trial_state_values

        def lost(trial_id, state, values=None):
            if state == TrialState.COMPLETE and next(once, False):
                raise gone()
            return keep(trial_id, state, values)

        monkeypatch.setattr(study.storage, "set_trial_state_values", lost)
        assert worker(study).run_next()
        assert_states(study, "complete")
        assert study.refresh().trial(0).values == (0.875,)

    def test_a_trial_that_lost_the_connection_is_repeated(self, tmp_path):
        study, once = make(tmp_path), iter([True])
        one = worker(study)
        objective = one.objective

        def lost(trial):
            values = objective(trial)
            if next(once, False):
                raise gone()
            return values

        one.objective = lost
        assert one.run_next()
        record = study.refresh()
        assert record.trial(0).error == "It lost the connection to its storage."
        assert one.run_next()
        record = study.refresh()
        assert (record.trial(1).state, record.trial(1).retry_of, record.trial(1).own) == ("complete", 0, True)


def gone() -> OperationalError:
    """What SQLAlchemy raises where the server ends a connection."""
    error = OperationalError("UPDATE", {}, Exception("terminating connection"), connection_invalidated=True)
    assert is_lost(error)
    return error


def assert_states(study, *states):
    assert [trial.state for trial in study.refresh().trials] == list(states)


def test_the_queue_repeats_a_waiting_trial_before_it_draws_another(tmp_path):
    study = make(tmp_path)
    queue = TrialQueue(study.optuna, tmp_path / "workers", target=2)
    assert queue.next_number() == 0  # the own configuration
    begin(study)
    assert queue.next_number() == 0
    begin(study)
    assert queue.next_number() is None
