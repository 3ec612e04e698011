"""TrialsFacts: what a study's figures draw, and its numbers as text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reports import text
from reports.charts import share_axis
from search.importance import importance
from search.records import DIRECTIONS, StudyRecord, TrialRecord

TABLE = 500
OBJECTIVES = {
    "accuracy": "validation accuracy",
    "log_loss": "validation log loss (nats)",
    "parameters": "parameters trained",
    "multiply_adds": "multiply-adds",
}


@dataclass(frozen=True)
class TrialPoint:
    """One trial as a point.

    Attributes:
        number: Its number.
        state: As recorded.
        value: The first objective: of a pruned trial the best epoch so far; None where nothing was measured.
        best: The best value of any complete trial up to this one; None before the first.
        own: It is the user's own configuration.
    """

    number: int
    state: str
    value: float | None
    best: float | None
    own: bool


@dataclass(frozen=True)
class TrialsFacts:
    """What a study's figures draw.

    Attributes:
        study: The record.
        objective: The first objective, in words.
        higher: Whether more of it is better.
        points: Every trial, by number.
        best: Number of the trial that is kept; None before one is complete.
        gain: How much better the best is than the user's own configuration; None where that is not known.
        importance: `search.importance.importance`.
        settings: Names of what was searched; what the space fixes is the same in all trials.
        workers: Names of those that ran trials.
        front: Numbers of the Pareto front; empty for one objective.
    """

    study: StudyRecord
    objective: str
    higher: bool
    points: tuple[TrialPoint, ...]
    best: int | None
    gain: float | None
    importance: tuple[tuple[str, float], ...]
    settings: tuple[str, ...]
    workers: tuple[str, ...]
    front: tuple[int, ...]


def trials_facts(study: StudyRecord) -> TrialsFacts:
    """From the record of a study."""
    higher = DIRECTIONS[study.objectives[0]] == "maximize"
    points: list[TrialPoint] = []
    best: float | None = None
    for trial in sorted(study.trials, key=lambda trial: trial.number):
        value = _value(study, trial)
        if trial.state == "complete" and value is not None:
            best = value if best is None else (max if higher else min)(best, value)
        points.append(TrialPoint(trial.number, trial.state, value, best, trial.own))
    ranked = study.ranked()
    kept = study.best if study.best is not None else (ranked[0].number if ranked else None)
    own = next((point.value for point in points if point.own and point.state == "complete"), None)
    found = next((point.value for point in points if point.number == kept), None)
    return TrialsFacts(
        study=study,
        objective=OBJECTIVES[study.objectives[0]],
        higher=higher,
        points=tuple(points),
        best=kept,
        gain=None if own is None or found is None else (found - own if higher else own - found),
        importance=importance(study),
        settings=tuple(name for name, space in study.space.items() if "fixed" not in space),
        workers=tuple(dict.fromkeys(trial.worker for trial in study.trials if trial.worker)),
        front=tuple(trial.number for trial in study.front()) if len(study.objectives) > 1 else (),
    )


def _value(study: StudyRecord, trial: TrialRecord) -> float | None:
    if trial.values:
        return trial.values[0]
    kept = trial.kept(study.monitor)
    if trial.state != "pruned" or kept is None:
        return None
    return {"accuracy": kept.val_accuracy, "log_loss": kept.val_loss}.get(study.objectives[0])


def coordinates(study: StudyRecord, name: str, trials: Sequence[TrialRecord]) -> np.ndarray:
    """Place of each trial on a setting's axis, 0 to 1 (logarithmic where the space is), NaN where it has no value.

    A choice counts by its place in `choices`.
    """
    space = study.space[name]
    given = [trial.params.get(name) for trial in trials]
    if "choices" in space:
        choices = list(space["choices"])
        places = [float(choices.index(value)) if value in choices else np.nan for value in given]
        low, high = 0.0, float(max(1, len(choices) - 1))
    else:
        scale = np.log if space.get("log") else float
        places = [np.nan if value is None else float(scale(float(value))) for value in given]
        low, high = float(scale(float(space["low"]))), float(scale(float(space["high"])))
    return (np.array(places, dtype=float) - low) / ((high - low) or 1.0)


# === For figures and tables ===


def by_number(facts: TrialsFacts) -> list[TrialRecord]:
    """All trials, in the order of `points`."""
    return sorted(facts.study.trials, key=lambda trial: trial.number)


def ranked_points(facts: TrialsFacts) -> list[TrialPoint]:
    """Complete trials, best first."""
    done = [point for point in facts.points if point.state == "complete" and point.value is not None]
    return sorted(done, key=lambda point: -(point.value or 0.0) if facts.higher else (point.value or 0.0))


def objective_axis(facts: TrialsFacts) -> dict[str, Any]:
    """An axis of the first objective."""
    return (
        share_axis(facts.objective) if facts.study.objectives[0] == "accuracy" else {"title": {"text": facts.objective}}
    )


def digits(facts: TrialsFacts) -> str:
    """Format of the first objective."""
    return ".1%" if facts.study.objectives[0] == "accuracy" else ".4g"


def number(facts: TrialsFacts, value: float | None) -> str:
    """A value of the first objective."""
    return "–" if value is None else format(value, digits(facts))


def cell(value: Any) -> str:
    """A setting's value for a figure."""
    return plain(value) if isinstance(value, float) else text.label(None if value is None else str(value))


def plain(value: Any) -> str:
    """A setting's value for a table."""
    if value is None:
        return "–"
    return text.number(value) if isinstance(value, float) else text.name(str(value), 32)
