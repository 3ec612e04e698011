"""Who runs which trial: exact counts, whoever else is at work, and whoever dies.

Optuna asks and tells, and does not count. Here a trial is claimed under a lock that all workers share, and only while
fewer than the asked-for number are finished or running. So the count is exact, and a killed worker costs nothing but
its own trial: whoever claims next finds that trial without an owner and puts it in the queue again, as a recorded
retry.
"""

import enum
import os
import platform
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import filelock
import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from search.storage import PATIENCE_SECONDS, Address, Disconnected, Storage, exclusive, is_lost

MOST_RETRIES = 2  # of one trial; whoever kills three workers would kill a fourth
SAME_ERRORS = 3
Samplers = Callable[[int], BaseSampler]
_T = TypeVar("_T")
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class Verdict(enum.Enum):
    """What a worker is told instead of a trial."""

    WAIT = "enough trials are running; one of them may yet fail"
    DONE = "there is nothing left to do"


@dataclass(frozen=True)
class Owner:
    """A worker, told from all others, alive as long as the lock on its file is held.

    Attributes:
        folder: Of the files of all workers of this study on this machine.
        name: Host, process id, and a random token.
    """

    folder: Path
    name: str = field(default_factory=lambda: f"{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:8]}")

    @contextmanager
    def alive(self) -> Iterator[None]:
        """While the body runs, everybody on this machine can see that this worker lives."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(self._file(self.name)):
            yield
        self._file(self.name).unlink(missing_ok=True)

    def is_dead(self, name: str) -> bool | None:
        """Whether another worker is dead; None where only its heartbeat can tell, as on another machine."""
        file = self._file(name)
        if not name.startswith(f"{platform.node()}-") or not file.exists():
            return None
        try:
            with filelock.FileLock(file, timeout=0):
                return True
        except filelock.Timeout:
            return False

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.lock"


@dataclass(frozen=True)
class Ledger:
    """The claims on the trials of one study.

    Attributes:
        study: Of Optuna.
        storage: The study's.
        address: Of the storage.
        owner: Who claims.
        target: How many trials are to be finished: complete or pruned.
        first: Trials before this number belong to earlier runs; their errors do not count against this one.
        deadline: Seconds since the epoch after which no trial is begun; None for none.
    """

    study: optuna.Study
    storage: Storage
    address: Address
    owner: Owner
    target: int
    first: int = 0
    deadline: float | None = None

    def claim(self, samplers: Samplers) -> "optuna.Trial | Verdict":
        """A trial that nobody else runs, or the reason why there is none.

        Args:
            samplers: Number of a trial -> the sampler that draws it.
        """
        return self._patiently(lambda: self._claim(samplers))

    def sweep(self) -> None:
        """Puts the trials of dead workers in the queue again."""

        def sweep() -> None:
            with self._lock():
                self._sweep()

        self._patiently(sweep)

    def release(self, trial: "optuna.Trial | FrozenTrial", why: str) -> None:
        """Gives a trial up, for another to repeat, however often: who interrupts it knows why."""

        def release() -> None:
            with self._lock(), suppress(UpdateFinishedTrialError):
                self._retire(trial, why, however_often=True)

        self._patiently(release)

    def _patiently(self, call: Callable[[], _T]) -> _T:
        """Repeats a call that lost the server: what it left half done is found, and put right, under the lock."""
        begun = time.monotonic()
        while True:
            try:
                return call()
            except (Disconnected, UpdateFinishedTrialError, SQLAlchemyError, StorageInternalError) as error:
                lost = is_lost(error) or isinstance(error, UpdateFinishedTrialError)
                if not lost or time.monotonic() - begun > PATIENCE_SECONDS:
                    raise
                time.sleep(random.uniform(0.1, 0.5))  # spread, not secret

    def _claim(self, samplers: Samplers) -> "optuna.Trial | Verdict":
        with self._lock() as held:
            self._sweep()
            trials = self.study.get_trials(deepcopy=False)
            finished = sum(trial.state in _FINISHED for trial in trials)
            running = sum(trial.state == TrialState.RUNNING for trial in trials)
            if finished >= self.target or self._ended(trials):
                return Verdict.DONE
            if finished + running >= self.target:
                return Verdict.WAIT
            waiting = [trial.number for trial in trials if trial.state == TrialState.WAITING]
            self.study.sampler = samplers(waiting[0] if waiting else len(trials))
            trial = self.study.ask()
            trial.set_user_attr("worker", self.owner.name)
            self.storage.record_heartbeat(trial._trial_id)
            if not held():  # somebody else may have counted without this trial
                self._retire(trial, "The server restarted while it was claimed.")
                raise Disconnected
            return trial

    def _lock(self) -> AbstractContextManager[Callable[[], bool]]:
        return exclusive(self.address, f"transferkit study {self.study.study_name}", self.storage.engine)

    def _ended(self, trials: Sequence[FrozenTrial]) -> bool:
        late = self.deadline is not None and time.time() >= self.deadline
        return late or bool(self.study.user_attrs.get("stop")) or repeated_error(trials, self.first) is not None

    def _sweep(self) -> None:
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if not running:
            return
        stale = set(self.storage._get_stale_trial_ids(self.study._study_id))
        for trial in running:
            if self._is_orphan(trial, stale):
                with suppress(UpdateFinishedTrialError):
                    self._retire(trial, "Its worker died.")

    def _is_orphan(self, trial: FrozenTrial, stale: Iterable[int]) -> bool:
        name = trial.user_attrs.get("worker")
        # Without an owner: it died, or lost the server, between asking and signing, for nobody else holds the lock now.
        # One's own: left by a claim that was cut short, for a worker claims only when it runs none.
        if name is None or name == self.owner.name:
            return True
        dead = self.owner.is_dead(name)
        return trial._trial_id in stale if dead is None else dead

    def _retire(self, given: "optuna.Trial | FrozenTrial", why: str, however_often: bool = False) -> None:
        """Fails a trial that nobody runs, and has it repeated; the attributes are those of Optuna's own retries."""
        trial = self.storage.get_trial(given._trial_id)
        if trial.state != TrialState.RUNNING:  # it was finished after the caller had read it
            return
        history = [*trial.system_attrs.get("retry_history", []), trial.number]
        asked = trial.params or "fixed_params" in trial.system_attrs or trial.user_attrs.get("own")
        others = self.study.get_trials(deepcopy=False)
        known = any(other.system_attrs.get("retry_history") == history for other in others)
        if asked and not known and (however_often or len(history) <= MOST_RETRIES):
            self.study.add_trial(
                optuna.create_trial(
                    state=TrialState.WAITING,
                    params=trial.params,
                    distributions=trial.distributions,
                    user_attrs={"own": True} if trial.user_attrs.get("own") else {},
                    system_attrs={**trial.system_attrs, "failed_trial": history[0], "retry_history": history},
                )
            )
        self.storage.set_trial_user_attr(trial._trial_id, "error", why)
        self.storage.set_trial_user_attr(trial._trial_id, "lost", True)
        self.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def repeated_error(trials: Iterable[FrozenTrial], first: int) -> str | None:
    """The error that has ended SAME_ERRORS trials, from number `first` on; None where none has. Dead workers aside."""
    found: dict[str, int] = {}
    for trial in trials:
        error = trial.user_attrs.get("error")
        if trial.state == TrialState.FAIL and trial.number >= first and error and not trial.user_attrs.get("lost"):
            found[error] = found.get(error, 0) + 1
            if found[error] >= SAME_ERRORS:
                return str(error)
    return None


@contextmanager
def heartbeat(storage: Storage, trial: optuna.Trial) -> Iterator[None]:
    """Gives signs of life of a trial while the body runs."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(storage.heartbeat_interval):
            storage.record_heartbeat(trial._trial_id)
        storage.remove_session()  # SQLite wants its connection closed by the thread that opened it

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
