"""Runs a study: workers, what a person sees of them, and the end, whichever way it comes."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kit import progress
from kit.errors import UserError
from kit.machine import available_threads
from kit.progress import duration
from search.claims import Ledger, Owner, repeated_error
from search.records import StudyRecord, TrialRecord
from search.storage import storage_trouble
from search.study import Study
from search.workers import Job, crew, threads_for

OBJECTIVE = "search.objective:TrainingObjective"
LOOK_SECONDS = 0.5


def run_trials(
    study: Study,
    target: int,
    *,
    workers: int = 1,
    timeout: float | None = None,
    threads: int = 0,
    objective: str = OBJECTIVE,
    heartbeat: int = 15,
    grace: int = 60,
) -> StudyRecord:
    """Goes on with a study until so many trials are finished, the time is over, or somebody stops it.

    Args:
        study: Open.
        target: Finished trials wanted, those of earlier runs included.
        workers: Processes to start here.
        timeout: Seconds after which no trial is begun.
        threads: CPU threads for all workers together; 0 means all there are.
        objective: As for `search.workers.Job`.
        heartbeat: As for `search.workers.Job`.
        grace: As for `search.workers.Job`.

    Returns:
        The record at the end.

    Raises:
        UserError: If trials keep failing with the same error, or the storage or a worker cannot go on.
        KeyboardInterrupt: After the workers have written down what they know.
    """
    job = Job(
        folder=os.path.abspath(study.record.path),
        storage=study.address.secret,
        name=study.record.name,
        objective=objective,
        target=target,
        first=1
        + max((one.number for one in study.record.trials if one.state not in ("waiting", "running")), default=-1),
        deadline=None if timeout is None else time.time() + timeout,
        threads=threads_for(workers, threads, available_threads()),
        heartbeat=heartbeat,
        grace=grace,
    )
    try:
        with display(study.record, target) as show, crew(job, workers) as at_work, interrupts_noted() as heed:
            while at_work.tend():
                show(study.refresh())
                time.sleep(LOOK_SECONDS)
                heed()
    finally:
        with storage_trouble(study.address):
            _ledger(study, job).sweep()
        record = study.refresh()
    if record.counts.finished < target:
        error = repeated_error(study.optuna.get_trials(deepcopy=False), job.first)
        if error is not None:
            raise UserError(
                f"The study {record.name} was stopped, since three trials have failed alike: {error}",
                f"`transferkit study show {record.name}` lists them. The same command goes on once that is put right.",
            )
    return record


@contextmanager
def interrupts_noted() -> Iterator[Callable[[], None]]:
    """Notes Ctrl-C in the body, and raises KeyboardInterrupt where the body asks for it.

    Raised wherever it happens to land, it was lost about one time in ten on a busy machine. Where was not found; a
    finaliser is such a place: Python prints what is raised there, and goes on. A second one is raised at once.

    Yields:
        A function to call where being interrupted is fine.
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

    # elsewhere Python has no signals, and `nohup` wants them ignored
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        yield heed
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield heed
    finally:
        signal.signal(signal.SIGINT, before)


def _ledger(study: Study, job: Job) -> Ledger:
    owner = Owner(Path(job.folder) / "workers")
    return Ledger(study.optuna, study.storage, study.address, owner, job.target, job.first)


@contextmanager
def display(record: StudyRecord, target: int) -> Iterator:
    """Shows how far a study is: a live line on a terminal, a line for each trial that ends elsewhere.

    Yields:
        A function that is given the record whenever it may have changed.
    """
    told = {trial.number for trial in record.trials if trial.state in ("complete", "pruned", "failed")}
    begun, before = time.monotonic(), record.counts.finished

    def tell(now: StudyRecord) -> None:
        for trial in now.trials:
            if trial.state in ("complete", "pruned", "failed") and trial.number not in told:
                told.add(trial.number)
                progress.say(trial_line(now, trial))

    if not progress.shown():
        yield tell
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(file=sys.stderr), transient=True, refresh_per_second=4) as live:

        def show(now: StudyRecord) -> None:
            tell(now)
            done = now.counts.finished - before
            left = (time.monotonic() - begun) / done * (target - now.counts.finished) if done else None
            live.update(Text(status_line(now, target, left)))

        show(record)
        yield show


def status_line(record: StudyRecord, target: int, seconds_left: float | None) -> str:
    """How far a study is, in one line."""
    counts = record.counts
    parts = [f"{counts.finished}/{target} trials", f"{counts.running} running", f"{counts.pruned} pruned"]
    parts += [f"{counts.failed} failed"] if counts.failed else []
    if record.best is not None:
        best = record.trial(record.best)
        parts.append(f"best {named_values(record, best)} (trial {best.number})")
    if seconds_left is not None:
        parts.append(f"{duration(seconds_left)} left")
    return ", ".join(parts)


def trial_line(record: StudyRecord, trial: TrialRecord) -> str:
    """How a trial ended, in one line."""
    seconds = "" if trial.seconds is None else f" in {duration(trial.seconds)}"
    params = ", ".join(f"{key} {short(value)}" for key, value in sorted(trial.params.items()))
    outcome = {
        "complete": named_values(record, trial),
        "pruned": f"pruned after epoch {len(trial.history)}",
        "failed": f"failed: {(trial.error or '').splitlines()[0] if trial.error else 'no word'}",
    }.get(trial.state, trial.state)
    return f"trial {trial.number:>3}{seconds}: {outcome}  ({params})"


def named_values(record: StudyRecord, trial: TrialRecord) -> str:
    """A trial's values with their names."""
    pairs = zip(record.objectives, trial.values, strict=False)
    return ", ".join(f"{name.replace('_', ' ')} {short(value)}" for name, value in pairs)


def short(value: object) -> str:
    """A value for a table: four digits of a fraction, whole numbers with thousands apart."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or value.is_integer():
        return f"{int(value):,}"
    return f"{value:.4g}"
