"""The same seed gives the same run to the bit: in new processes with new caches, and in one that trained before."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from small import Outcome, toy_config

from kit import settings
from kit.run import Run

pytestmark = pytest.mark.backend

CODE = """
import sys
from pathlib import Path
from kit import settings
from kit.pipeline import train
train(settings.load_config(file=Path(sys.argv[1])), Path(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def two_processes(images, run_python, tmp_path_factory) -> list[Outcome]:
    folder = tmp_path_factory.mktemp("twice")
    (folder / "config.toml").write_text(settings.to_toml(toy_config(images)))

    def run(number: int) -> Outcome:
        environment = {"TRANSFERKIT_CACHE": folder / f"cache{number}"}
        done = run_python("-c", CODE, folder / "config.toml", folder / f"run{number}", env=environment)
        assert done.returncode == 0, done.stderr
        return Outcome.of(Run.open(folder / f"run{number}"))

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(run, (0, 1)))


def test_two_processes_with_one_seed_agree_to_the_bit(two_processes):
    two_processes[0].assert_equals(two_processes[1])
    assert len(two_processes[0].history.phases()) == 2


@pytest.mark.full
def test_a_process_that_trained_before_agrees_too(two_processes, uninterrupted):
    uninterrupted.assert_equals(two_processes[0])


@pytest.mark.full
def test_another_seed_trains_another_model(images, uninterrupted, train_apart):
    config = toy_config(images)
    other = train_apart(replace(config, seed=config.seed + 1))
    assert not other.history.equal_curves(uninterrupted.history)
    assert any(not np.array_equal(a, b) for a, b in zip(other.weights, uninterrupted.weights, strict=True))
