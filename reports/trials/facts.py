"""TrialsFacts: what a study's figures draw, and its numbers as text."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from reports import text
from reports.charts import share_axis
from reports.elements import Table, limited_table
from search.importance import importance
from search.records import DIRECTIONS, StudyRecord, TrialRecord

TABLE = 500
OBJECTIVES = {
    "accuracy": "validation accuracy",
    "log_loss": "validation log loss (nats)",
    "parameters": "parameters of the network",
    "trained_parameters": "parameters trained",
    "multiply_adds": "multiply-adds",
}


@dataclass(frozen=True)
class TrialsFacts:
    """Values and importance of a study's trials.

    `values` map the number of a trial to its first objective, for a pruned trial that of its best epoch so far;
    `best_so_far` to the best value of the complete trials up to it. `best` is the number of the kept trial, None before
    one is complete; `gain` what it gains over the user's own configuration, None where not known. `importance` is that
    of `search.importance`.
    """

    study: StudyRecord
    values: Mapping[int, float]
    best_so_far: Mapping[int, float]
    best: int | None
    gain: float | None
    importance: tuple[tuple[str, float], ...]

    @property
    def objective(self) -> str:
        """First objective, in words."""
        return OBJECTIVES[self.study.objectives[0]]

    @property
    def higher(self) -> bool:
        """Whether the first objective is maximized."""
        return DIRECTIONS[self.study.objectives[0]] == "maximize"

    @property
    def trials(self) -> list[TrialRecord]:
        """All trials, by number."""
        return sorted(self.study.trials, key=lambda trial: trial.number)

    @property
    def settings(self) -> tuple[str, ...]:
        """Names of the searched settings."""
        return tuple(name for name, space in self.study.space.items() if "fixed" not in space)

    @property
    def workers(self) -> tuple[str, ...]:
        """Names of the workers that ran trials."""
        return tuple(dict.fromkeys(trial.worker for trial in self.study.trials if trial.worker))

    @property
    def digits(self) -> str:
        """Format of the first objective."""
        return ".1%" if self.study.objectives[0] == "accuracy" else ".4g"

    @property
    def axis(self) -> dict[str, Any]:
        """plotly axis of the first objective."""
        return share_axis(self.objective) if self.study.objectives[0] == "accuracy" else {"title": self.objective}

    def shown(self, value: float | None) -> str:
        """Value of the first objective as text."""
        return "–" if value is None else format(value, self.digits)


def trials_facts(study: StudyRecord) -> TrialsFacts:
    """Facts from the record of a study."""
    better = max if DIRECTIONS[study.objectives[0]] == "maximize" else min
    values: dict[int, float] = {}
    best_so_far: dict[int, float] = {}
    best: float | None = None
    for trial in sorted(study.trials, key=lambda trial: trial.number):
        value = _value(study, trial)
        if value is not None:
            values[trial.number] = value
            if trial.state == "complete":
                best = value if best is None else better(best, value)
        if best is not None:
            best_so_far[trial.number] = best
    ranked = study.ranked()
    kept = study.best_trial if study.best_trial is not None else (ranked[0].number if ranked else None)
    own = next((values.get(trial.number) for trial in study.trials if trial.own and trial.state == "complete"), None)
    found = None if kept is None else values.get(kept)
    gain = None if own is None or found is None else (found - own if better is max else own - found)
    return TrialsFacts(study, values, best_so_far, kept, gain, importance(study))


def _value(study: StudyRecord, trial: TrialRecord) -> float | None:
    if trial.values:
        return trial.values[0]
    kept = trial.kept(study.monitor)
    if trial.state != "pruned" or kept is None:
        return None
    return {"accuracy": kept.val_accuracy, "log_loss": kept.val_loss}.get(study.objectives[0])


# === For figures and tables ===


def trials_table(facts: TrialsFacts, caption: str, trials: Iterable[TrialRecord], columns: Iterable[str]) -> Table:
    """Table with one row for each trial, at most TABLE; `columns` are keys of `_cells`."""
    head, listed = tuple(columns), list(trials)
    cells = [_cells(facts, trial) for trial in listed]
    for name in facts.settings:  # one format a column
        given: list[Any] = [trial.params.get(name) for trial in listed]
        if any(isinstance(value, float) for value in given) and all(map(_is_number, given)):
            for row, value in zip(cells, text.numbers(given), strict=True):
                row[name] = value
    for row, took in zip(cells, text.durations([trial.seconds for trial in listed]), strict=True):
        row["took"] = took
    rows = [tuple(row[column] for column in head) for row in cells]
    return limited_table(caption, tuple(map(text.name, head)), rows, TABLE, "more are in trials.csv")


def _cells(facts: TrialsFacts, trial: TrialRecord) -> dict[str, str]:
    last = trial.history.records[-1].val_accuracy if len(trial.history) else None
    return {
        "trial": str(trial.number),
        "state": trial.state + (", your own" if trial.own else ""),
        "error": text.name(text.without_folders(trial.error), 80) if trial.error else "",
        **{name: plain(trial.params.get(name)) for name in facts.settings},
        facts.objective: facts.shown(facts.values.get(trial.number)),
        "best so far": facts.shown(facts.best_so_far.get(trial.number)),
        "epochs": str(len(trial.history)),
        "last validation accuracy": text.share(last),
        "worker": text.name(trial.worker),
        "began": text.name(trial.started),
    }


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def plain(value: Any) -> str:
    """Setting's value for a table."""
    if value is None:
        return "–"
    return text.number(value) if isinstance(value, float) else text.name(str(value), 32)


def cell(value: Any) -> str:
    """Setting's value for a figure."""
    return plain(value) if isinstance(value, float) else text.label(None if value is None else str(value))
