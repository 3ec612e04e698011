"""Progress of a study: a live line on a terminal; elsewhere a line for each trial that ends."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kit import progress
from kit.progress import duration
from search.records import StudyRecord, TrialRecord


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
