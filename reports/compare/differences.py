"""Where the runs disagree, image by image."""

from collections.abc import Mapping

from kit.evaluation.significance import SIGNIFICANT
from reports import text
from reports.compare.facts import ComparisonFacts, Disagreement
from reports.elements import Note, Section, Table, Thumbnail, ThumbnailGrid


def differences_section(facts: ComparisonFacts, album: Mapping[str, bytes]) -> Section:
    """Pairs of runs, then images.

    Args:
        facts: Of the runs.
        album: Path -> thumbnail, of all runs together.
    """
    return Section("disagreements", "Where they disagree", _elements(facts, album))


def _elements(facts: ComparisonFacts, album: Mapping[str, bytes]) -> tuple:
    if not facts.pairs:
        return (Note("No photo was scored by more than one of these runs.", "missing"),)
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
    head = (
        "runs",
        "photos in common",
        "same answer",
        "only the first right",
        "only the second right",
        "p",
        "difference",
    )
    note = (
        f"McNemar's exact test on the photos that only one of the two got right; p < {SIGNIFICANT} is more than chance."
    )
    table = Table("Two by two, on the same photos", head, rows, note)
    images = tuple(_disagreement(one, facts, album) for one in facts.disagreements)
    if not images:
        return (table, Note("On the photos that all were scored on, all are right or wrong together."))
    see = f"{text.count(facts.disagreed, 'photo')} some runs get right and others wrong"
    see += f"; the {len(images)} most evenly split are shown." if facts.disagreed > len(images) else "."
    return (table, ThumbnailGrid("disagreements-photos", "Right for some, wrong for others", see, images))


def _disagreement(one: Disagreement, facts: ComparisonFacts, album: Mapping[str, bytes]) -> Thumbnail:
    lines = tuple(
        f"{'✓' if said == one.label else '✗'} {text.name(run.name, 20)}: {text.name(said, 24)}"
        for run, said in zip(facts.runs, one.predicted, strict=True)
    )
    return Thumbnail(text.name(one.path), album.get(one.path), (f"is {text.name(one.label, 32)}", *lines))
