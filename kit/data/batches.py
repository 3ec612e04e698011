"""What a phase consumes: batches of one fixed shape, in an order that depends on seed, phase and epoch alone."""

from dataclasses import dataclass

import numpy as np

from kit.cache import CachedArray


@dataclass(frozen=True)
class Order:
    """What the steps of one epoch take, each (steps, batch), the last one padded: nothing is compiled twice.

    Attributes:
        rows: Numbers of the rows, int32; 0 for padding.
        labels: Class numbers, int32.
        weights: Weight of each row in the loss, float32, 0 for padding.
        mask: 1 for an image, 0 for padding, float32.
    """

    rows: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    mask: np.ndarray

    def part(self, start: int, steps: int) -> "Order":
        """So many steps from one on; steps of padding alone stand for those that the epoch does not have."""
        return Order(*(part(values, start, steps) for values in (self.rows, self.labels, self.weights, self.mask)))


def part(values: np.ndarray, start: int, steps: int) -> np.ndarray:
    """`values[start : start + steps]`, zeros behind them where there are fewer."""
    found = values[start : start + steps]
    return np.concatenate([found, np.zeros((steps - len(found), *values.shape[1:]), values.dtype)])


@dataclass(frozen=True)
class TrainingSet:
    """What is trained on.

    Attributes:
        rows: Views one after the other: row i of view v is at v * n + i.
        labels: Class numbers, int (n,).
        weights: Weight of each image in the loss, float (n,).
        views: How many views.
        seed: Draws the order of images and whose turn each view is.
    """

    rows: CachedArray
    labels: np.ndarray
    weights: np.ndarray
    views: int
    seed: int

    def __len__(self) -> int:
        return len(self.labels)

    def steps(self, batch_size: int) -> int:
        """Batches in an epoch."""
        return -(-len(self) // batch_size)

    def order(self, phase: int, epoch: int, batch_size: int) -> Order:
        """Which rows each step of an epoch takes.

        Each image begins at a view of its own and then takes them in turn, so that every epoch mixes all views and
        each is used equally often.

        Args:
            phase: Number of the phase, from 0.
            epoch: Number of the epoch within the phase, from 0.
            batch_size: CachedArray a batch.
        """
        first = np.random.default_rng([self.seed, 0]).integers(self.views, size=len(self))
        chosen = np.random.default_rng([self.seed, 1, phase, epoch]).permutation(len(self))
        turn = ((first + epoch) % self.views)[chosen]

        def stacked(values: np.ndarray, dtype: type) -> np.ndarray:
            padding: np.ndarray = np.zeros(self.steps(batch_size) * batch_size - len(values), dtype)
            return np.concatenate([values.astype(dtype), padding]).reshape(-1, batch_size)

        return Order(
            rows=stacked(turn * len(self) + chosen, np.int32),
            labels=stacked(self.labels[chosen], np.int32),
            weights=stacked(self.weights[chosen], np.float32),
            mask=stacked(np.ones(len(self)), np.float32),
        )


def padded(rows: CachedArray, indices: np.ndarray, batch_size: int) -> np.ndarray:
    """Gathers rows into a batch of `batch_size`, zeros behind them."""
    batch = np.zeros((batch_size, *rows.shape[1:]), rows.dtype)
    rows.gather(indices, out=batch[: len(indices)])
    return batch
