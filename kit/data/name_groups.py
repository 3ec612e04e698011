"""Groups of images by a part of their paths: those that a setting names, and a proposal where names suggest some."""

import re
from collections.abc import Sequence

from kit.data import Sample
from kit.errors import DataError


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
