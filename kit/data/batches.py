"""Batches of one fixed shape, in an order that depends on seed, phase and epoch alone; prefetch."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from kit.cache import CachedArray

Item = TypeVar("Item")


@dataclass(frozen=True)
class Order:
    """Samples of the steps of an epoch, each array (steps, batch).

    The last batch is padded, so that one shape is compiled. Row and class numbers are int32; weights in the loss and
    the mask (1 for a sample) are float32. All are 0 for padding. Where samples are mixed, `partners` are the places
    within the batch of those that they are mixed with, int32, and `shares` their own, float32; padding stays alone.
    """

    rows: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    mask: np.ndarray
    partners: np.ndarray | None = None
    shares: np.ndarray | None = None

    @property
    def arrays(self) -> tuple[np.ndarray | None, ...]:
        """All of them, in order."""
        return self.rows, self.labels, self.weights, self.mask, self.partners, self.shares

    @property
    def steps(self) -> np.int32:
        """Number of steps that are not padding alone."""
        return np.int32(self.mask.any(axis=1).sum())

    def part(self, start: int, steps: int) -> "Order":
        """`steps` steps from `start` on, padded beyond the end of the epoch."""
        parts: list[Any] = [None if values is None else part(values, start, steps) for values in self.arrays]
        return Order(*parts)


def part(values: np.ndarray, start: int, steps: int) -> np.ndarray:
    """`values[start : start + steps]`, zero-padded to `steps`."""
    found = values[start : start + steps]
    return np.concatenate([found, np.zeros((steps - len(found), *values.shape[1:]), values.dtype)])


@dataclass(frozen=True)
class Batches:
    """Labelled samples in batches, like a `keras.utils.PyDataset`.

    Attributes:
        x: `views` views one after the other: sample i of view v is row v * n + i.
        labels: Class numbers, int (n,).
        weights: Sample weights in the loss, float (n,); None weighs all alike.
        seed: Shuffles the samples and draws each one's first view, partners and shares.
        mixup: Both parameters of the Beta distribution of the shares, one a batch; 0 mixes nothing.
    """

    x: CachedArray
    labels: np.ndarray
    batch_size: int
    weights: np.ndarray | None = None
    views: int = 1
    seed: int = 0
    mixup: float = 0.0

    def __len__(self) -> int:
        """Number of batches per epoch."""
        return -(-len(self.labels) // self.batch_size)

    def order(self, phase: int, epoch: int) -> Order:
        """Batches of an epoch; `phase`, and `epoch` within it, count from 0.

        Each image starts at a view of its own and takes them in turn: epochs mix all views and use each equally often.
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
            **(self._mixed(phase, epoch) if self.mixup else {}),
        )

    def _mixed(self, phase: int, epoch: int) -> dict[str, np.ndarray]:
        """Partners and shares of an epoch's batches."""
        random = np.random.default_rng([self.seed, 2, phase, epoch])
        partners = np.tile(np.arange(self.batch_size, dtype=np.int32), (len(self), 1))
        shares = random.beta(self.mixup, self.mixup, len(self)).astype(np.float32)
        for number, places in enumerate(partners):
            samples = min(self.batch_size, len(self.labels) - number * self.batch_size)
            places[:samples] = random.permutation(samples)
        return {"partners": partners, "shares": np.repeat(shares[:, None], self.batch_size, axis=1)}

    def _stacked(self, values: np.ndarray, dtype: type) -> np.ndarray:
        padding: np.ndarray = np.zeros(len(self) * self.batch_size - len(values), dtype)
        return np.concatenate([values.astype(dtype), padding]).reshape(-1, self.batch_size)


def padded(x: CachedArray, indices: np.ndarray, batch_size: int) -> np.ndarray:
    """Gather samples into a batch of `batch_size`, zero-padded."""
    batch = np.zeros((batch_size, *x.shape[1:]), x.dtype)
    x.gather(indices, out=batch[: len(indices)])
    return batch


def prefetch(items: Generator[Item, None, None]) -> Generator[Item, None, None]:
    """Prefetch one item in a thread; its errors reach the consumer, and closing it closes `items`."""
    end: Any = object()
    with closing(items), ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:  # closed after the thread's end
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item
