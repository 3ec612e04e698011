"""The sections of a study's page but those of its best run."""

from reports import text
from reports.elements import Note, Section, Table
from reports.trials.facts import TABLE, TrialsFacts, by_number, number, plain
from reports.trials.history import curves_chart, history_chart, timeline_chart
from reports.trials.pareto import pareto_chart
from reports.trials.settings import settings_charts


def trials_sections(facts: TrialsFacts) -> tuple[Section, ...]:
    """All sections but those of the best run."""
    measured = [point for point in facts.points if point.value is not None]
    if not measured:
        return (Section("trials", "Trials", (Note(_nothing(facts), "missing"), *_table(facts))),)
    return (
        Section("history", "Trials", (history_chart(facts), *curves_chart(facts), *timeline_chart(facts))),
        Section("settings", "What mattered", settings_charts(facts)),
        *((Section("pareto", "Pareto front", (pareto_chart(facts),)),) if facts.front else ()),
        Section("table", "All trials", _table(facts)),
    )


def _nothing(facts: TrialsFacts) -> str:
    if not facts.points:
        return "This study has no trial yet."
    counts = facts.study.counts
    return f"No trial has been measured yet: {counts.waiting} wait, {counts.running} run, {counts.failed} failed."


def _table(facts: TrialsFacts) -> tuple[Table, ...]:
    if not facts.points:
        return ()
    names = list(facts.settings)
    failed = any(trial.error for trial in facts.study.trials)
    rows = tuple(
        (
            str(trial.number),
            trial.state + (", your own" if trial.own else ""),
            *((text.name(trial.error, 80) if trial.error else "",) if failed else ()),
            *(plain(trial.params.get(name)) for name in names),
            number(facts, point.value),
            text.seconds(trial.seconds),
        )
        for trial, point in list(zip(by_number(facts), facts.points, strict=True))[:TABLE]
    )
    more = len(facts.points) - len(rows)
    head = ("trial", "state", *(("error",) if failed else ()), *map(text.name, names), facts.objective, "time")
    return (Table("Every trial", head, rows, f"{more:,} more are in trials.csv." if more else ""),)
