"""Workers of one `study run`: started, replaced when they have grown or died, and ended with it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from kit.errors import StorageError, UserError
from kit.machine import available_threads
from search.records import StudyRecord
from search.show import display
from search.storage import GRACE_SECONDS, HEARTBEAT_SECONDS, exclusive, patiently, storage_errors
from search.study import OpenStudy
from search.trial_queue import TrialQueue
from search.worker import RENEW, Job

OBJECTIVE = "search.objective:TrainingObjective"
LOOK_SECONDS = 0.5
STOP_SECONDS = 10.0  # grace of a worker that was told to stop


def run_trials(
    study: OpenStudy,
    target: int,
    *,
    workers: int = 1,
    timeout: float | None = None,
    threads: int = 0,
    objective: str = OBJECTIVE,
    heartbeat: int = HEARTBEAT_SECONDS,
    grace: int = GRACE_SECONDS,
    watch: Callable[[StudyRecord], None] | None = None,
) -> StudyRecord:
    """Run trials until `target` are finished, time is over, or the study is stopped.

    Args:
        target: Finished trials wanted, those of earlier runs included.
        workers: Processes to start here.
        timeout: Seconds after which no trial is begun.
        threads: CPU threads for all workers together; 0 means all there are.
        objective: As in `search.worker.Job`.
        heartbeat, grace: As in `search.storage.open_storage`.
        watch: Called with the record, several times in a second at most.

    Raises:
        UserError: If trials keep failing with the same error, or the storage or a worker cannot go on.
        KeyboardInterrupt: After the workers have ended and their trials are enqueued again.
    """
    begun = [trial.number for trial in study.record.trials if trial.state not in ("waiting", "running")]
    queue = TrialQueue(study.optuna, study.record.path / "workers", target, first=max(begun, default=-1) + 1)
    job = Job(
        folder=os.path.abspath(study.record.path),
        storage=study.address.secret,
        objective=objective,
        target=target,
        first=queue.first,
        deadline=None if timeout is None else time.time() + timeout,
        threads=threads_for(workers, threads, available_threads()),
        heartbeat=heartbeat,
        grace=grace,
    )

    def sweep() -> None:
        with exclusive(study.address, f"trials-{study.record.name}"):
            queue.sweep()

    try:
        with display(study.record, target) as show, Workers(job, workers) as at_work, interrupts_noted() as heed:
            while at_work.tend():
                record = study.refresh()
                show(record)
                if watch is not None:
                    watch(record)
                time.sleep(LOOK_SECONDS)
                heed()
    finally:
        with storage_errors(study.address):
            patiently(sweep)
        record = study.refresh()
    error = patiently(queue.repeated_error)
    if record.counts.finished < target and error is not None:
        raise UserError(
            f"The study {record.name} was stopped, since three trials have failed alike: {error}",
            f"`transferkit study show {record.name}` lists them. The same command goes on once that is put right.",
        )
    return record


@contextmanager
def interrupts_noted() -> Iterator[Callable[[], None]]:
    """Delay Ctrl-C in the body until it calls the yielded function; a second one raises KeyboardInterrupt at once.

    Raised at an arbitrary place it could be lost: Python prints and ignores exceptions of finalisers.
    """
    noted = False

    def note(number, frame) -> None:
        nonlocal noted
        if noted:
            raise KeyboardInterrupt
        noted = True

    def heed() -> None:
        if noted:
            raise KeyboardInterrupt

    # signals reach the main thread only, and `nohup` wants them ignored
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        yield heed
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield heed
    finally:
        signal.signal(signal.SIGINT, before)


class Workers:
    """`count` worker processes that do a job; leaving the context ends them."""

    def __init__(self, job: Job, count: int):
        self.job, self.count = job, count
        self._logs = Path(job.folder) / "workers"
        self._processes: dict[subprocess.Popen[bytes], Path] = {}
        self._started = 0

    def __enter__(self) -> "Workers":
        self._logs.mkdir(parents=True, exist_ok=True)
        for _ in range(self.count):
            self._start()
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            _say(process, "stop")
        end = time.monotonic() + STOP_SECONDS
        for process, log in self._processes.items():
            with process:
                try:
                    process.wait(max(0.1, end - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
            log.unlink()

    def tend(self) -> bool:
        """Replace workers that were killed or have grown; returns whether any is still running.

        Raises UserError if a worker cannot go on: with its own message, or the end of its output.
        """
        for process in [process for process in self._processes if process.poll() is not None]:
            log = self._processes.pop(process)
            process.communicate()  # closes its pipe
            said = log.read_text(encoding="utf-8", errors="replace").strip()
            log.unlink()
            if process.returncode == 2:
                what, _, hint = said.rpartition("error: ")[2].partition("\n")
                raise UserError(what, hint.partition("\n")[0])
            if process.returncode > 0 and process.returncode != RENEW:
                last = "\n".join(said.splitlines()[-3:])
                raise StorageError(f"A worker has ended with status {process.returncode}.", last)
            if process.returncode != 0:
                self._start()
        return bool(self._processes)

    def _start(self) -> None:
        self._started += 1
        log = self._logs / f"{os.getpid()}-{self._started}.log"
        with log.open("w", encoding="utf-8") as said:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "search.worker"],  # -P: not the user's own search.py
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                bufsize=0,
                start_new_session=True,  # Ctrl-C reaches the parent alone, which tells its workers
            )
        self._processes[process] = log
        _say(process, json.dumps(asdict(self.job)))


def _say(process: "subprocess.Popen[bytes]", line: str) -> None:
    assert process.stdin is not None
    with suppress(OSError):  # already ended
        process.stdin.write(f"{line}\n".encode())


def threads_for(workers: int, wanted: int, available: int) -> int:
    """Threads of each worker: an equal share of `wanted` (0: of `available`), at least 1; one worker gets `wanted`."""
    return wanted if workers == 1 else max(1, (wanted or available) // workers)
