"""Importances from a study's record alone."""

import random
from pathlib import Path

import pytest

from search.importance import importance
from search.records import StudyRecord, TrialRecord

DEPTH, RATE, UNITS, OPTIMIZER = (
    "phases.1.unfreeze_depth",
    "phases.1.learning_rate",
    "model.head_units",
    "training.optimizer",
)
SPACE = {
    UNITS: {"low": 32, "high": 1024, "log": True},
    DEPTH: {"low": 0, "high": 8, "log": False},
    RATE: {"low": 1e-6, "high": 1e-3, "log": True},
    OPTIMIZER: {"choices": ["adam", "sgd"]},
}


def study(trials, objectives=("accuracy",)) -> StudyRecord:
    names = {"name": "s", "created": "2026", "sampler": "tpe", "pruner": "none", "seed": 0, "storage": ""}
    config = {"training": {"monitor": "val_accuracy"}}
    return StudyRecord(
        path=Path(), objectives=objectives, data={}, space=SPACE, config=config, trials=tuple(trials), **names
    )


def trials(value, count=24):
    """Trials over the whole space; those of depth 0 have no learning rate, as in a real study."""
    draw = random.Random(0)
    for number in range(count):
        params = {
            UNITS: int(2 ** draw.uniform(5, 10)),
            DEPTH: draw.randint(0, 8),
            OPTIMIZER: ("adam", "sgd")[number % 2],
        }
        if params[DEPTH]:
            params[RATE] = 10 ** draw.uniform(-6, -3)
        yield TrialRecord(number, "complete", params, (value(params),))


@pytest.mark.parametrize(
    ("decides", "value"),
    [
        (DEPTH, lambda params: params[DEPTH] / 10),
        (OPTIMIZER, lambda params: 0.3 * (params[OPTIMIZER] == "sgd") + params[UNITS] * 7919 % 101 / 1e4),
        (RATE, lambda params: 0.9 - abs(params.get(RATE, 1e-6) - 1e-3)),
    ],
)
def test_the_setting_that_decides_is_the_most_important(decides, value):
    found = importance(study(trials(value)))
    assert found[0][0] == decides
    assert {name for name, _ in found} == set(SPACE)
    assert sum(share for _, share in found) == pytest.approx(1)
    assert importance(study(trials(value))) == found  # nothing is drawn at random


def test_of_a_loss_the_lowest_are_the_best():
    deep = importance(study(trials(lambda params: params[DEPTH] / 10), objectives=("log_loss",)))
    assert deep == importance(study(trials(lambda params: 1 - params[DEPTH] / 10)))


def test_too_few_or_equal_trials_say_nothing():
    assert importance(study([])) == ()
    assert importance(study(trials(lambda params: params[DEPTH] / 10, count=14))) == ()
    assert importance(study(trials(lambda params: 0.5))) == ()


def test_the_users_own_configuration_may_lie_outside_the_space():
    own = TrialRecord(24, "complete", {UNITS: 4096, DEPTH: 20, RATE: 0.1, OPTIMIZER: "rmsprop"}, (0.99,), own=True)
    found = importance(study([*trials(lambda params: params[DEPTH] / 10), own]))
    assert found[0][0] == DEPTH
