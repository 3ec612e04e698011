"""Probabilities from stored activations, batch by batch."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from kit.cache import CachedArray
from kit.data.batches import padded
from kit.training.activations import Activations
from kit.training.checkpoints import PhaseEnd, assign
from kit.training.forward import compile_forward
from kit.training.schedule import Phase
from kit.training.session import Session


def predict(forward: Callable[[np.ndarray], np.ndarray], x: CachedArray, batch_size: int) -> np.ndarray:
    """Probabilities of all samples, float32 (n, classes), in batches of one padded shape."""
    parts = []
    for start in range(0, len(x), batch_size):
        indices = np.arange(start, min(start + batch_size, len(x)))
        parts.append(forward(padded(x, indices, batch_size))[: len(indices)])
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


def predict_phases(
    session: Session, activations: Activations, checkpoints: Path, splits: tuple[str, ...]
) -> list[np.ndarray]:
    """Probabilities by the model of each finished phase, float32 (n, classes) each.

    NaN for images outside `splits`, which are not read. The classifier is left with the last phase's weights, from the
    folder `checkpoints`.
    """
    wanted = np.flatnonzero(np.isin(session.dataset.splits, splits))
    results = []
    for phase in session.phases:
        tail = session.tail(phase)
        ended = PhaseEnd.load(checkpoints, phase.index)
        if ended is None:
            raise ValueError(f"phase {phase.index} has not ended")
        assign(tail.variables, ended.variables)
        results.append(_predict_tail(session, activations, phase, tail, wanted))
    return results


def predict_trained(session: Session, activations: Activations) -> np.ndarray:
    """Probabilities of every image by a trained classifier, float32 (n, classes).

    Equal to those of `predict_phases` for the last phase, to the bit.
    """
    phase = session.phases[-1]
    everything = np.arange(len(session.dataset.keys))
    return _predict_tail(session, activations, phase, session.tail(phase), everything)


def _predict_tail(
    session: Session, activations: Activations, phase: Phase, tail: keras.Model, wanted: np.ndarray
) -> np.ndarray:
    """Probabilities of the wanted images, NaN for the others."""
    forward = compile_forward(tail)
    x = activations.plain[session.start(phase).depth].take(wanted)
    result = np.full((len(session.dataset.keys), tail.output.shape[-1]), np.nan, np.float32)
    if len(wanted):
        result[wanted] = predict(lambda batch: forward(batch)[0], x, session.config.training.batch_size)
    return result
