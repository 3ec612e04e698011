"""What a person watches: lines, and bars with rates on a terminal; silence anywhere else."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_quiet = False
_live = False  # two bars at once would overwrite each other: the outer one is shown


def set_quiet(quiet: bool) -> None:
    """Switches every bar off (`--quiet`, `--json`) or back on."""
    global _quiet
    _quiet = quiet


def shown() -> bool:
    """True where a person watches: standard error is a terminal and nobody asked for quiet."""
    return not _quiet and sys.stderr.isatty()


def say(message: str) -> None:
    """One line for the person who watches, on standard error; dropped where quiet was asked for."""
    if not _quiet:
        print(message, file=sys.stderr, flush=True)


@contextmanager
def track(label: str, total: int, unit: str = "images") -> Iterator[Callable[[int], None]]:
    """A progress bar with a rate and the time left.

    Args:
        label: What is being done ("decoding").
        total: How many `unit` there are.
        unit: What is counted, plural.

    Yields:
        `advance(n)`, to be called after every n done.
    """
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
        # started in here: Ctrl-C while it starts would else leave the cursor hidden and standard error redirected
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
    """Text without control characters, which could steer a terminal, and without bytes that are no text."""
    return "".join(
        letter if letter.isprintable() else " " if letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def mebibytes(count: int) -> str:
    """Bytes as a person says them."""
    return f"{count / 2**20:,.1f} MiB"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.0f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
