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


def mixed(training: Batches, phase: int, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Partners and shares of each batch of one epoch, padding left out."""
    order = training.order(phase, epoch)
    assert order.partners is not None
    assert order.shares is not None
    for partners, shares, mask in zip(order.partners, order.shares, order.mask, strict=True):
        yield partners[mask > 0], shares[mask > 0]


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
