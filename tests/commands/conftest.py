"""One trained run for all tests of the commands."""

from pathlib import Path

import pytest

from in_process import _loud, command, refused  # noqa: F401  # fixtures

SMALL = ("--image-size", "48", "--alpha", "0.35", "--views", "2", "--head-units", "16", "--batch-size", "16")


@pytest.fixture(scope="session")
def weights(needs_backend, tmp_path_factory) -> Path:
    """A weights file of a random network through which differences between images survive.

    With Keras's initial batch statistics (variance 1) the activations of a random MobileNetV2 fade on their way up:
    every image looks the same to the head, and no figure would tell whether the right pixels were scored. Rounding
    errors survive as well: what compares backends takes `lively_weights`, which a head learns from more slowly.
    """
    import keras

    from kit.model.backbones import mobilenet_v2

    keras.utils.set_random_seed(0)
    model = mobilenet_v2(48, 0.35).model
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_variance.assign(keras.ops.full(layer.moving_variance.shape, 0.03))
    path = tmp_path_factory.mktemp("weights") / "small.weights.h5"
    model.save_weights(path)
    return path


@pytest.fixture(scope="session")
def settings(weights) -> tuple[str, ...]:
    """Flags of the small network."""
    return ("--weights", str(weights), *SMALL)


@pytest.fixture(scope="session")
def run(images, weights, tmp_path_factory):
    """A finished run with two phases; never write into it."""
    from kit.pipeline import train
    from kit.settings import load_config

    sets = {
        "data.path": str(images),
        "model.weights": str(weights),
        "data.image_size": 48,
        "model.alpha": 0.35,
        "views.count": 2,
        "model.head_units": 16,
        "training.batch_size": 16,
        "phases.0.epochs": 12,
        "phases.0.learning_rate": 1e-3,
        "phases.1.epochs": 2,
        "phases.1.unfreeze_depth": 1,
    }
    return train(load_config(flags=sets), tmp_path_factory.mktemp("runs") / "small")
