"""One trial: a configuration from the space, trained and scored on validation, reported epoch by epoch."""

from collections.abc import Iterable
from dataclasses import replace

import optuna

from kit.config import RunConfig
from kit.parts import require_same_parts
from kit.training.history import EpochRecord, History
from kit.trial import Trained, Trainer
from search.records import StudyRecord, history_rows
from search.study import space_of


class TrainingObjective:
    """Objective of `Study.optimize`: train a configuration, return its validation scores. 0 `threads` means all."""

    def __init__(self, record: StudyRecord, threads: int):
        self._record, self._space, self._threads = record, space_of(record), threads
        self._trainer = Trainer()
        if "plugin" in record.data:
            require_same_parts({"plugin": record.data["plugin"]}, self._space.own, record.path)

    def __call__(self, trial: optuna.Trial) -> tuple[float, ...]:
        """One value for each objective; raises optuna.TrialPruned, or UserError as `kit.trial.Trainer.train`."""
        config = replace(self._space.suggest(trial), threads=self._threads)

        def report(history: History) -> None:
            record = history.records[-1]
            trial.set_user_attr("history", history_rows(history))
            if len(self._record.objectives) == 1:  # Optuna cannot prune with several objectives
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
    size = {name: getattr(trained, name) for name in ("parameters", "trained_parameters", "multiply_adds")}
    for name in objectives:
        yield float(size[name]) if name in size else score(trained.kept, name)


def score(record: EpochRecord, objective: str) -> float:
    """Validation accuracy or log loss of an epoch."""
    value = record.val_accuracy if objective == "accuracy" else record.val_loss
    assert value is not None, "kit.trial refuses images without a validation split"
    return value


def step_of(history: History, config: RunConfig) -> int:
    """Step of the last epoch, counted across phases as if none had ended early.

    So epochs of fine-tuning are compared with each other, however many epochs the head took.
    """
    last = history.records[-1].phase
    names = [phase.name or f"phase {number + 1}" for number, phase in enumerate(config.phases)]
    before = sum(phase.stop_after or phase.epochs for phase in config.phases[: names.index(last)])
    return before + len(history.phase(last))
