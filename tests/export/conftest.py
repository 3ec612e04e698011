"""One small trained run for all tests of exports."""

import pytest

from in_process import _loud, command, refused  # noqa: F401  # fixtures
from kit.config import PhaseConfig


@pytest.fixture(scope="session")
def run(photos, lively_weights, tmp_path_factory):
    """A finished run of this process's backend, with a hidden layer and dropout; never write into it."""
    from kit.experiment import train
    from training.small import run_config

    phases = (
        PhaseConfig(name="head", epochs=2, learning_rate=1e-2),
        PhaseConfig(name="tail", epochs=1, unfreeze_depth=1, learning_rate=1e-3),
    )
    return train(run_config(photos, lively_weights, phases=phases), tmp_path_factory.mktemp("runs") / "small")
