"""Messages, progress bars and formatted numbers.

Messages go to the logger `transferkit`, which prints them on standard error and passes them to no other logger: a
program that wants them elsewhere gives it a handler.
"""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

_quiet = False
_live = False  # two bars would overwrite each other: the outer one is shown


class _StandardError(logging.Handler):
    """Prints on what standard error is at the time: notebooks and tests put others in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


LOGGER = logging.getLogger("transferkit")
LOGGER.setLevel(logging.INFO)
LOGGER.propagate = False
LOGGER.addHandler(_StandardError())


def set_quiet(quiet: bool) -> None:
    """Switch bars and messages off (`--quiet`, `--json`) or back on."""
    global _quiet
    _quiet = quiet


def shown() -> bool:
    """Whether bars are drawn: on a terminal, and in a notebook that has widgets, unless quiet."""
    return not _quiet and (sys.stderr.isatty() or ("ipykernel" in sys.modules and find_spec("ipywidgets") is not None))


def say(message: str) -> None:
    """Log one line, which is printed on standard error, unless quiet; `warning: ` begins a warning."""
    if not _quiet:
        LOGGER.disabled = False  # Optuna's database sets logging up by a file, which disables all loggers there are
        LOGGER.log(logging.WARNING if message.startswith("warning: ") else logging.INFO, "%s", message)


@contextmanager
def track(label: str, total: int, unit: str = "images") -> Iterator[Callable[[int], None]]:
    """Progress bar with rate and time left; yields `advance(n)`, to be called after every n units."""
    global _live
    if not shown() or _live or total == 0:
        yield lambda n: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    _live = True
    try:
        # inside try: otherwise Ctrl-C meanwhile leaves the cursor hidden and standard error redirected
        bar.start()
        task = bar.add_task(label, total=total, unit=unit, rate="")

        def advance(n: int) -> None:
            bar.update(task, advance=n)
            speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
            if speed:
                bar.update(task, rate=f"{speed:,.0f}/s")

        yield advance
    finally:
        _live = False
        try:
            bar.stop()
        except KeyboardInterrupt:
            bar.stop()
            raise


def printable(text: str) -> str:
    """Text without control characters, which could steer a terminal, and without undecodable bytes."""
    return "".join(
        letter if letter.isprintable() else " " if letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def some(names: Sequence[object], most: int = 5) -> str:
    """The first names, and how many there are besides: `a, b and 3 more`."""
    return ", ".join(map(str, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def mebibytes(count: int) -> str:
    """Bytes as MiB, with one digit."""
    return f"{count / 2**20:,.1f} MiB"


def duration(seconds: float) -> str:
    """Seconds as `40 s`, `3 min 05 s` or `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.0f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, the first column aligned left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
