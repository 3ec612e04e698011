"""One trial: a configuration from the space, trained by the kit, scored on validation, reported epoch by epoch."""

from collections.abc import Iterable
from dataclasses import replace

import optuna

from kit.config import RunConfig
from kit.training.history import EpochRecord, History
from kit.trial import Trained, Trainer
from search.records import StudyRecord, history_rows
from search.study import space_of


class TrainingObjective:
    """Objective of `Study.optimize`: train a configuration, return its validation scores.

    Args:
        record: The study.
        threads: CPU threads of this worker; 0 means all.
    """

    def __init__(self, record: StudyRecord, threads: int):
        self._record, self._space, self._threads = record, space_of(record), threads
        self._trainer = Trainer()

    def __call__(self, trial: optuna.Trial) -> tuple[float, ...]:
        """One value for each objective of the study.

        Raises:
            optuna.TrialPruned: If the pruner has seen enough.
            UserError: As `kit.trial.Trainer.train`.
        """
        config = replace(self._space.suggest(trial), threads=self._threads)

        def report(history: History) -> None:
            record = history.records[-1]
            trial.set_user_attr("history", history_rows(history))
            if len(self._record.objectives) == 1:  # Optuna reports one value, so a Pareto study has none to prune by
                trial.report(score(record, self._record.objectives[0]), step_of(history, config))
                if trial.should_prune():
                    raise optuna.TrialPruned

        trial.set_user_attr("threads", self._threads)
        try:
            trained = self._trainer.train(config, self._space.depths(), report)
        except optuna.TrialPruned:
            self._note_work(trial)
            raise
        self._note_work(trial)
        trial.set_user_attr("stages", {name: stage["seconds"] for name, stage in trained.stages.items()})
        return tuple(values(trained, self._record.objectives))

    def _note_work(self, trial: optuna.Trial) -> None:
        trial.set_user_attr("shared_head", self._trainer.work.shared_head)
        trial.set_user_attr("computed", self._trainer.work.computed)


def values(trained: Trained, objectives: Iterable[str]) -> Iterable[float]:
    """Score of a trial in each objective."""
    size = {"parameters": trained.parameters, "multiply_adds": trained.multiply_adds}
    for name in objectives:
        yield float(size[name]) if name in size else score(trained.kept, name)


def score(record: EpochRecord, objective: str) -> float:
    """Accuracy or log loss of an epoch, on validation."""
    value = record.val_accuracy if objective == "accuracy" else record.val_loss
    assert value is not None, "kit.trial refuses images without a validation split"
    return value


def step_of(history: History, config: RunConfig) -> int:
    """Step of the last epoch, counted on across phases as if none had ended early.

    So the second epoch of fine-tuning is compared with the second of fine-tuning, however long the head took.
    """
    last = history.records[-1].phase
    names = [phase.name or f"phase {number + 1}" for number, phase in enumerate(config.phases)]
    before = sum(phase.epochs for phase in config.phases[: names.index(last)])
    return before + len(history.phase(last))
