"""End of a study: latency of the Pareto front; the best trained again, scored once on the test split, in a run folder.

Nothing else in a study reads the test split.
"""

import platform
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kit import progress
from kit.config import RunConfig
from kit.errors import ConfigError
from kit.run import Run
from kit.trial import Trainer
from search.kept_model import Refit
from search.records import StudyRecord, TrialRecord
from search.storage import exclusive, storage_errors
from search.study import OpenStudy, config_of

REFITS = ("train", "train+validation")


def require_pick(how: str) -> None:
    """Raise ConfigError if `how` is invalid for any trials."""
    if not re.fullmatch(r"accuracy|\d+|within:\d*\.?\d+", how):
        raise ConfigError(f"--pick must be accuracy, within:X or a trial's number, not {how!r}.")


def pick_trial(record: StudyRecord, how: str) -> int | None:
    """Number of the trial to keep; None where none is complete.

    `how` is `accuracy` (the best in the first objective), `within:X` (the cheapest of those at most X worse in it than
    the best), or a trial's number. Raises ConfigError for anything else, or if the trial is not complete.
    """
    require_pick(how)
    ranked = record.ranked()
    if not ranked:
        return None
    if how == "accuracy":
        return ranked[0].number
    kind, _, text = how.partition(":")
    if kind == "within":
        near = [trial for trial in ranked if abs(trial.values[0] - ranked[0].values[0]) <= float(text)]
        return min(near, key=lambda trial: trial.values[-1] if len(trial.values) > 1 else 0).number
    number = int(how)
    if number not in {trial.number for trial in ranked}:
        raise ConfigError(
            f"--pick {number}: the study has no complete trial of that number.", "`study show` lists them."
        )
    return number


def refit_trial(study: OpenStudy, number: int, refit: str = "train", log: Sequence[str] = ()) -> Refit | None:
    """Train a trial's configuration again, score it on test, and save it as `best/`, unless it is there already.

    `refit` is `train`, or `train+validation` to train on both for as many epochs as the trial was best with. `log` is
    as for `kit.pipeline.train`. Returns
    None where another machine has the model, or is training it; if that machine dies, the next caller takes over.

    Raises UserError as `kit.pipeline.train`.
    """
    from kit.pipeline import resume, train

    record, path = study.record, study.record.path / "best"
    trial = record.trial(number)
    note = {"name": record.name, "trial": number, "refit": refit}
    with storage_errors(study.address), exclusive(study.address, f"best-{record.name}", wait=False) as free:
        if not _ours(study, note, free):
            return None
        run = _present(path, note)
        if run is None:
            _move_aside(path)
            progress.say(f"Training trial {number}, the best, again, to score it on test.")
            run = train(_configuration(record, study, trial, refit), path, note=note, log=log)
        elif run.manifest["status"] != "finished":
            run = resume(path)
        study.note("best", {"note": note, "host": platform.node(), "finished": True})
    best = Refit.of(record, run)
    if best.reproduced is False:
        progress.say(
            f"warning: trained again, trial {number} took another course: it ran on another machine or other versions."
        )
    return best


def _ours(study: OpenStudy, note: dict[str, Any], free: bool) -> bool:
    """Claim the refit described by `note` for this machine, unless another one has it or is training it.

    `free`: whether no other machine is training it; only then the caller holds the lock.
    """
    taken = study.optuna.user_attrs.get("best")
    if not free:
        where = taken["host"] if taken else "another process"
        progress.say(f"The best is being trained again on {where}, which will have it in its folder.")
        return False
    if taken and taken["note"] == note and taken["host"] != platform.node() and taken.get("finished"):
        progress.say(
            f"Trial {note['trial']} is the best; {taken['host']} has trained it again, and has it in its folder. "
            "If that machine is gone, take its configuration from `study show` and `train --config`."
        )
        return False
    study.note("best", {"note": note, "host": platform.node(), "finished": False})
    return True


def _present(path: Path, note: dict[str, Any]) -> Run | None:
    if not (path / "manifest.json").exists() or not (path / "config.toml").exists():
        return None
    run = Run.open(path)
    return run if run.manifest.get("study") == note else None


def _move_aside(path: Path) -> None:
    """Keep the previous best: its test score has been seen and must not vanish."""
    if (path / "manifest.json").exists():
        before = Run.open(path).manifest.get("study", {}).get("trial", "unknown")
        number, aside = 1, path.with_name(f"best-before-{before}")
        while aside.exists():
            number += 1
            aside = path.with_name(f"best-before-{before}-{number}")
        path.rename(aside)
        progress.say(f"The former best, trial {before}, is kept in {aside}.")


def _configuration(record: StudyRecord, study: OpenStudy, trial: TrialRecord, refit: str) -> RunConfig:
    attributes = study.optuna.get_trials(deepcopy=False)[trial.number].user_attrs
    config = replace(config_of(record, trial.number), threads=int(attributes.get("threads", 0)))
    if refit == "train":
        return config
    return on_train_and_validation(config, trial, record.monitor)


def on_train_and_validation(config: RunConfig, trial: TrialRecord, monitor: str) -> RunConfig:
    """Configuration that trains on both splits until the trial's best epoch, by its schedule; test is unchanged.

    Raises ConfigError if the images come with splits of their own, which no setting can join.
    """
    from kit.data.dataset import load_dataset

    split = config.split
    joined = replace(config, split=replace(split, train=split.train + split.validation, validation=0.0))
    before, after = load_dataset(config), load_dataset(joined)
    tests = [{one.keys[i] for i in one.indices("test")} for one in (before, after)]
    if tests[0] != tests[1] or len(after.indices("validation")):
        raise ConfigError(
            "--refit train+validation cannot join the splits: the images come with splits of their own.",
            "Leave --refit out.",
        )
    kept = trial.kept(monitor)
    phases = []
    for phase in config.phases:
        epochs = sum(1 for epoch in trial.history.phase(phase.name) if kept is not None and epoch.epoch <= kept.epoch)
        if epochs:
            phases.append(replace(phase, stop_after=epochs, patience=0))
    return replace(joined, phases=tuple(phases) or config.phases)


def measure_latency(study: OpenStudy) -> StudyRecord:
    """Measure the missing latencies in this process, one after the other."""
    record, trainer = study.record, Trainer()
    found = {number: ms for number, ms in record.latency.items() if number in {one.number for one in record.front()}}
    for trial in record.front():
        if trial.number not in found:
            progress.say(f"Measuring how fast trial {trial.number} predicts.")
            found[trial.number] = trainer.latency(config_of(record, trial.number))
    study.note("latency", {str(number): ms for number, ms in found.items()})
    return study.refresh()
