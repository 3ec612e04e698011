"""What a phase consumes: batches of one fixed shape, in an order that depends on seed, phase and epoch alone."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kit.store import Rows


@dataclass(frozen=True)
class Batch:
    """Rows of one step; the last batch of an epoch is padded, so that nothing is compiled twice.

    Attributes:
        x: Inputs, (batch, ...) in the type they are stored in.
        labels: Class numbers, int32 (batch,).
        weights: Weight of each row in the loss, float32 (batch,), 0 for padding.
        mask: 1 for a photo, 0 for padding, float32 (batch,).
        size: How many rows are photos.
    """

    x: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    mask: np.ndarray
    size: int


@dataclass(frozen=True)
class TrainingSet:
    """What is trained on.

    Attributes:
        rows: Views one after the other: row i of view v is at v * n + i.
        labels: Class numbers, int (n,).
        weights: Weight of each photo in the loss, float (n,).
        views: How many views.
        seed: Draws the order of photos and whose turn each view is.
    """

    rows: Rows
    labels: np.ndarray
    weights: np.ndarray
    views: int
    seed: int

    def __len__(self) -> int:
        return len(self.labels)

    def steps(self, batch_size: int) -> int:
        """Batches in an epoch."""
        return -(-len(self) // batch_size)

    def epoch(self, phase: int, epoch: int, batch_size: int) -> Iterator[Batch]:
        """The batches of one epoch.

        Each photo begins at a view of its own and then takes them in turn, so that every epoch mixes all views and
        each is used equally often.

        Args:
            phase: Number of the phase, from 0.
            epoch: Number of the epoch within the phase, from 0.
            batch_size: Rows a batch.
        """
        first = np.random.default_rng([self.seed, 0]).integers(self.views, size=len(self))
        order = np.random.default_rng([self.seed, 1, phase, epoch]).permutation(len(self))
        turn = (first + epoch) % self.views
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            yield self._batch(chosen, turn[chosen] * len(self) + chosen, batch_size)

    def _batch(self, chosen: np.ndarray, rows: np.ndarray, batch_size: int) -> Batch:
        mask = np.zeros(batch_size, np.float32)
        mask[: len(chosen)] = 1
        return Batch(
            padded(self.rows, rows, batch_size),
            _pad(self.labels[chosen].astype(np.int32), batch_size),
            _pad(self.weights[chosen].astype(np.float32), batch_size),
            mask,
            len(chosen),
        )


def padded(rows: Rows, indices: np.ndarray, batch_size: int) -> np.ndarray:
    """Gathers rows into a batch of `batch_size`, zeros behind them."""
    batch = np.zeros((batch_size, *rows.row_shape), rows.dtype)
    rows.gather(indices, out=batch[: len(indices)])
    return batch


def _pad(values: np.ndarray, batch_size: int) -> np.ndarray:
    return np.concatenate([values, np.zeros(batch_size - len(values), values.dtype)])
