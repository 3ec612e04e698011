"""One trained run for all tests of the commands."""

import pytest

from in_process import _loud, command, refused  # noqa: F401  # fixtures

SMALL = ("--image-size", "48", "--views", "2", "--head-units", "16", "--batch-size", "16")


@pytest.fixture(scope="session")
def settings(toy_weights) -> tuple[str, ...]:
    """Flags of the toy network."""
    return ("--backbone", "toy", "--weights", str(toy_weights), *SMALL)


@pytest.fixture(scope="session")
def mobilenet_settings(lively_weights) -> tuple[str, ...]:
    """Flags of a small MobileNetV2, where the size of a real network counts."""
    return ("--alpha", "0.35", "--weights", str(lively_weights), *SMALL)


@pytest.fixture(scope="session")
def run(images, toy_weights, tmp_path_factory):
    """A finished run with two phases; never write into it."""
    from kit.pipeline import train
    from kit.settings import load_config

    sets = {
        "data.path": str(images),
        "model.weights": str(toy_weights),
        "data.image_size": 48,
        "model.backbone": "toy",
        "views.count": 2,
        "model.head_units": 16,
        "training.batch_size": 16,
        "phases.0.epochs": 12,
        "phases.0.learning_rate": 1e-2,
        "phases.1.epochs": 2,
        "phases.1.unfreeze_depth": 1,
    }
    return train(load_config(flags=sets), tmp_path_factory.mktemp("runs") / "small")
