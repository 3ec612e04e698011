"""A training set batch by batch, as Keras's own training loop wants it, and one step of the kit at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kit.data.batches import Batches, Order, padded
from kit.training.loop import Steps


@dataclass(frozen=True)
class Batch:
    """Rows of one step, padded; the first `size` of them are images."""

    x: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    mask: np.ndarray
    size: int


def batches_of(training: Batches, phase: int, epoch: int) -> Iterator[Batch]:
    """The batches of one epoch, zeros behind the images of the last."""
    order = training.order(phase, epoch)
    for rows, labels, weights, mask in zip(order.rows, order.labels, order.weights, order.mask, strict=True):
        size = int(mask.sum())
        yield Batch(padded(training.x, rows[:size], training.batch_size), labels, weights, mask, size)


def one_step(steps: Steps, x, labels, weights, mask, learning_rate: float, momentum: float = 0.0) -> list[Any]:
    """Trains on one batch; returns (sum of plain cross-entropy, sum of correct)."""
    numbers = np.arange(len(x), dtype=np.int32)
    order = Order(*(np.asarray(values)[None] for values in (numbers, labels, weights, mask)))
    rate, momentum = np.array([learning_rate], np.float32), np.array([momentum], np.float32)
    return [total[0] for total in steps.train(steps.hold(x), order, rate, momentum)]
