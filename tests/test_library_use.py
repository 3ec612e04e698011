"""Somebody's own Python is after kit.train and Run.predict as it was before, and children import our packages."""

import json
import os

import pytest

pytestmark = pytest.mark.backend

BACKEND = os.environ["KERAS_BACKEND"]  # conftest.py has settled it

NOTEBOOK = """
import json, os, random, sys
from pathlib import Path
import numpy as np
__import__({backend!r}), __import__("sklearn.linear_model")  # libraries set variables of their own when imported
import {backend}, kit
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # as any import of Keras does

def state():
    keras = sys.modules.get("keras")
    settings = [keras.config.floatx(), keras.config.image_data_format()] if keras else ["float32", "channels_last"]
    seed = None
    if keras:
        from keras.src.utils.rng_utils import get_random_seed
        from keras.src.utils.module_utils import tensorflow as tf
        seed = [get_random_seed(), tf._available is False]
    if {backend!r} == "jax":
        own = {backend}.config.jax_compilation_cache_dir
    else:
        from tensorflow.python.util import _pywrap_determinism
        own = _pywrap_determinism.is_enabled()
    return {{
        "environment": dict(os.environ),
        "settings": settings,
        "random": [repr(random.getstate()), repr(np.random.get_state())],
        "fd 2": os.fstat(2).st_ino,
        "home": sorted(str(path) for path in Path.home().rglob("*")),
        "keras": seed or [None, False],
        "own": own,
    }}

before = state()
run = kit.train({images!r}, "run", weights="none", backbone="toy", image_size=32, views=1, head_epochs=1,
                fine_tune_epochs=1, unfreeze_depth=1, threads=1)
print(json.dumps([before, state()]))
kit.load_run("run").predict(next(Path({images!r}).rglob("*.*g")))
print(json.dumps([before, state()]))
"""


@pytest.fixture(scope="module")
def notebook(run_python, images, tmp_path_factory):
    """The folder of a run, and what the process that trained it told."""
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "home").mkdir()
    environment = {"HOME": folder / "home", "KERAS_HOME": None, "JAX_COMPILATION_CACHE_DIR": None}
    code = NOTEBOOK.format(backend=BACKEND, images=str(images))
    done = run_python("-c", code, env={**environment, "TRANSFERKIT_CACHE": folder / "cache"}, cwd=folder, timeout=900)
    assert done.returncode == 0, done.stderr
    return folder, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[{")]


@pytest.mark.full
def test_the_process_is_as_it_was(notebook):
    _, told = notebook
    assert len(told) == 2
    for before, after in told:
        assert {name: after[name] for name in before if after[name] != before[name]} == {}


@pytest.mark.once(backend="tensorflow")
@pytest.mark.full
def test_children_do_not_import_what_lies_in_the_folder(run_python, notebook):
    folder, _ = notebook
    (folder / "kit").mkdir()
    for name in ("search.py", "kit/__init__.py"):
        (folder / name).write_text("raise RuntimeError('this is the user's own')")
    told = run_python("-P", "-m", "kit.cli", "doctor", "--json", cwd=folder)
    assert json.loads(told.stdout)["backends"][BACKEND]["starts"], told.stdout
    exported = run_python("-P", "-m", "kit.cli", "export", "run", "--format", "keras", cwd=folder, timeout=900)
    assert exported.returncode == 0, exported.stderr
