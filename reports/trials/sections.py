"""Sections of a study's page, those of its best run excepted."""

from reports.elements import Note, Section, Table
from reports.trials.facts import TrialsFacts, trials_table
from reports.trials.history import epochs_chart, history_chart, timeline_chart
from reports.trials.pareto import pareto_chart
from reports.trials.settings import settings_charts


def trials_sections(facts: TrialsFacts) -> tuple[Section, ...]:
    """All sections but those of the best run."""
    if not facts.values:
        return (Section("trials", "Trials", (Note(_nothing(facts), "missing"), *_table(facts))),)
    pareto = len(facts.study.objectives) > 1 and facts.study.counts.complete
    return (
        Section("history", "Trials", (history_chart(facts), *epochs_chart(facts), *timeline_chart(facts))),
        Section("settings", "What mattered", settings_charts(facts)),
        *((Section("pareto", "Pareto front", (pareto_chart(facts),)),) if pareto else ()),
        Section("table", "All trials", _table(facts)),
    )


def _nothing(facts: TrialsFacts) -> str:
    counts = facts.study.counts
    if not facts.study.trials:
        return "This study has no trial yet."
    return f"No trial has been measured yet: {counts.waiting} wait, {counts.running} run, {counts.failed} failed."


def _table(facts: TrialsFacts) -> tuple[Table, ...]:
    if not facts.study.trials:
        return ()
    error = ("error",) if any(trial.error for trial in facts.study.trials) else ()
    columns = ("trial", "state", *error, *facts.settings, facts.objective, "took")
    return (trials_table(facts, "Every trial", facts.trials, columns),)
