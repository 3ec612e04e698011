"""Fixtures of the tests of whole runs."""

from collections.abc import Callable

import pytest

from kit.config import RunConfig


@pytest.fixture(scope="session")
def train_apart(needs_backend, tmp_path_factory) -> Callable:
    """Trains in this process, with a cache of its own; returns the `Outcome`."""
    from small import Outcome

    from kit.pipeline import train

    def train_in_new_cache(config: RunConfig):
        folder = tmp_path_factory.mktemp("apart")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRANSFERKIT_CACHE", str(folder / "cache"))
            return Outcome.of(train(config, folder / "run"))

    return train_in_new_cache


@pytest.fixture(scope="session")
def uninterrupted(images, train_apart):
    """The `Outcome` of a run that nothing disturbs."""
    from small import toy_config

    return train_apart(toy_config(images))
