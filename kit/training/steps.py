"""Optimiser and training steps of a phase.

Optimisers, losses and layers are Keras's, but not `fit`: it cannot be resumed to the bit, compiles again for the last
partial batch, and reports the smoothed and weighted loss.
"""

from collections.abc import Callable

import keras

from kit import backends
from kit.backends.protocol import Steps

UNDECAYED = ("bias",)  # weight decay pulls weights towards zero, where biases need not be


def build_optimizer(name: str, weight_decay: float) -> keras.optimizers.Optimizer:
    """Keras optimiser; its learning rate is set at every step."""
    decay = weight_decay or None
    builders: dict[str, Callable[[], keras.optimizers.Optimizer]] = {
        "adam": lambda: keras.optimizers.Adam(weight_decay=decay),
        "adamw": lambda: keras.optimizers.AdamW(weight_decay=weight_decay),
        "sgd": lambda: keras.optimizers.SGD(momentum=0.9, nesterov=True, weight_decay=decay),
        "rmsprop": lambda: keras.optimizers.RMSprop(weight_decay=decay),
    }
    optimizer = builders[name]()
    if decay:
        optimizer.exclude_from_weight_decay(var_names=list(UNDECAYED))
    return optimizer


def build_steps(model: keras.Model, optimizer: keras.optimizers.Optimizer, label_smoothing: float) -> Steps:
    """Training steps, compiled by the current backend."""
    optimizer.build(model.trainable_variables)
    return backends.current().build_steps(model, optimizer, label_smoothing)
