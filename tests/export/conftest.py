"""One small trained run for the tests of exports."""

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from doubles import swap
from in_process import _loud, command, refused  # noqa: F401  # fixtures
from judged import make_unsure_images, train_judged
from kit.config import PhaseConfig, RunConfig
from kit.export import benchmark, package
from kit.run import Run

# The whole text for the first image; for the others the model stays loaded.
EXAMPLES = """
import shutil, sys
sys.path.insert(0, "")
code, *images = sys.argv[1:]
names = {}
for image in images:
    shutil.copyfile(image, "photo.jpg")
    exec(code, names)
    code = "".join(line for line in code.splitlines(True) if not line.startswith("model = "))
"""


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


@pytest.fixture(scope="session")
def unsure_images(tmp_path_factory) -> Path:
    """Images of which the model of `judged` is unsure of some; never write into it."""
    return make_unsure_images(tmp_path_factory.mktemp("unsure"))


@pytest.fixture(scope="session")
def judged(needs_backend, unsure_images, toy_weights, tmp_path_factory) -> Run:
    """A run with both thresholds; never write into it."""
    return train_judged(unsure_images, toy_weights, tmp_path_factory.mktemp("judged") / "run")


@pytest.fixture
def run_card(run_python, tmp_path) -> Callable[..., list[str]]:
    """Runs the example of an export's card on images, where transferkit is not; returns what it prints of each."""

    def run_example(export: Path, images: list[Path]) -> list[str]:
        folder = shutil.copytree(export, tmp_path / "elsewhere")
        (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
        # as on its reader's machine, where nothing chooses a backend; the card has JAX installed
        chosen = None if find_spec("jax") else "tensorflow"
        environment = {"PYTHONPATH": None, "KERAS_BACKEND": chosen, "KERAS_HOME": tmp_path / "keras", "HOME": tmp_path}
        done = run_python("-P", "-c", EXAMPLES, code, *images, cwd=folder, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run_example


@pytest.fixture
def answers(run, monkeypatch):
    """The processes answer at once, by a model of ten bytes.

    Its probabilities are off by `answers["off"]`, its strangeness, where it has one, by `answers["strange"]`.
    """
    told = {"off": 0.0, "strange": 0.0, "asked": []}

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
        asked = json.loads((work / "written.json").read_text())
        n = len(json.loads((work / "images.json").read_text()))
        off = n - 1  # the last of the images that are compared
        n += len(asked["choosing"]) if name != "original" else 0
        probabilities = np.random.default_rng(0).dirichlet([1, 1, 1], n).astype(np.float32)
        columns = [probabilities]
        if name != "original":
            probabilities[off, 0] += told["off"]
        if asked["strangeness"]:
            columns.append(np.random.default_rng(1).gamma(8, 1 / 8, (n, 1)).astype(np.float32))
            columns[1][off] += told["strange"] if name != "original" else 0
        np.save(work / f"{name}.npy", np.concatenate(columns, axis=1))
        return {"runtime": f"{name} 1.0", "latency_ms": {"1": 1.5, "32": 20.25}}

    for module in (package, benchmark):
        swap(monkeypatch, module, "ask", answer)
    return told
