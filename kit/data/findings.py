"""Findings of the audit: unreadable files, odd sizes, duplicates, label conflicts, leaks between splits."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kit.data.duplicates import Clusters
from kit.data.facts import ImageFacts
from kit.data.samples import Sample

SMALLEST_SIDE = 32
LARGEST_PIXELS = 50_000_000
LARGEST_ASPECT = 4.0


@dataclass(frozen=True)
class Finding:
    """Problem or peculiarity of one or several files.

    Attributes:
        kind: `unreadable`, `not-an-image`, `truncated`, `empty`, `bomb`, `extreme-size`, `duplicate`, `near-duplicate`,
            `conflict`, `near-conflict`, `leak` or `near-leak`.
        severity: `error` (training refuses or leaves the file out), `warning` or `note`.
        paths: Recorded paths, sorted.
    """

    kind: str
    severity: str
    paths: tuple[str, ...]
    message: str


def find(samples: Sequence[Sample], facts: Sequence[ImageFacts], exact: Clusters, alike: Clusters) -> list[Finding]:
    """All findings: of single files, then of sets of equal files, then of sets of look-alikes."""
    single = [
        finding
        for sample, fact in zip(samples, facts, strict=True)
        if (finding := _file_finding(sample.path, fact)) is not None
    ]
    # A set of look-alikes that are all equal files is reported once, as equal files.
    distinct = (members for members in alike.members() if len({facts[index].sha256 for index in members}) > 1)
    return [*single, *_set_findings(samples, exact.members(), near=False), *_set_findings(samples, distinct, near=True)]


def _file_finding(path: str, fact: ImageFacts) -> Finding | None:
    if fact.problem:
        return Finding(fact.problem, "error", (path,), f"{path} is left out: {fact.problem} ({fact.detail}).")
    short, long = sorted((fact.width, fact.height))
    if short < SMALLEST_SIDE:
        rule, severity = f"its shorter side has fewer than {SMALLEST_SIDE} pixels", "warning"
    elif short * long > LARGEST_PIXELS:
        rule, severity = f"more than {LARGEST_PIXELS // 10**6} million pixels", "note"
    elif long > LARGEST_ASPECT * short:
        rule, severity = f"its longer side is more than {LARGEST_ASPECT:g} times its shorter", "note"
    else:
        return None
    return Finding("extreme-size", severity, (path,), f"{path} is {fact.width} x {fact.height}: {rule}.")


def _set_findings(samples: Sequence[Sample], sets: Iterable[list[int]], near: bool) -> Iterator[Finding]:
    grave, prefix = ("warning", "near-") if near else ("error", "")
    what = "look nearly the same" if near else "are the same file"
    for members in sets:
        paths = tuple(sorted(samples[index].path for index in members))
        labels = sorted({samples[index].label for index in members})
        splits = sorted({split for index in members if (split := samples[index].split)})
        begin = f"{len(paths)} images {what}"
        if len(labels) > 1:
            yield Finding(f"{prefix}conflict", grave, paths, f"{begin}, and are labelled {', '.join(labels)}.")
        if len(splits) > 1:
            yield Finding(f"{prefix}leak", grave, paths, f"{begin}, and are in {', '.join(splits)}.")
        if len(labels) == 1 and len(splits) < 2:
            yield Finding(f"{prefix}duplicate", "warning", paths, f"{begin}; they stay in one split.")
