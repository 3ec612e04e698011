"""The page of several runs."""

from collections.abc import Sequence
from pathlib import Path

from kit.errors import StorageError
from kit.insights.records import Insights
from kit.records import RunFolder
from reports import text
from reports.blocks import Page
from reports.compare.differences import differences_section
from reports.compare.facts import RunFacts, comparison_facts, run_facts
from reports.compare.scores import scores_section
from reports.compare.training import curves_section, time_section
from reports.headline import headline_facts
from reports.page import kind_of
from reports.run_page import Records

LARGEST = 20


def compare_page(folders: Sequence[Path]) -> Page:
    """The page of at least two run folders.

    Raises:
        StorageError: If one is no run folder, or a record in it is damaged.
    """
    for folder in folders:
        if kind_of(folder) not in ("run", None):
            raise StorageError(
                f"{folder} is the record of a {kind_of(folder)}.", "Only runs are compared: give one alone."
            )
    if len(folders) > LARGEST:
        raise StorageError(f"{len(folders)} runs were given; at most {LARGEST} fit one page.", "Give fewer.")
    names = _names(folders)
    facts = comparison_facts([_facts(name, folder) for name, folder in zip(names, folders, strict=True)])
    album: dict[str, bytes] = {}
    wanted = {one.path for one in facts.disagreements}
    for folder in folders:
        photos = Insights(RunFolder(folder).insights).album("thumbnails")
        album |= {path: photos[path] for path in wanted & photos.keys()}
    return Page(
        title=f"{len(folders)} runs compared",
        subtitle=text.joined([text.name(name) for name in names], 8),
        headline=None,
        sections=(
            scores_section(facts),
            curves_section(facts),
            differences_section(facts, album),
            time_section(facts),
        ),
    )


def _names(folders: Sequence[Path]) -> list[str]:
    """Names of the folders; with their parents' where two are called the same."""
    short = [folder.resolve().name for folder in folders]
    return [
        name if short.count(name) == 1 else f"{folder.resolve().parent.name}/{name}"
        for name, folder in zip(short, folders, strict=True)
    ]


def _facts(name: str, folder: Path) -> RunFacts:
    records = Records.read(folder)
    scores = headline_facts(records.metrics)
    return run_facts(name, records.manifest, records.config, scores, records.history, records.verdicts)
