"""Workers: processes that each claim a trial, run it, write it down, and claim the next.

The parent starts them, divides the cores, and replaces those that have grown or died. A worker reads its job as one
line of JSON on standard input, and lives no longer than that pipe: a line more asks it to stop, and the pipe's end
means that the parent is dead.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from kit.errors import StorageError, UserError
from kit.stage_clock import peak_memory

RENEW = 75  # exit status: replace me
GROWTH_BYTES = 1 << 30  # over what a worker needed for its first trials
SETTLED_AFTER = 3  # trials after which a worker has seen what it needs
PAUSE_SECONDS = 0.25
SHORT_LIFE_SECONDS = 20.0
MOST_SHORT_LIVES = 3
ASKED_TO_STOP, STOP_SECONDS = 3, 10.0  # how often a worker is asked to stop, and how long it is then waited for


class Objective(Protocol):
    """What a trial does: draws its parameters, reports, and returns one value for each objective of the study."""

    def __call__(self, trial: Any) -> Sequence[float]:
        """Raises optuna.TrialPruned to be pruned, and anything else to fail."""


@dataclass(frozen=True)
class Job:
    """What a worker is told.

    Attributes:
        folder: Of the study.
        storage: URL with its password: passed by pipe, never on a command line.
        name: Of the study.
        objective: `module:factory`; the factory is called with the study's record and the worker's number of threads.
        target: Finished trials wanted.
        first: As for `search.claims.Ledger`.
        deadline: As for `search.claims.Ledger`.
        threads: For the worker; 0 means all.
        heartbeat: Seconds between signs of life.
        grace: Seconds without one that mean death.
    """

    folder: str
    storage: str = field(repr=False)
    name: str
    objective: str
    target: int
    first: int = 0
    deadline: float | None = None
    threads: int = 0
    heartbeat: int = 15
    grace: int = 60


# === The worker's side ===


def work(job: Job) -> int:
    """Runs trials until there is nothing left to do; returns the exit status."""
    import optuna

    from search.claims import Ledger, Owner, Verdict
    from search.records import StudyRecord
    from search.storage import PATIENCE_SECONDS, Address, open_storage, storage_trouble
    from search.study import build_pruner, sampler_of

    record, address = StudyRecord.load(Path(job.folder)), Address.parse(job.storage)
    storage = open_storage(address, heartbeat=job.heartbeat, grace=job.grace, patience=PATIENCE_SECONDS)
    module, _, factory = job.objective.partition(":")
    objective: Objective = getattr(importlib.import_module(module), factory)(record, job.threads)
    study = optuna.load_study(study_name=job.name, storage=storage, pruner=build_pruner(record))
    owner, done, settled = Owner(Path(job.folder) / "workers"), 0, 0
    ledger = Ledger(study, storage, address, owner, job.target, job.first, job.deadline)
    with closing(storage), storage_trouble(address), owner.alive():
        while True:
            trial = ledger.claim(lambda number: sampler_of(record, number))
            if trial is Verdict.DONE:
                return 0
            if isinstance(trial, Verdict):
                time.sleep(PAUSE_SECONDS)
                continue
            run_trial(ledger, trial, objective)
            done += 1
            now = peak_memory() or 0
            settled = now if done <= SETTLED_AFTER else settled
            if now > settled + GROWTH_BYTES:
                return RENEW


def run_trial(ledger: Any, trial: Any, objective: Objective) -> None:
    """Runs one claimed trial and writes down how it ended."""
    import optuna
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    from search.claims import heartbeat
    from search.storage import is_lost

    values: Sequence[float] | None = None
    try:
        with heartbeat(ledger.storage, trial):
            try:
                values, state = tuple(objective(trial)), TrialState.COMPLETE
            except optuna.TrialPruned:
                state = TrialState.PRUNED
            except Exception as error:
                if is_lost(error):
                    raise
                state = TrialState.FAIL
                trial.set_user_attr("error", describe(error))
        ledger.study.tell(trial, values, state)
    except KeyboardInterrupt:
        ledger.release(trial, "It was interrupted.")
        raise
    except (UpdateFinishedTrialError, ValueError) as error:
        # Taken for dead, after a long sleep or without network, and given to another: that one's result counts.
        if isinstance(error, ValueError) and "Cannot tell" not in str(error):
            raise


def describe(error: Exception) -> str:
    """An error as a trial keeps it: its message, with its kind where it is not one that the user can put right."""
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def main() -> int:
    """Reads a job from standard input and works it off."""
    from kit import backends, progress

    backends.own_process()
    line = sys.stdin.readline()
    if not line:
        return 0
    progress.set_quiet(True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # `nohup` has it ignored; `_obey` needs it
    threading.Thread(target=_obey, name="parent", daemon=True).start()
    try:
        return work(Job(**json.loads(line)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _obey() -> None:
    """Waits for the parent: a line asks to stop after writing what is known, the end of the pipe to end at once."""
    import _thread

    while sys.stdin.readline():
        _thread.interrupt_main()
    os._exit(1)


# === The parent's side ===


@dataclass
class _Worker:
    process: "subprocess.Popen[str]"
    log: Path
    started: float

    def ask_to_stop(self) -> None:
        with suppress(OSError):  # it has ended already
            assert self.process.stdin is not None
            self.process.stdin.write("stop\n")
            self.process.stdin.flush()

    def close(self) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace").strip() if self.log.exists() else ""


class Crew:
    """The workers that one `study run` has started.

    Args:
        job: What each of them does.
        count: How many.
    """

    def __init__(self, job: Job, count: int):
        self.job = job
        self._logs = Path(job.folder) / "workers"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._workers: list[_Worker] = []
        self._number = 0
        self._short_lives = 0
        for _ in range(count):
            self._start()

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that are at work."""
        return [worker.process.pid for worker in self._workers]

    def tend(self) -> bool:
        """Replaces workers that have ended before their time; returns whether any is still at work.

        Raises:
            UserError: If a worker cannot go on: with its own message, or the end of what it said.
        """
        for worker in list(self._workers):
            status = worker.process.poll()
            if status is None:
                continue
            self._workers.remove(worker)
            worker.close()
            if status == 2:
                what, _, hint = worker.said().rpartition("error: ")[2].partition("\n")
                raise UserError(what or "A worker has ended.", hint.partition("\n")[0])
            if status not in (0, RENEW):
                self._count_death(worker, status)
            if status != 0:
                self._start()
            worker.log.unlink(missing_ok=True)
        return bool(self._workers)

    def stop(self) -> None:
        """Asks all workers to give up their trials, and waits for them; ends those that do not obey."""
        for _ in range(ASKED_TO_STOP):  # again, for an interruption may be lost (`running.interrupts_noted`)
            for worker in self._workers:
                worker.ask_to_stop()
            end = time.monotonic() + STOP_SECONDS
            for worker in self._workers:
                with suppress(subprocess.TimeoutExpired):
                    worker.process.wait(max(0.1, end - time.monotonic()))
        for worker in self._workers:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait()
            worker.close()
        self._workers.clear()

    def _count_death(self, worker: _Worker, status: int) -> None:
        lived = time.monotonic() - worker.started
        self._short_lives = self._short_lives + 1 if lived < SHORT_LIFE_SECONDS and status > 0 else 0
        if self._short_lives >= MOST_SHORT_LIVES:
            last = "\n".join(worker.said().splitlines()[-3:])
            raise StorageError(f"Workers end as soon as they start, with status {status}.", last)

    def _start(self) -> None:
        self._number += 1
        log = self._logs / f"{os.getpid()}-{self._number}.log"
        with log.open("w", encoding="utf-8") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "search.workers"],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                text=True,
                start_new_session=True,  # Ctrl-C is for the parent, which asks
            )
        assert process.stdin is not None
        process.stdin.write(json.dumps(asdict(self.job)) + "\n")
        process.stdin.flush()
        self._workers.append(_Worker(process, log, time.monotonic()))


@contextmanager
def crew(job: Job, count: int) -> Iterator[Crew]:
    """Workers for the time of the body; they are stopped whatever happens."""
    workers = Crew(job, count)
    try:
        yield workers
    finally:
        workers.stop()


def threads_for(workers: int, wanted: int, available: int) -> int:
    """Threads of each of several workers: an equal share of what was asked for, or of all there are; at least 1."""
    if workers == 1:
        return wanted
    return max(1, (wanted or available) // workers)


if __name__ == "__main__":
    sys.exit(main())
