"""Loss of a training step, in keras.ops."""

import keras
import numpy as np
from keras import ops

from kit.data.batches import Order


def loss_and_sums(probabilities, labels, weights, mask, smoothing: float):
    """Sum of losses, and (sum of plain cross-entropy, sum of correct), of a batch.

    The loss is cross-entropy, weighted by class; `smoothing` is the share of each label spread over all classes.
    Probabilities are (batch, classes), labels int (batch,); weights (0 for padding) and mask (1 for an image, 0 for
    padding) float (batch,).
    """
    target = ops.one_hot(labels, probabilities.shape[-1], dtype=probabilities.dtype)
    plain = keras.losses.categorical_crossentropy(target, probabilities)
    smoothed = (
        keras.losses.categorical_crossentropy(target, probabilities, label_smoothing=smoothing) if smoothing else plain
    )
    correct = ops.cast(ops.equal(ops.argmax(probabilities, axis=-1), ops.cast(labels, "int32")), mask.dtype)
    return ops.sum(smoothed * weights), (ops.sum(plain * mask), ops.sum(correct * mask))


def steps_with_images(order: Order) -> np.int32:
    """Number of steps that are not padding alone."""
    return np.int32(order.mask.any(axis=1).sum())
