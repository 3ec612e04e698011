"""Which images a page may show, and small JPEGs of them.

A page works on a folder copied from elsewhere, so what it shows must lie in the record: at most LARGEST images, about
5 KB each.
"""

import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from kit.data.findings import Finding
from kit.data.images import ImageProblem, load_rgb

SIDE = 144  # of a thumbnail, in pixels: sharp at 72 CSS pixels on a dense screen
QUALITY = 70
GRID = 96
WORST = 96
LARGEST = 480
CLASSES_SHOWN, PER_CLASS = 24, 6
PAIRS, PER_PAIR = 8, 6
FINDINGS_SHOWN, PER_FINDING = 40, 4


def thumbnail(image: Image.Image) -> bytes:
    """A JPEG at most SIDE pixels wide and high."""
    small = image.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    content = io.BytesIO()
    small.save(content, "JPEG", quality=QUALITY)
    return content.getvalue()


def thumbnails_of_files(files: dict[str, Path]) -> dict[str, bytes]:
    """Recorded path -> thumbnail of the whole image; a file that cannot be read has none."""
    images = {}
    for path, file in files.items():
        try:
            images[path] = thumbnail(load_rgb(file, at_least=SIDE))
        except ImageProblem:
            continue
    return images


def sample(count: int, seed: int, size: int = GRID) -> np.ndarray:
    """The first `size` of 0 to count - 1, shuffled by the seed, int (min(count, size),)."""
    return np.random.default_rng([seed, 0x9A6E]).permutation(count)[:size]


def worst_mistakes(labels: np.ndarray, predicted: np.ndarray, confidence: np.ndarray, size: int = WORST) -> np.ndarray:
    """Places of the mistakes, most confident first (ties: the earlier image), at most `size`.

    Args:
        labels: Class numbers, int (n,).
        predicted: Likewise.
        confidence: Probability of what was predicted, float (n,).
    """
    wrong = np.flatnonzero(labels != predicted)
    return wrong[np.argsort(-confidence[wrong], kind="stable")][:size]


def confused(labels: np.ndarray, predicted: np.ndarray, mistakes: np.ndarray) -> list[int]:
    """Of the PAIRS most frequent (label, predicted), the PER_PAIR first of `mistakes`."""
    pairs = defaultdict(list)
    for place in mistakes.tolist():
        pairs[labels[place], predicted[place]].append(place)
    frequent = sorted(pairs.values(), key=len, reverse=True)[:PAIRS]
    return [place for places in frequent for place in places[:PER_PAIR]]


def per_class(labels: Sequence[object], count: int = PER_CLASS) -> list[int]:
    """Places of the first `count` images of each of the first CLASSES_SHOWN classes, in order of the images."""
    seen: dict[object, int] = defaultdict(int)
    chosen = []
    for place, label in enumerate(labels):
        if seen[label] < count and (label in seen or len(seen) < CLASSES_SHOWN):
            seen[label] += 1
            chosen.append(place)
    return chosen


def in_findings(findings: Iterable[Finding]) -> list[str]:
    """Paths named by the first FINDINGS_SHOWN findings of each kind, at most PER_FINDING of each."""
    shown: dict[str, int] = defaultdict(int)
    paths: list[str] = []
    for finding in findings:
        shown[finding.kind] += 1
        if shown[finding.kind] <= FINDINGS_SHOWN:
            paths += finding.paths[:PER_FINDING]
    return paths
