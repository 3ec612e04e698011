"""`run_study`: a whole study, from the question to the model that is kept."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from kit import progress
from kit.api import configure
from kit.config import RunConfig
from kit.errors import ConfigError
from kit.report_hook import draw_page
from kit.run import Name
from search.best import REFITS, Best, keep_best, require_pick
from search.best import pick as pick_trial
from search.front import measure_latency
from search.question import Asked, prepare
from search.records import StudyRecord
from search.running import run_trials
from search.study import Study


@dataclass(frozen=True)
class FinishedStudy:
    """What a study gives.

    Attributes:
        record: What was asked, and every trial.
        best: The model that is kept, scored once on test; its `run` predicts. None where another machine trains it, or
            no trial is complete.
        page: Its report; None where it could not be drawn.
    """

    record: StudyRecord
    best: Best | None
    page: Path | None

    @property
    def path(self) -> Path:
        """The study's folder."""
        return self.record.path


def run_study(
    data: Name | RunConfig,
    trials: int = 20,
    *,
    name: str | None = None,
    out: Name | None = None,
    space: Name | None = None,
    objectives: str = "accuracy",
    sampler: str = "tpe",
    pruner: str = "median",
    seed: int = 0,
    workers: int = 1,
    timeout: float | None = None,
    storage: str | None = None,
    pick: str = "accuracy",
    refit: str = "train",
) -> FinishedStudy:
    """Searches for better settings, trains the best again, and scores it once on test.

    The same call goes on where an earlier one ended, whichever way that was.

        study = search.run_study(kit.configure("photos", weights="none"), trials=20)
        study.best.run.predict("photo.jpg")

    Args:
        data: The photos, or the configuration that all trials start from (`kit.configure`).
        trials: Finished trials wanted, those of earlier calls included.
        name: Of the study; default that of the photos.
        out: The study's folder; default `studies/<name>`.
        space: A TOML file that says what to search (docs/studies.md); default head size, unfreeze depth, learning rate.
        objectives: `accuracy`, `log-loss`, `accuracy,parameters` or `accuracy,multiply-adds`.
        sampler: `tpe`, `random` or `gp`.
        pruner: `median` or `none`.
        seed: Of the sampler.
        workers: Processes; the cores are divided between them.
        timeout: Seconds after which no trial is begun.
        storage: URL of a database that several machines share; default an SQLite file in the folder.
        pick: What is kept: `accuracy`, `within:X` (the cheapest of those at most X worse), or a trial's number.
        refit: Train the best again on `train`, or on `train+validation`.

    Returns:
        The study.

    Raises:
        UserError: If anything asked is wrong, or trials keep failing alike; the message says what to do.
    """
    if refit not in REFITS:
        raise ConfigError(f"--refit must be one of {', '.join(REFITS)}, not {refit!r}.")
    require_pick(pick)
    asked = Asked(
        config=data if isinstance(data, RunConfig) else configure(data),
        space=None if space is None else Path(space),
        name=name,
        out=None if out is None else Path(out),
        storage=storage,
        objectives=objectives,
        sampler=sampler,
        pruner=pruner,
        seed=seed,
    )
    with closing(prepare(asked)) as study:
        progress.say(f"Recording into {study.record.path}")
        best = _search(study, trials, workers, timeout, pick, refit)
        record = study.refresh()
    return FinishedStudy(record, best, draw_page(record.path))


def _search(study: Study, trials: int, workers: int, timeout: float | None, pick: str, refit: str) -> Best | None:
    threads = study.record.config["threads"]
    try:
        record = run_trials(study, trials, workers=workers, timeout=timeout, threads=threads)
    except KeyboardInterrupt:
        progress.say(f"{study.record.counts.finished} trials are finished and kept; the same command goes on.")
        raise
    number = pick_trial(record, pick)
    study.note("picked", None if pick == "accuracy" else number)
    best = None if number is None else keep_best(study, number, refit)
    if len(record.objectives) > 1:
        measure_latency(study)
    return best
