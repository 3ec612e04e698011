"""A study as text, from its record alone: tables, sentences, progress while it runs."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kit import progress
from kit.progress import aligned, duration
from kit.settings import to_toml
from search.records import StudyRecord, TrialRecord

if TYPE_CHECKING:
    from search.kept_model import Refit


def table(record: StudyRecord) -> list[str]:
    """One line a trial, and a summary."""
    keys = [key for key, content in record.space.items() if "fixed" not in content]
    latency = ["ms"] if record.latency else []
    rows = [
        ["trial", "state", *(name.replace("_", " ") for name in record.objectives), *keys, "epochs", "time", *latency]
    ]
    for trial in record.trials:
        values = [short(value) for value in trial.values] or ["-"] * len(record.objectives)
        params = [short(trial.params[key]) if key in trial.params else "-" for key in keys]
        time = "-" if trial.seconds is None else duration(trial.seconds)
        marks = "*" if trial.number == record.best_trial else ""
        state = trial.state if trial.retry_of is None else f"{trial.state} (retry of {trial.retry_of})"
        row = [f"{trial.number}{marks}", state, *values, *params, str(len(trial.history)), time]
        rows.append(
            [*row, *(f"{record.latency[trial.number]:.1f}" if trial.number in record.latency else "-" for _ in latency)]
        )
    counts = record.counts
    said = [f"{counts.complete} complete, {counts.pruned} pruned, {counts.failed} failed, {counts.running} running"]
    errors = sorted({(trial.error or "").splitlines()[0] for trial in record.trials if trial.error})
    return [*aligned(rows), "", *said, *(f"failed: {error}" for error in errors)]


def best_lines(record: StudyRecord, best: "Refit | None") -> list[str]:
    """The kept model, its scores, and their optimism."""
    if record.best_trial is None:
        return ["No trial is complete yet."]
    trial = record.trial(record.best_trial)
    lines = [f"Best: trial {trial.number}, validation {named_values(record, trial)}"]
    own = next((one for one in record.trials if one.own and one.state == "complete"), None)
    if own is not None and own.number != trial.number:
        lines.append(f"Your own configuration, trial {own.number}: {named_values(record, own)}")
    if len(record.objectives) > 1:
        lines.append(f"Pareto front: trials {', '.join(str(one.number) for one in record.front())}")
    if best is not None and best.test is not None and best.interval is not None:
        low, high = best.interval
        lines.append(f"Test accuracy {best.test:.3f} [{low:.3f}, {high:.3f}], scored once")
        between = ""
        if best.optimism_interval is not None:
            low, high = best.optimism_interval
            between = f" [{low:+.3f}, {high:+.3f}]{', within chance' if low <= 0 <= high else ''}"
        lines.append(
            f"Validation minus test {best.optimism:+.3f}{between} (validation {best.validation:.3f}, which chose)"
        )
    if best is not None:
        lines.append(f"Run folder: {best.run.path}")
    return lines


def toml_lines(record: StudyRecord) -> list[str]:
    """Best configuration, for `transferkit train --config`."""
    from search.study import config_of

    if record.best_trial is None:
        return []
    return [
        "",
        "# `transferkit train --config FILE` with this FILE trains it:",
        to_toml(config_of(record, record.best_trial)),
    ]


def listing(records: Sequence[StudyRecord]) -> list[str]:
    """One line a study."""
    rows = [["study", "trials", "best", "images", "begun"]]
    for record in records:
        best = "-" if record.best_trial is None else named_values(record, record.trial(record.best_trial))
        rows.append([record.name, str(record.counts.finished), best, record.data["name"], record.created[:16]])
    return aligned(rows)


@contextmanager
def display(record: StudyRecord, target: int) -> Iterator[Callable[[StudyRecord], None]]:
    """Show the progress of a study; yields a function to call with each new record."""
    told = {trial.number for trial in record.trials if trial.state in ("complete", "pruned", "failed")}
    begun, before = time.monotonic(), record.counts.finished

    def tell(now: StudyRecord) -> None:
        for trial in now.trials:
            if trial.state in ("complete", "pruned", "failed") and trial.number not in told:
                told.add(trial.number)
                progress.say(trial_line(now, trial))

    if not progress.shown():
        yield tell
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(file=sys.stderr), transient=True, refresh_per_second=4) as live:

        def show(now: StudyRecord) -> None:
            tell(now)
            done = now.counts.finished - before
            left = (time.monotonic() - begun) / done * (target - now.counts.finished) if done else None
            live.update(Text(status_line(now, target, left)))

        show(record)
        yield show


def status_line(record: StudyRecord, target: int, seconds_left: float | None) -> str:
    counts = record.counts
    parts = [f"{counts.finished}/{target} trials", f"{counts.running} running", f"{counts.pruned} pruned"]
    parts += [f"{counts.failed} failed"] if counts.failed else []
    if record.best_trial is not None:
        best = record.trial(record.best_trial)
        parts.append(f"best {named_values(record, best)} (trial {best.number})")
    if seconds_left is not None:
        parts.append(f"{duration(seconds_left)} left")
    return ", ".join(parts)


def trial_line(record: StudyRecord, trial: TrialRecord) -> str:
    seconds = "" if trial.seconds is None else f" in {duration(trial.seconds)}"
    params = ", ".join(f"{key} {short(value)}" for key, value in sorted(trial.params.items()))
    outcome = {
        "complete": named_values(record, trial),
        "pruned": f"pruned after epoch {len(trial.history)}",
        "failed": f"failed: {(trial.error or '').splitlines()[0] if trial.error else 'no word'}",
    }.get(trial.state, trial.state)
    return f"trial {trial.number:>3}{seconds}: {outcome}  ({params})"


def named_values(record: StudyRecord, trial: TrialRecord) -> str:
    pairs = zip(record.objectives, trial.values, strict=False)
    return ", ".join(f"{name.replace('_', ' ')} {short(value)}" for name, value in pairs)


def short(value: object) -> str:
    """Value for a table: four digits of a fraction, thousands separators in whole numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or value.is_integer():
        return f"{int(value):,}"
    return f"{value:.4g}"
