"""Page that compares runs."""

from collections.abc import Sequence
from pathlib import Path

from kit.errors import StorageError
from kit.insights import Insights
from reports import text
from reports.compare.facts import comparison_facts, run_facts
from reports.compare.scores import differences_section, scores_section
from reports.compare.training import curves_section, time_section
from reports.elements import Page
from reports.run_page import PartialRun

LARGEST = 20


def compare_page(folders: Sequence[Path]) -> Page:
    """Page of two to LARGEST runs; StorageError for more, no run folder or a damaged record."""
    if len(folders) > LARGEST:
        raise StorageError(f"{len(folders)} runs were given; at most {LARGEST} fit one page.", "Give fewer.")
    names = _names(folders)
    runs = [PartialRun.open(folder) for folder in folders]
    facts = comparison_facts([run_facts(name, run) for name, run in zip(names, runs, strict=True)])
    album: dict[str, bytes] = {}
    wanted = {one.path for one in facts.disagreements}
    for run in runs:
        images = Insights(run.insights).album("thumbnails")
        album |= {path: images[path] for path in wanted & images.keys()}
    return Page(
        title=f"{len(folders)} runs compared",
        subtitle=text.joined([text.name(name) for name in names], 8),
        summary_box=None,
        sections=(
            scores_section(facts),
            curves_section(facts),
            differences_section(facts, album),
            time_section(facts),
        ),
    )


def _names(folders: Sequence[Path]) -> list[str]:
    """Names of the folders, with their parents' where two are equal."""
    short = [folder.resolve().name for folder in folders]
    return [
        name if short.count(name) == 1 else f"{folder.resolve().parent.name}/{name}"
        for name, folder in zip(short, folders, strict=True)
    ]
