"""The model that a study keeps, from the records of the study and of its run."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kit.api import TrainedRun
from kit.run import Run
from kit.significance import newcombe_interval

if TYPE_CHECKING:
    from search.records import StudyRecord


@dataclass(frozen=True)
class Refit:
    """The model that a study keeps.

    Attributes:
        trial: Number of its trial.
        validation: Accuracy on validation, for which the trial was chosen.
        test: Accuracy on the test split; None where there is none.
        interval: 95% interval of `test`.
        optimism_interval: 95% interval of `optimism`, Newcombe's; None after `train+validation`.
        reproduced: Whether training again gave the trial's history to the bit; None after `train+validation`.
    """

    trial: int
    run: TrainedRun
    validation: float
    test: float | None
    interval: tuple[float, float] | None
    optimism_interval: tuple[float, float] | None
    reproduced: bool | None

    @classmethod
    def of(cls, record: "StudyRecord", run: Run) -> "Refit":
        """From the records of a study and of the run that trained its best trial again."""
        note, test, chose = run.manifest["study"], run.metrics["test"], run.metrics["validation"]
        trial = record.trial(note["trial"])
        kept = trial.kept(record.monitor)
        validation = float(kept.val_accuracy or 0.0) if kept is not None else 0.0
        independent = [scores.get("n_effective", scores["n"]) for scores in (chose, test)]
        known = chose["n"] and test["n"]
        return cls(
            trial=trial.number,
            run=TrainedRun(run.path),
            validation=validation,
            test=test["accuracy"] if test["n"] else None,
            interval=tuple(test["accuracy_interval"]) if test["n"] else None,
            optimism_interval=newcombe_interval(validation, independent[0], test["accuracy"], independent[1])
            if known
            else None,
            reproduced=run.history.equal_curves(trial.history) if note["refit"] == "train" else None,
        )

    @classmethod
    def load(cls, record: "StudyRecord") -> "Refit | None":
        """From a study's folder; None before the best trial has been trained again."""
        path = record.path / "best"
        if not (path / "metrics.json").exists():
            return None
        run = Run.open(path)
        known = run.manifest.get("study", {}).get("trial") == record.best_trial
        return cls.of(record, run) if known and run.manifest["status"] == "finished" else None

    @property
    def optimism(self) -> float | None:
        """Accuracy on validation less that on test."""
        return None if self.test is None else self.validation - self.test

    def to_dict(self) -> dict[str, Any]:
        return {
            "trial": self.trial,
            "run": str(self.run.path),
            "validation_accuracy": self.validation,
            "test_accuracy": self.test,
            "test_interval": self.interval,
            "validation_minus_test": self.optimism,
            "validation_minus_test_interval": self.optimism_interval,
            "reproduced": self.reproduced,
        }
