"""Trials to begin, and retries of those whose worker died, by Optuna's public interface alone.

Callers hold the lock `trials-NAME` (`search.storage.exclusive`) from `sweep` until a new trial has its worker's name.
So the count is exact, and a running trial without a name is one whose worker died in between.
"""

import platform
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState

MAX_RETRIES = 2  # of one trial; one that has killed three workers would kill a fourth
SAME_ERRORS = 3
# Errors of trials that are repeated. A dead worker writes none, so LOST stands for a missing error.
LOST, INTERRUPTED, DISCONNECTED = "Its worker died.", "It was interrupted.", "It lost the connection to its storage."
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def retry(study: optuna.Study, trial: FrozenTrial) -> None:
    """Enqueue a failed trial again: at most MAX_RETRIES times, unless it was interrupted or disconnected."""
    limit = None if trial.user_attrs.get("error") in (INTERRUPTED, DISCONNECTED) else MAX_RETRIES
    own = trial.user_attrs.get("own")
    if own or trial.params:  # else there are no parameters to repeat
        trial.user_attrs = {"own": True} if own else {}
        with experimental():
            RetryHeartbeatStaleTrialCallback(limit)(study, trial)


def retried_trial_number(trial: FrozenTrial) -> int | None:
    """Number of the first trial that this one repeats."""
    with experimental():
        return RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)


@contextmanager
def experimental() -> Iterator[None]:
    """Silence the warning about heartbeats and retries, experimental in Optuna since 2.8."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def is_dead(workers: Path, name: str) -> bool:
    """Whether a worker of this machine has ended; workers of other machines are judged by heartbeats alone."""
    file = workers / f"{name}.lock"
    if not name.startswith(f"{platform.node()}-") or not file.exists():
        return False
    try:
        with filelock.FileLock(file, blocking=False):
            return True
    except filelock.Timeout:
        return False


@dataclass(frozen=True)
class TrialQueue:
    """Remaining trials of a study.

    Attributes:
        workers: Folder of the locks that living workers of this machine hold.
        target: Finished trials wanted, complete or pruned.
        first: Errors of trials before this number, those of earlier runs, do not count.
    """

    study: optuna.Study
    workers: Path
    target: int
    first: int = 0

    def sweep(self, own: str | None = None) -> None:
        """Fail and repeat the trials of dead workers; the calling worker, `own`, counts as running none."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            name = trial.user_attrs.get("worker")
            if name in (None, own) or is_dead(self.workers, str(name)):
                failed = self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
                if failed.state == TrialState.FAIL:
                    retry(self.study, failed)
        with experimental():
            optuna.storages.fail_stale_trials(self.study)

    def next_number(self) -> int | None:
        """Number of the trial to begin; None while enough are finished or running."""
        trials = self.study.get_trials(deepcopy=False)
        if sum(trial.state in (*_FINISHED, TrialState.RUNNING) for trial in trials) >= self.target:
            return None
        return next((trial.number for trial in trials if trial.state == TrialState.WAITING), len(trials))

    def is_done(self) -> bool:
        """Whether no trial will begin any more, whatever the running ones end with."""
        trials = self.study.get_trials(deepcopy=False)
        finished = sum(trial.state in _FINISHED for trial in trials)
        return finished >= self.target or bool(self.study.user_attrs.get("stop")) or self.repeated_error() is not None

    def repeated_error(self) -> str | None:
        """Error that has ended SAME_ERRORS trials of this run."""
        failed = self.study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        return repeated(trial.user_attrs.get("error") for trial in failed if trial.number >= self.first)


def repeated(errors: Iterable[str | None]) -> str | None:
    """Error found SAME_ERRORS times, interruptions aside."""
    counts = Counter(error for error in errors if error not in (None, LOST, INTERRUPTED, DISCONNECTED))
    return next((error for error, count in counts.most_common(1) if count >= SAME_ERRORS), None)
