"""A small random network that tests can train: it tells images apart, and rounding errors fade in it."""

from pathlib import Path

import keras
import numpy as np

from kit import backends
from kit.model.backbones import Backbone, build_backbone

ALPHA = 0.35


def lively(backbone: Backbone, seed: int = 0, *, compiled: bool = False) -> None:
    """Gives a random network the batch statistics of its own activations, as training it from scratch would.

    With Keras's initial statistics (mean 0, variance 1) the activations of a random MobileNetV2 fade away on their way
    up: every image looks the same to the head, and a test of training would compare rounding errors. With gamma 1 and
    beta 0 rounding errors grow from block to block, as images' differences do; 0.4 and 0.5 (tried, with others) keep
    the images apart and let rounding errors fade.

    Args:
        backbone: Random; changed in place.
        seed: Of the pixels it is shown.
        compiled: On JAX, compile the one pass as a whole: for networks of many shapes, each of which an operation by
            itself is compiled for. Rounds otherwise.
    """
    model = backbone.model
    noise = np.random.default_rng(seed).uniform(-1, 1, (16, 8, 8, model.input.shape[-1])).astype(np.float32)
    # Patches of many pixels: what is left of an image at the network's top is what it averages over, not the noise.
    patches = noise.repeat(model.input.shape[1] // 8, axis=1).repeat(model.input.shape[2] // 8, axis=2)
    normalisations = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in model.layers:
        if type(layer).__name__ == "LayerScale":  # of ConvNeXt: begins at 1e-6, so that its blocks do nothing at first
            layer.gamma.assign(np.full(layer.gamma.shape, 0.3, np.float32))
    for layer in normalisations:
        layer.gamma.assign(np.full(layer.gamma.shape, 0.4, np.float32))
        layer.beta.assign(np.full(layer.beta.shape, 0.5, np.float32))
        layer.momentum = 0.0  # one pass in training mode, and the moving statistics are the batch's
    if compiled and keras.backend.backend() == "jax":
        import jax

        values = ([one.value for one in kind] for kind in (model.trainable_variables, model.non_trainable_variables))
        ran = jax.jit(lambda *given: model.stateless_call(*given, training=True)[1])(*values, patches)
        for variable, value in zip(model.non_trainable_variables, ran, strict=True):
            variable.assign(value)
    else:
        model(patches, training=True)
    for layer in normalisations:
        layer.momentum = 0.999


def save_lively_weights(path: Path, size: int = 32, backbone: str = "mobilenet_v2", alpha: float = ALPHA) -> Path:
    """Writes the weights of a random network that tells images apart; `path` ends in .weights.h5."""
    backends.start(seed=3)
    built = build_backbone(backbone, size, alpha)
    lively(built)
    built.model.save_weights(path)
    return path
