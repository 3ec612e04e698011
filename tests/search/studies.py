"""Studies without images, for tests in which keras is not the point."""

from pathlib import Path

from objectives import Quick, ran

from kit.config import RunConfig
from search.records import StudyRecord
from search.space import load_space
from search.storage import Address
from search.study import OpenStudy, build_pruner, config_tree, open_study
from search.trial_queue import TrialQueue
from search.worker import Worker

# A worker whose parent is a test is taken for dead after this, by those on other machines.
OPENED: list[OpenStudy] = []  # closed when the test ends
QUICK_HEART = {"heartbeat": 1, "grace": 4}


def asked(path: Path, address: Address | None = None, **changes) -> StudyRecord:
    """Spec of a study on images that nobody has."""
    space = load_space(RunConfig())
    fields = {
        "path": path,
        "name": "test",
        "created": "2026-01-01T00:00:00+00:00",
        "objectives": ("accuracy",),
        "sampler": "random",
        "pruner": "none",
        "seed": 0,
        "storage": str(address or Address.of_folder(path)),
        "data": {"name": "photos", "fingerprint": "0" * 64, "weights": ""},
        "space": space.describe(),
        "config": config_tree(space.own),
    }
    return StudyRecord(**{**fields, **changes})


def make(path: Path, address: Address | None = None, **changes) -> OpenStudy:
    """A study, open."""
    address = address or Address.of_folder(path)
    record = asked(path, address, **changes)
    OPENED.append(open_study(record, address, load_space(RunConfig()).own_params()))
    return OPENED[-1]


def worker(study: OpenStudy, objective=Quick, target: int = 3, deadline: float | None = None, first: int = 0) -> Worker:
    """A worker of a study in this process."""
    study.optuna.pruner = build_pruner(study.record)
    queue = TrialQueue(study.optuna, study.record.path / "workers", target, first)
    return Worker(study, queue, objective(study.record, 0), deadline)


def run_here(study: OpenStudy, target: int, objective=Quick, **options) -> StudyRecord:
    """What `run_trials` does, with one worker in this process; returns the record at the end."""
    assert worker(study, objective, target, **options).run() == 0
    return study.refresh()


def assert_exact(record: StudyRecord, target: int) -> None:
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
