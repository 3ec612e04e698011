"""`run_study`: a whole study, from its settings to the model that is kept."""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from kit import backends, progress, tracking
from kit.api import configure
from kit.config import RunConfig
from kit.errors import ConfigError
from kit.report_hook import draw_page
from kit.run import Name
from search.live import live_page
from search.records import StudyRecord
from search.refit import REFITS, measure_latency, pick_trial, refit_trial, require_pick
from search.study_spec import StudySpec, prepare
from search.trial_log import TrialLog
from search.workers import run_trials


@backends.restored()
def run_study(
    data: Any,
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
    live: bool = False,
    log: str | Sequence[str] = (),
) -> StudyRecord:
    """Search for better settings, train the best again, and score it once on test.

    The same call continues an earlier one, finished or interrupted.

        study = search.run_study(kit.configure("images", weights="none"), trials=20)
        study.best.run.predict("image.jpg")

    Args:
        data: The images, in any form that `kit.configure` takes (arrays in a pair with labels), or the configuration
            that all trials start from.
        trials: Finished trials wanted, those of earlier calls included.
        name: Default: the name of the images.
        out: Folder; default `studies/<name>`.
        space: TOML file of the search space (docs/studies.md); default head size, unfreeze depth, learning rate.
        objectives: `accuracy`, `log-loss`, or `accuracy,X`: X `parameters`, `trained-parameters` or `multiply-adds`.
        sampler: `tpe`, `random` or `gp`.
        pruner: `median` or `none`.
        seed: Of the sampler.
        workers: Processes; the cores are divided between them.
        timeout: Seconds after which no trial is begun.
        storage: URL of a database that several machines share; default an SQLite file in the folder.
        pick: What is kept: `accuracy`, `within:X` (the cheapest of those at most X worse), or a trial's number.
        refit: Train the best again on `train`, or on `train+validation`.
        live: Draw the page anew every few seconds while the study runs.
        log: `tensorboard`, `mlflow` or both: each trial is a run there, and so is the best, trained again.

    Raises:
        UserError: If an argument is wrong, or trials keep failing with the same error; the message says what to do.
    """
    if refit not in REFITS:
        raise ConfigError(f"--refit must be one of {', '.join(REFITS)}, not {refit!r}.")
    require_pick(pick)
    told = tracking.chosen(log)
    spec = StudySpec(
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
    with closing(prepare(spec)) as study, ExitStack() as stack:
        progress.say(f"Recording into {study.record.path}")
        threads, trial_log = study.record.config["threads"], TrialLog(study.record.path, told)
        try:
            draw = stack.enter_context(live_page(study.record.path)) if live else None

            def watch(record: StudyRecord) -> None:
                trial_log.update(record)
                if draw is not None:
                    draw(record)

            record = run_trials(study, trials, workers=workers, timeout=timeout, threads=threads, watch=watch)
            trial_log.update(record)
        except KeyboardInterrupt:
            progress.say(f"{study.record.counts.finished} trials are finished and kept; the same command goes on.")
            raise
        number = pick_trial(record, pick)
        study.note("picked", None if pick == "accuracy" else number)
        if number is not None:
            refit_trial(study, number, refit, told)
        if len(record.objectives) > 1:
            measure_latency(study)
        record = study.refresh()
    draw_page(record.path)
    return record
