"""Page of a study that is drawn anew while the study runs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kit import progress
from kit.files import write_text
from kit.report_hook import draw_page
from search.records import LIVE, StudyRecord

EVERY = 3.0  # seconds from one drawing to the next, at least
MARK = "report.html is drawn anew while `study run --live` runs.\n"


@contextmanager
def live_page(folder: Path) -> Iterator[Callable[[StudyRecord], None]]:
    """Yield a function that draws the page of the study in `folder` where its record has changed.

    Meanwhile the file LIVE lies in the folder: the page reloads itself in the browser. Afterwards it does not.
    """
    drawn: tuple[StudyRecord | None, float] = None, 0.0

    def show(record: StudyRecord) -> None:
        nonlocal drawn
        before, at = drawn
        if record == before or time.monotonic() - at < EVERY:
            return
        write_text(folder / LIVE, MARK)
        page = draw_page(folder)
        if before is None and page is not None:
            progress.say(f"Live page, drawn anew every few seconds: {page}")
        drawn = record, time.monotonic()

    try:
        yield show
    finally:
        (folder / LIVE).unlink(missing_ok=True)
        draw_page(folder)
