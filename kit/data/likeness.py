"""Likeness of images by their pixels: how far two show the same, whatever their size, quality or brightness.

Compared is the detail of the 32 x 32 grey image, that is the image less its 5 x 5 mean: its correlation is the score,
from -1 to 1. The coarse layout and the light, which images of one kind have in common, hardly count.
"""

from collections.abc import Iterator, Sequence

import numpy as np

SIDE = 64  # of the thumbnails that are compared, in pixels
MANY = 20
STEPS = 20
NEGLIGIBLE = 0.01  # of the detail, below which an image has nothing of its own beside others of its scene
_COARSE, _BLUR = 32, 5
_BLOCK = 64


def details(thumbnails: np.ndarray) -> np.ndarray:
    """Unit vectors float32 (n, 1024) of grey thumbnails uint8 (n, SIDE, SIDE); 0 where an image is flat."""
    return next(_windows(thumbnails.astype(np.float32), [_WHOLE]))


def cropped_scores(thumbnails: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Greatest score of each image against crops of each other: float32 (n, n), symmetric.

    The crops keep 95% or 90% of each side, at nine places each. `whole` are the `details` of the thumbnails.
    """
    best = np.full((len(whole), len(whole)), -1, np.float32)
    for start in range(0, len(whole), _BLOCK):
        rows, part = thumbnails[start : start + _BLOCK].astype(np.float32), best[start : start + _BLOCK]
        for span in _SPANS:
            for window in _windows(rows, span):
                np.maximum(part, window @ whole.T, out=part)
    return np.maximum(best, best.T)


def without_scene(whole: np.ndarray) -> np.ndarray:
    """Details less what most images share, as unit vectors: what is particular to each.

    Taken away are their first principal axis about zero, the scene, and among MANY images the second, its light.
    Images equal to the scene but for rounding have nothing particular and are equal to each other: theirs is the scene.
    """
    shared = np.stack(
        [whole.mean(axis=0), np.linspace(-1, 1, whole.shape[1])][: 2 if len(whole) >= MANY else 1], axis=1
    )
    for _ in range(STEPS):  # orthogonal iteration: the whole decomposition takes far longer
        shared = np.linalg.qr(whole.T @ (whole @ shared))[0].astype(np.float32)
    scene = shared[:, 0]
    particular = whole - (whole @ shared) @ shared.T
    alone = np.linalg.norm(particular, axis=1, keepdims=True) > NEGLIGIBLE
    return np.where(alone, _unit(particular), scene)


def _windows(thumbnails: np.ndarray, spans: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the details of each window whose height and width are among `spans`, matrices (_COARSE, SIDE)."""
    for down in spans:
        rows = down @ thumbnails
        blurred = _MEANS @ rows
        for across in spans:
            window = rows @ across.T - blurred @ (_MEANS @ across).T
            yield _unit(window.reshape(len(window), -1))


def _unit(rows: np.ndarray) -> np.ndarray:
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.where(length > 1e-3, centred / np.maximum(length, 1e-3), 0).astype(np.float32)


def _area_means(low: float, high: float) -> np.ndarray:
    """Rows that average SIDE pixels from `low` to `high` into _COARSE of equal width: float32 (_COARSE, SIDE)."""
    edges = np.linspace(low, high, _COARSE + 1)
    pixels = np.arange(SIDE)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.clip(covered, 0, None) / np.diff(edges)[:, None]).astype(np.float32)


def _running_means() -> np.ndarray:
    """Mean over _BLUR neighbours, edges repeated, as a matrix: float32 (_COARSE, _COARSE)."""
    reach = np.arange(_BLUR) - _BLUR // 2
    columns = np.clip(np.arange(_COARSE)[:, None] + reach, 0, _COARSE - 1)
    means = np.zeros((_COARSE, _COARSE), np.float32)
    np.add.at(means, (np.arange(_COARSE)[:, None], columns), 1 / _BLUR)
    return means


_WHOLE = _area_means(0, SIDE)
_MEANS = _running_means()
_SPANS = [
    [_area_means(place * (1 - share) * SIDE, (place * (1 - share) + share) * SIDE) for place in (0, 0.5, 1)]
    for share in (0.95, 0.9)
]
