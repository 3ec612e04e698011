"""Inference in passes of one batch size, numpy in and out."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from kit import backends
from kit.backends.protocol import Forward
from kit.cache import CachedArray
from kit.data.batches import padded
from kit.model.backbones import Cut
from kit.model.classifier import Classifier

Runner = Callable[[np.ndarray], list[np.ndarray]]  # samples (n, ...), n at least 1, to the outputs, each (n, ...)


def compile_forward(model: keras.Model) -> Forward:
    """Inference of a model with one or several outputs, compiled anew for every batch size."""
    return backends.current().compile_forward(model)


def in_passes(forward: Forward, rows: int, at_once: int = 1) -> Runner:
    """Runner for one or more samples, through `forward` in padded passes of `rows`.

    One shape compiles once. `at_once` passes run side by side, each in a thread.
    """
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="forward") if at_once > 1 else None
    compiled = False

    def one(x: np.ndarray) -> list[np.ndarray]:
        given = len(x)
        if given < rows:
            x = np.concatenate([x, np.zeros((rows - given, *x.shape[1:]), x.dtype)])
        return [part[:given] for part in forward(x, given)]

    def run(x: np.ndarray) -> list[np.ndarray]:
        nonlocal compiled
        blocks = [x[start : start + rows] for start in range(0, len(x), rows)]
        alone = 1 if pool and not compiled else 0  # or several threads would compile the same program
        parts = [one(block) for block in blocks[:alone]]
        parts += (pool.map if pool else map)(one, blocks[alone:])
        compiled = True
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    return run


def compile_from_pixels(classifier: Classifier, ends: tuple[Cut, ...] | None = None, *, pooled: bool = False) -> Runner:
    """Inference from pixels, uint8 (n, S, S, 3), 0-255, in the fastest passes.

    `ends` are the cut points to output; None outputs the probabilities, and with `pooled` the pooled features too.
    """
    backend = backends.current()
    passes = backend.passes(classifier.kernels)
    pixels = classifier.backbone.cut(-1)

    def between(start: Cut) -> keras.Model:
        return classifier.tail(start, pooled=pooled) if ends is None else classifier.trunk(start, ends)

    if passes.together_at is None:
        forward = backend.compile_forward(between(pixels))
    elif middle := _first_small(classifier, passes.together_at, max((end.depth for end in ends or ()), default=0)):
        forward = backend.compile_forward(classifier.trunk(pixels, (middle,)), between(middle), one_by_one=True)
    else:
        forward = backend.compile_forward(between(pixels), one_by_one=True)
    return in_passes(forward, passes.images, backend.threads() if passes.side_by_side else 1)


def _first_small(classifier: Classifier, positions: int, above: int) -> Cut | None:
    """Deepest cut with at most `positions` (height times width), of a depth over `above`, pixels aside."""
    for cut in classifier.backbone.cuts[-2:above:-1]:
        if math.prod(classifier.shape(cut)[:-1]) <= positions:
            return cut
    return None


def predict(forward: Callable[[np.ndarray], np.ndarray], x: CachedArray, batch_size: int) -> np.ndarray:
    """Probabilities of all samples, float32 (n, classes), in batches of one padded shape."""
    parts = []
    for start in range(0, len(x), batch_size):
        indices = np.arange(start, min(start + batch_size, len(x)))
        parts.append(forward(padded(x, indices, batch_size))[: len(indices)])
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)
