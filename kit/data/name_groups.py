"""Groups of images by a part of their paths: those that a setting names, and a proposal where names suggest some."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations
from statistics import median

from kit.data import Sample
from kit.data.facts import ImageFacts
from kit.errors import DataError

# What is left of a name without one of these is a group: the hash of a copy that Roboflow changed, or a last number.
ENDINGS = (r"\.rf\.[0-9a-f]{8,}\.\w+$", r"_\d+\.\w+$", r"-\d+\.\w+$", r"[-_ .][A-Za-z]*\d+\.\w+$")
LEAST_SHARE, LARGEST_SHARE_OF_CLASS = 0.2, 0.25
ALIKE = 0.85  # median distance within groups, as a share of that between images of a class
_PAIRS_A_GROUP = 20


def groups_by(pattern: str, samples: Sequence[Sample]) -> tuple[list[str | None], list[str]]:
    """Group of each sample by a regular expression on its recorded path, and warnings, each a sentence.

    The group is the text of the first parenthesis that took part in the match, or else of the whole match; None where
    nothing matches. Raises DataError if no path matches.
    """
    if not pattern:
        return [None] * len(samples), []
    named = [_group(match) if (match := re.search(pattern, sample.path)) else None for sample in samples]
    unnamed = [sample.path for sample, name in zip(samples, named, strict=True) if not name]
    if len(unnamed) == len(samples):
        raise DataError(
            f"data.group_by {pattern!r} matches none of the {len(samples):,} paths; the first is {samples[0].path}.",
            "Paths are relative to the data, as `transferkit inspect DATA --csv` shows them.",
        )
    if unnamed:
        rest = (
            "1 image is a group of its own" if len(unnamed) == 1 else f"{len(unnamed):,} images are groups of their own"
        )
        return named, [f"{rest}: --group-by {pattern!r} does not match {unnamed[0]}."]
    return named, []


def _group(match: re.Match[str]) -> str:
    return next((text for text in match.groups() if text is not None), match[0])


def propose(samples: Sequence[Sample], facts: Sequence[ImageFacts], groups: Sequence[str]) -> str | None:
    """Sentence that proposes `--group-by` where names and looks agree that images belong together, or None.

    Images whose names differ in a last number only must look more alike than others of their class, by their hashes.
    The folder counts as well where the same name in two folders does not mean the same thing. Nothing is proposed that
    `groups` holds together already.
    """
    best: tuple[float, str, int] | None = None
    for ending in ENDINGS:
        for pattern in (f"([^/]+){ending}", f"(.+){ending}"):
            found = _judged(pattern, samples, facts)
            if found and not _is_known(found, groups):
                share = sum(map(len, found)) / len(samples)
                if share >= LEAST_SHARE and (best is None or share > best[0] + 0.01):
                    best = share, pattern, len(found)
    if best is None:
        return None
    share, pattern, count = best
    return (
        f"{share:.0%} of the images seem to be frames or versions of one another, by their names and looks. "
        f"--group-by '{pattern}' keeps the {count:,} groups whole; else test images have siblings in train."
    )


def _judged(pattern: str, samples: Sequence[Sample], facts: Sequence[ImageFacts]) -> list[list[int]]:
    """Groups of at least two images that the pattern makes; none if they are large or no more alike than a class is."""
    by_name: dict[str, list[int]] = defaultdict(list)
    for index, (sample, fact) in enumerate(zip(samples, facts, strict=True)):
        if fact.phash and (match := re.search(pattern, sample.path)):
            by_name[match[1]].append(index)
    found = [members for members in by_name.values() if len(members) > 1]
    of_class = Counter(sample.label for sample in samples)
    for members in found:
        (label, number), *_ = Counter(samples[k].label for k in members).most_common(1)
        if number > max(2, LARGEST_SHARE_OF_CLASS * of_class[label]):
            return []
    inside: list[int] = []  # distances of pairs of one label
    across: list[int] = []  # of two
    for members in found:
        pairs = list(combinations(members, 2))
        for a, b in pairs[:: max(1, len(pairs) // _PAIRS_A_GROUP)]:
            distances = inside if samples[a].label == samples[b].label else across
            distances.append((facts[a].phash ^ facts[b].phash).bit_count())
    apart = [
        (facts[a].phash ^ facts[b].phash).bit_count()
        for label in of_class
        for a, b in _neighbours([k for k, sample in enumerate(samples) if sample.label == label and facts[k].phash])
    ]
    if not apart or not (inside or across):
        return []
    return found if all(median(each) <= ALIKE * median(apart) for each in (inside, across) if each) else []


def _neighbours(members: list[int]) -> list[tuple[int, int]]:
    """Pairs of images half a class apart, so of different groups."""
    half = len(members) // 2
    return list(zip(members, members[half:], strict=False))


def _is_known(found: list[list[int]], groups: Sequence[str]) -> bool:
    return all(len({groups[k] for k in members}) == 1 for members in found)
