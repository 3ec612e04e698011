"""One small trained run for all tests of exports."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from doubles import swap
from in_process import _loud, command, refused  # noqa: F401  # fixtures
from kit.config import PhaseConfig
from kit.export import package


@pytest.fixture(scope="session")
def run(images, lively_weights, tmp_path_factory):
    """A finished run of this process's backend, with a hidden layer and dropout; never write into it.

    It shows cut-outs on blue, and 12 bits of 16.
    """
    from awkward_images import GREY_RANGE
    from kit.pipeline import train
    from training.small import run_config

    phases = (
        PhaseConfig(name="head", epochs=6, learning_rate=3e-3),
        PhaseConfig(name="tail", epochs=1, unfreeze_depth=1, learning_rate=1e-3),
    )
    config = run_config(images, lively_weights, phases=phases)
    data = replace(config.data, background=(0, 0, 250), grey_range=GREY_RANGE)
    return train(replace(config, data=data), tmp_path_factory.mktemp("runs") / "small")


@pytest.fixture
def own_run(run, tmp_path) -> Path:
    """A folder of the same run that a test may write into."""
    folder = tmp_path / "own"
    folder.mkdir()
    for entry in run.path.iterdir():
        os.symlink(entry, folder / entry.name)
    return folder


@pytest.fixture
def answers(run, monkeypatch):
    """The processes answer at once: a model of ten bytes whose probabilities are off by `answers["off"]`."""
    told = {"off": 0.0, "asked": []}

    def answer(task, what, run, folder, work, backend):
        told["asked"].append((task, what, backend))
        if task == "write":
            (folder / "model.keras").write_bytes(b"0123456789")
            return {"preprocessing": [{"layer": "Rescaling", "scale": 0.5, "offset": -1.0}]}
        n = len(json.loads((work / "images.json").read_text()))
        probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], n).astype(np.float32)
        if what != "original":
            probabilities[-1, 0] += told["off"]
        np.save(work / f"{what}.npy", probabilities)
        return {"runtime": f"{what} 1.0", "latency_ms": {"1": 1.5, "32": 20.25}}

    swap(monkeypatch, package, "ask", answer)
    return told
