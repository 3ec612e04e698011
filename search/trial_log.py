"""Trials of a study told to TensorBoard and MLflow, each as a run (`study run --log`).

The process that shows the study tells of them, once each has ended: workers know nothing of it.
"""

from collections.abc import Iterable
from pathlib import Path

from kit import progress, tracking
from kit.config import RunConfig
from kit.errors import StorageError
from kit.files import read_json, write_json
from kit.setting_table import flat
from search.records import StudyRecord, TrialRecord
from search.study import config_of

TOLD = "logged.json"  # in a study's folder: tracker -> number of a trial -> where it is


class TrialLog:
    """Tells of each trial that has ended, once; `logged.json` remembers which, for the next call."""

    def __init__(self, folder: Path, names: Iterable[str]):
        self._folder, self._names = folder, tracking.chosen(names)
        path = folder / TOLD
        self._told: dict[str, dict[str, str]] = read_json(path) if path.exists() else {}

    def update(self, record: StudyRecord) -> None:
        """Tell of the trials that have ended since; where that fails, a warning, and no more of them."""
        try:
            self._update(record)
        except StorageError as error:
            progress.say(
                f"warning: {error.what} The study goes on without; the next call tells of all that is missing."
            )
            self._names = ()

    def _update(self, record: StudyRecord) -> None:
        for trial in record.trials if self._names else ():
            if trial.seconds is None or not (len(trial.history) or trial.finished):
                continue
            missing = [name for name in self._names if str(trial.number) not in self._told.get(name, {})]
            if missing:
                for name, reference in self._tell(record, trial, missing).items():
                    self._told.setdefault(name, {})[str(trial.number)] = reference
                write_json(self._folder / TOLD, self._told)

    def _tell(self, record: StudyRecord, trial: TrialRecord, names: list[str]) -> dict[str, str]:
        config: RunConfig = config_of(record, trial.number)
        name = f"trial-{trial.number:04d}"
        tags = tracking.tags_of(config, self._folder) | {"trial": str(trial.number), "state": trial.state}
        subject = tracking.Subject(f"{record.name} {name}", record.name, flat(config), tags)
        trackers = tracking.begin(names, self._folder / "tensorboard" / name, subject)
        references = trackers.references
        for epoch in trial.history:
            trackers.epoch(epoch)
        values = dict(zip(record.objectives, trial.values, strict=False))
        scores = {f"objective_{objective}": value for objective, value in values.items()}
        trackers.close(scores, len(trial.history), tracking.FINISHED if trial.finished else tracking.FAILED)
        return references
