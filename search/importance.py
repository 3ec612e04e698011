"""Importance of each searched setting, by Optuna's own evaluator, from a study's record alone."""

import warnings
from typing import TYPE_CHECKING

from search.records import DIRECTIONS, StudyRecord, TrialRecord, Value

if TYPE_CHECKING:
    import optuna

FEWEST = 15  # complete trials: of fewer, the best quarter are three or less, and any setting sets three apart
BEST_SHARE = 0.25  # five of 20 trials, the fewest that the method's authors rely on


def importance(study: StudyRecord) -> tuple[tuple[str, float], ...]:
    """Share of each setting in what sets the best quarter of the trials apart, by the first objective.

    PED-ANOVA (S. Watanabe, A. Bansal, F. Hutter, IJCAI 2023): a setting matters if its distribution among the best
    trials differs from that among all. Conditional settings (the learning rate of a phase that may train nothing) are
    evaluated within the trials that have them. Deterministic.

    Returns (setting, share), the greatest first, adding up to 1; empty with fewer than FEWEST complete trials, or if
    these are all alike.
    """
    complete = [trial for trial in study.trials if trial.state == "complete" and trial.values]
    settings = [name for name in study.space if len({trial.params.get(name) for trial in complete}) > 1]
    if len(complete) < FEWEST or not settings or len({trial.values[0] for trial in complete}) == 1:
        return ()
    import optuna

    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
    with warnings.catch_warnings():
        # "Some regimes ... have less than 2 trials": a single trial without the setting is rightly ignored
        warnings.filterwarnings("ignore", message="Some regimes for parameter", category=UserWarning)
        shares = optuna.importance.get_param_importances(in_memory(study), evaluator=evaluator, params=settings)
    return tuple(sorted(((name, float(share)) for name, share in shares.items()), key=lambda item: -item[1]))


def in_memory(study: StudyRecord) -> "optuna.Study":
    """In-memory Optuna study of the first objective, in order of number; incomplete trials count as failed."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # no message that a study was created
    copy = optuna.create_study(direction=optuna.study.StudyDirection[DIRECTIONS[study.objectives[0]].upper()])
    optuna.logging.set_verbosity(verbosity)
    copy.add_trials([_frozen(study, trial) for trial in sorted(study.trials, key=lambda trial: trial.number)])
    return copy


def _frozen(study: StudyRecord, trial: TrialRecord) -> "optuna.trial.FrozenTrial":
    import optuna

    # the user's own configuration may lie outside the space
    params = {
        name: value for name, value in trial.params.items() if name in study.space and _inside(study, name, value)
    }
    done = trial.state == "complete" and trial.values
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.COMPLETE if done else optuna.trial.TrialState.FAIL,
        params=params,
        distributions={name: _distribution(study, name) for name in params},
        value=trial.values[0] if done else None,
    )


def _inside(study: StudyRecord, name: str, value: Value) -> bool:
    space = study.space[name]
    if "choices" in space:
        return value in space["choices"]
    return not isinstance(value, str | bool) and space["low"] <= value <= space["high"]


def _distribution(study: StudyRecord, name: str) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    space = study.space[name]
    if "choices" in space:
        return CategoricalDistribution(space["choices"])
    low, high, log = space["low"], space["high"], space.get("log", False)
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log, step=space.get("step") or 1)
    return FloatDistribution(low, high, log=log, step=space.get("step"))
