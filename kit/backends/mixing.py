"""MixUp of the samples of a batch and of their labels, in keras.ops."""

from typing import Any

from keras import ops


def mix(x: Any, labels: Any, weights: Any, mask: Any, partners: Any, shares: Any) -> tuple[Any, ...]:
    """Mix each sample with another one of its batch [Zhang et al. 2018, arXiv:1710.09412].

    Sample i becomes s x_i + (1 - s) x_j, where j is its partner and s its share. Returns the mixed samples, float32 or
    uint8 where `x` is, and the arguments of a `kit.backends.protocol.Loss` after the logits: those of the samples, of
    their partners, and the shares.
    """
    own = ops.reshape(shares, (-1, *[1] * (len(x.shape) - 1)))
    values = ops.cast(x, "float32")
    mixed = values * own + ops.take(values, partners, axis=0) * (1 - own)
    if ops.dtype(x) == "uint8":
        mixed = ops.cast(ops.round(mixed), "uint8")
    return mixed, labels, weights, mask, ops.take(labels, partners), ops.take(weights, partners), shares
