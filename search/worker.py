"""Worker process: `python -P -m search.worker` runs trials until none is left.

It reads its job as one line of JSON from standard input: another line means an interrupt, the end of the pipe a dead
parent.
"""

import importlib
import json
import math
import os
import platform
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import filelock
import optuna
from optuna.trial import TrialState

from kit import backends, progress
from kit.errors import UserError
from kit.stage_clock import peak_memory
from search.records import StudyRecord
from search.storage import PATIENCE_SECONDS, Address, exclusive, is_lost, open_storage, patiently, storage_errors
from search.study import OpenStudy, build_pruner, sampler_of
from search.trial_queue import DISCONNECTED, INTERRUPTED, TrialQueue, retry

RENEW = 75  # exit status: replace me
GROWTH_BYTES = 1 << 30  # allowed beyond a worker's memory after its first trials
SETTLED_AFTER = 3  # trials after which a worker's memory should no longer grow
PAUSE_SECONDS = 0.25


class Objective(Protocol):
    """Draws the parameters of a trial, reports, and returns one value for each objective of the study."""

    def __call__(self, trial: optuna.Trial) -> Sequence[float]:
        """Raises optuna.TrialPruned to be pruned, and anything else to fail."""


@dataclass(frozen=True)
class Job:
    """Job of a worker.

    Attributes:
        folder: Of the study.
        storage: URL with its password: passed by pipe, never on a command line.
        objective: `module:factory`; the factory is called with the study's record and the worker's number of threads.
        target, first: As in `search.trial_queue.TrialQueue`.
        deadline: Seconds since the epoch after which no trial is begun.
        threads: 0 means all.
        heartbeat, grace: Seconds, as in `search.storage.open_storage`.
    """

    folder: str
    storage: str = field(repr=False)
    objective: str
    target: int
    first: int = 0
    deadline: float | None = None
    threads: int = 0
    heartbeat: int = 15
    grace: int = 60


class Worker:
    """Runs trials of an open study, one after the other, until `deadline` as in `Job`."""

    def __init__(self, study: OpenStudy, queue: TrialQueue, objective: Objective, deadline: float | None = None):
        self.name = f"{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.study, self.queue, self.objective, self.deadline = study, queue, objective, deadline
        self.trial: optuna.Trial | None = None
        self._outcome: dict[str, Any] = {}

    def run(self) -> int:
        """Run trials until none is left; returns the exit status."""
        self.queue.workers.mkdir(parents=True, exist_ok=True)
        file = self.queue.workers / f"{self.name}.lock"
        done, settled = 0, 0
        with filelock.FileLock(file):
            while not patiently(self.is_done):
                if not patiently(self.run_next):
                    time.sleep(PAUSE_SECONDS)  # enough trials are running, but one may fail
                    continue
                done += 1
                now = peak_memory() or 0
                settled = now if done <= SETTLED_AFTER else settled
                if now > settled + GROWTH_BYTES:
                    return RENEW
        file.unlink(missing_ok=True)
        return 0

    def is_done(self) -> bool:
        """Whether this worker has nothing left to do."""
        return (self.deadline is not None and time.time() >= self.deadline) or self.queue.is_done()

    def run_next(self) -> bool:
        """Run one trial; returns False where none is to begin now."""
        study, self.trial, self._outcome = self.study.optuna, None, {}
        with ExitStack() as lock:
            lock.enter_context(exclusive(self.study.address, f"trials-{self.study.record.name}"))
            self.queue.sweep(self.name)
            number = self.queue.next_number()
            if number is None:
                return False
            study.sampler = sampler_of(self.study.record, number)
            try:
                study.optimize(lambda trial: self._run(trial, lock.close), n_trials=1, catch=(Exception,))
            except Exception as error:
                if not self._outcome or not (is_lost(error) or self._is_taken()):
                    raise
        patiently(self._settle)
        return True

    def _run(self, trial: optuna.Trial, unlock: Callable[[], None]) -> tuple[float, ...]:
        self.trial, self._outcome = trial, {"state": TrialState.FAIL}
        patiently(lambda: trial.set_user_attr("worker", self.name))
        unlock()
        try:
            values = tuple(self.objective(trial))
            if any(map(math.isnan, values)):
                raise ValueError(f"a score is not a number: {values}")
        except optuna.TrialPruned:
            self._outcome = {"state": TrialState.PRUNED}
            raise
        except Exception as error:
            word = DISCONNECTED if is_lost(error) else describe(error)
            patiently(lambda: trial.set_user_attr("error", word))
            raise
        self._outcome = {"values": values}
        return values

    def _is_taken(self) -> bool:
        """Whether other workers declared this one dead (after a long sleep); their result counts then."""
        trials = patiently(lambda: self.study.optuna.get_trials(deepcopy=False))
        return self.trial is not None and trials[self.trial.number].state.is_finished()

    def _settle(self) -> None:
        """Write the outcome if the server has not got it yet, and retry a trial that a lost connection ended."""
        assert self.trial is not None
        ended = self.study.optuna.tell(self.trial.number, **self._outcome, skip_if_finished=True)
        if ended.user_attrs.get("error") == DISCONNECTED:
            retry(self.study.optuna, ended)


def describe(error: Exception) -> str:
    """Message of an error, with its type unless it is a UserError."""
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def work(job: Job, begun: list[Worker]) -> int:
    """Do a job; returns the exit status. Its worker is put into `begun`."""
    record, address = StudyRecord.load(Path(job.folder)), Address.parse(job.storage)
    module, _, factory = job.objective.partition(":")
    objective: Objective = getattr(importlib.import_module(module), factory)(record, job.threads)
    pruner = build_pruner(record)
    with storage_errors(address):
        times: dict[str, Any] = {"heartbeat": job.heartbeat, "grace": job.grace, "patience": PATIENCE_SECONDS}
        storage = patiently(lambda: open_storage(address, **times))
        study = patiently(lambda: optuna.load_study(study_name=record.name, storage=storage, pruner=pruner))
        with closing(OpenStudy(record, study, storage, address)) as opened:
            queue = TrialQueue(study, Path(job.folder) / "workers", job.target, job.first)
            begun.append(Worker(opened, queue, objective, job.deadline))
            return begun[0].run()


def main() -> int:
    """Read a job from standard input and do it."""
    backends.own_process()
    progress.set_quiet(True)
    line, begun = sys.stdin.readline(), list[Worker]()
    threading.Thread(target=_obey, args=(begun,), name="parent", daemon=True).start()
    try:
        return work(Job(**json.loads(line)), begun)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _obey(begun: Sequence[Worker]) -> None:
    """End at once when the parent says so or dies; the next `sweep` repeats the running trial."""
    if sys.stdin.readline():
        with suppress(Exception):  # no trial, or it has finished
            cast(optuna.Trial, begun[0].trial).set_user_attr("error", INTERRUPTED)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
