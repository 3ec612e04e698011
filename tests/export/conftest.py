"""One small trained run for the tests of exports."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from doubles import swap
from in_process import _loud, command, refused  # noqa: F401  # fixtures
from kit.config import PhaseConfig, RunConfig
from kit.export import benchmark, package
from kit.run import Run


@pytest.fixture(scope="session")
def train_small(needs_backend, tmp_path_factory) -> Callable[[RunConfig], Run]:
    """Trains with a hidden layer and dropout, on this process's backend.

    The run shows cut-outs on blue, and 12 bits of 16.
    """
    from awkward_images import GREY_RANGE
    from kit.pipeline import train

    phases = (
        PhaseConfig(name="head", epochs=6, learning_rate=3e-3),
        PhaseConfig(name="tail", epochs=1, unfreeze_depth=1, learning_rate=1e-3),
    )

    def train_config(config: RunConfig) -> Run:
        data = replace(config.data, background=(0, 0, 250), grey_range=GREY_RANGE)
        return train(replace(config, phases=phases, data=data), tmp_path_factory.mktemp("runs") / "small")

    return train_config


@pytest.fixture(scope="session")
def run(images, toy_weights, train_small) -> Run:
    """A finished run of the toy network; never write into it."""
    from training.small import toy_config

    return train_small(toy_config(images, toy_weights))


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

    def answer(task, names, run, folder, work, backend):
        told["asked"].append((task, list(names), backend))
        if task == "time":
            assert (folder / "export.json").exists(), "what is timed has passed the check"
            latency = {n: {"median": float(n), "p95": 1.5 * float(n), "passes": 9} for n in ("1", "8", "32")}
            return {name: {"latency_ms": latency, "peak_memory": 3 * 2**20} for name in names}
        if task == "write":
            told["written"] = json.loads((work / "written.json").read_text())
        return {name: written(folder) if task == "write" else ran(name, work) for name in names}

    def written(folder):
        (folder / "model.keras").write_bytes(b"0123456789")
        return {"preprocessing": [{"layer": "Rescaling", "scale": 0.5, "offset": -1.0}]}

    def ran(name, work):
        n = len(json.loads((work / "images.json").read_text()))
        probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], n).astype(np.float32)
        if name != "original":
            probabilities[-1, 0] += told["off"]
        np.save(work / f"{name}.npy", probabilities)
        return {"runtime": f"{name} 1.0", "latency_ms": {"1": 1.5, "32": 20.25}}

    for module in (package, benchmark):
        swap(monkeypatch, module, "ask", answer)
    return told
