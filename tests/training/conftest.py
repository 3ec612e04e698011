"""Fixtures of the tests of whole runs."""

from collections.abc import Callable

import pytest
from small import Outcome, run_config

from kit.config import RunConfig
from kit.pipeline import train


@pytest.fixture(scope="session")
def train_apart(tmp_path_factory) -> Callable[[RunConfig], Outcome]:
    """Trains in this process, with a cache of its own."""

    def train_in_new_cache(config: RunConfig) -> Outcome:
        folder = tmp_path_factory.mktemp("apart")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRANSFERKIT_CACHE", str(folder / "cache"))
            return Outcome.of(train(config, folder / "run"))

    return train_in_new_cache


@pytest.fixture(scope="session")
def uninterrupted(images, lively_weights, train_apart) -> Outcome:
    """A run that nothing disturbs."""
    return train_apart(run_config(images, lively_weights))
