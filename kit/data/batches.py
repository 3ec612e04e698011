"""Batches of one fixed shape, in an order that depends on seed, phase and epoch alone."""

from dataclasses import dataclass

import numpy as np

from kit.cache import CachedArray


@dataclass(frozen=True)
class Order:
    """What the steps of an epoch take, each (steps, batch); the last batch is padded, so that one shape is compiled.

    Attributes:
        rows: Row numbers of the samples, int32; 0 for padding.
        labels: Class numbers, int32.
        weights: Sample weights in the loss, float32, 0 for padding.
        mask: 1 for a sample, 0 for padding, float32.
    """

    rows: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    mask: np.ndarray

    def part(self, start: int, steps: int) -> "Order":
        """So many steps from one on; steps of padding alone stand for those beyond the epoch's end."""
        return Order(*(part(values, start, steps) for values in (self.rows, self.labels, self.weights, self.mask)))


def part(values: np.ndarray, start: int, steps: int) -> np.ndarray:
    """`values[start : start + steps]`, zeros behind them where there are fewer."""
    found = values[start : start + steps]
    return np.concatenate([found, np.zeros((steps - len(found), *values.shape[1:]), values.dtype)])


@dataclass(frozen=True)
class Batches:
    """Labelled samples in batches, as a `keras.utils.PyDataset`: what a phase trains on, or is validated on.

    Attributes:
        x: CachedArray, one view after the other: sample i of view v is row v * n + i.
        labels: Class numbers, int (n,).
        batch_size: Samples a batch.
        weights: Sample weights in the loss, float (n,); None weighs all alike.
        views: Number of views in `x`.
        seed: Shuffles the samples and draws each one's first view.
    """

    x: CachedArray
    labels: np.ndarray
    batch_size: int
    weights: np.ndarray | None = None
    views: int = 1
    seed: int = 0

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.labels) // self.batch_size)

    def order(self, phase: int, epoch: int) -> Order:
        """Samples of each batch of an epoch.

        Each image begins at a view of its own and then takes them in turn: every epoch mixes all views, and each is
        used equally often.

        Args:
            phase: Number of the phase, from 0.
            epoch: Number of the epoch within the phase, from 0.
        """
        count = len(self.labels)
        first = np.random.default_rng([self.seed, 0]).integers(self.views, size=count)
        chosen = np.random.default_rng([self.seed, 1, phase, epoch]).permutation(count)
        turn = ((first + epoch) % self.views)[chosen]
        weights = np.ones(count) if self.weights is None else self.weights
        return Order(
            rows=self._stacked(turn * count + chosen, np.int32),
            labels=self._stacked(self.labels[chosen], np.int32),
            weights=self._stacked(weights[chosen], np.float32),
            mask=self._stacked(np.ones(count), np.float32),
        )

    def _stacked(self, values: np.ndarray, dtype: type) -> np.ndarray:
        padding: np.ndarray = np.zeros(len(self) * self.batch_size - len(values), dtype)
        return np.concatenate([values.astype(dtype), padding]).reshape(-1, self.batch_size)


def padded(x: CachedArray, indices: np.ndarray, batch_size: int) -> np.ndarray:
    """Gather rows into a batch of `batch_size`, zeros behind them."""
    batch = np.zeros((batch_size, *x.shape[1:]), x.dtype)
    x.gather(indices, out=batch[: len(indices)])
    return batch
