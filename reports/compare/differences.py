"""Images on which the runs disagree."""

from collections.abc import Mapping

from kit.evaluation.significance import SIGNIFICANT
from reports import text
from reports.compare.facts import ComparisonFacts, Disagreement
from reports.elements import Note, Section, Table, Thumbnail, ThumbnailGrid, missing_section

HEAD = (
    "runs",
    "photos in common",
    "same answer",
    "only the first right",
    "only the second right",
    "p",
    "difference",
)
NOTE = f"McNemar's exact test on the photos that only one of the two got right; p < {SIGNIFICANT} is more than chance."


def differences_section(facts: ComparisonFacts, album: Mapping[str, bytes]) -> Section:
    """Pairs of runs, then images; `album` maps the paths of all runs to thumbnails."""
    id, title = "disagreements", "Where they disagree"
    if not facts.pairs:
        return missing_section(id, title, "No photo was scored by more than one of these runs.")
    rows = tuple(
        (
            f"{text.name(pair.first)} / {text.name(pair.second)}",
            f"{pair.common:,}",
            f"{pair.same:,}",
            f"{pair.only_first:,}",
            f"{pair.only_second:,}",
            text.p_value(pair.p_value),
            "more than chance" if pair.clear else "may be chance",
        )
        for pair in facts.pairs
    )
    table = Table("Two by two, on the same photos", HEAD, rows, NOTE)
    images = tuple(_thumbnail(one, facts, album) for one in facts.disagreements)
    if not images:
        note = Note("On the photos that all were scored on, all are right or wrong together.")
        return Section(id, title, (table, note))
    see = f"{text.count(facts.disagreed, 'photo')} some runs get right and others wrong"
    see += f"; the {len(images)} most evenly split are shown." if facts.disagreed > len(images) else "."
    grid = ThumbnailGrid("disagreements-photos", "Right for some, wrong for others", see, images)
    return Section(id, title, (table, grid))


def _thumbnail(one: Disagreement, facts: ComparisonFacts, album: Mapping[str, bytes]) -> Thumbnail:
    lines = tuple(
        f"{'✓' if predicted == one.label else '✗'} {text.name(run.name, 20)}: {text.name(predicted, 24)}"
        for run, predicted in zip(facts.runs, one.predicted, strict=True)
    )
    return Thumbnail(text.name(one.path), album.get(one.path), (f"is {text.name(one.label, 32)}", *lines))
