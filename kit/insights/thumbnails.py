"""Images that a page shows, and thumbnails of them: at most LARGEST, about 5 KB each.

They are part of the record, so that a run folder copied from elsewhere has a page.
"""

import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from kit.data.audit import Finding
from kit.data.images import ImageProblem, read_file, read_image

SIDE = 144  # of a thumbnail, in pixels: sharp at 72 CSS pixels on a dense screen
QUALITY = 70
GRID = 96
WORST = 96
LARGEST = 480
CLASSES_SHOWN, PER_CLASS = 24, 6
PAIRS, PER_PAIR = 8, 6
FINDINGS_SHOWN, PER_FINDING = 40, 4


def thumbnail(image: Image.Image) -> bytes:
    """JPEG at most SIDE pixels wide and high."""
    small = image.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    content = io.BytesIO()
    small.save(content, "JPEG", quality=QUALITY)
    return content.getvalue()


def thumbnails_of_files(files: dict[str, Path]) -> dict[str, bytes]:
    """Thumbnails of whole images by recorded path, without unreadable files."""
    images = {}
    for path, file in files.items():
        try:
            images[path] = thumbnail(read_image(read_file(file), at_least=SIDE).image)
        except ImageProblem:
            continue
    return images


def sample(count: int, seed: int, size: int = GRID) -> np.ndarray:
    """Random sample of 0 to count - 1 without replacement, int (min(count, size),)."""
    return np.random.default_rng([seed, 0x9A6E]).permutation(count)[:size]


def worst_mistakes(labels: np.ndarray, predicted: np.ndarray, confidence: np.ndarray, size: int = WORST) -> np.ndarray:
    """Indices of the mistakes, most confident first (ties: the earlier image), at most `size`.

    Class numbers are int (n,); `confidence` is the probability of the predicted class, float (n,).
    """
    wrong = np.flatnonzero(labels != predicted)
    return wrong[np.argsort(-confidence[wrong], kind="stable")][:size]


def confused(labels: np.ndarray, predicted: np.ndarray, mistakes: np.ndarray) -> list[int]:
    """Indices of the PER_PAIR first `mistakes` of each of the PAIRS most frequent (label, predicted)."""
    pairs = defaultdict(list)
    for index in mistakes.tolist():
        pairs[labels[index], predicted[index]].append(index)
    frequent = sorted(pairs.values(), key=len, reverse=True)[:PAIRS]
    return [index for indices in frequent for index in indices[:PER_PAIR]]


def per_class(labels: Sequence[object], count: int = PER_CLASS) -> list[int]:
    """Indices of the first `count` images of each of the first CLASSES_SHOWN classes."""
    seen: dict[object, int] = defaultdict(int)
    chosen = []
    for index, label in enumerate(labels):
        if seen[label] < count and (label in seen or len(seen) < CLASSES_SHOWN):
            seen[label] += 1
            chosen.append(index)
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
