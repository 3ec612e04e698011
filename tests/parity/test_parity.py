"""What holds between the backends: trained on one, loaded on the other; the same pixels, the same features.

Each backend runs in a child process, for a process has one backend. The process that loads a model knows nothing of the
kit.
"""

import json
from importlib.util import find_spec

import numpy as np
import pytest

from photos import make_photos

BACKENDS = ("jax", "tensorflow")
ABSENT = [name for name in BACKENDS if find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(ABSENT), reason=f"parity needs both backends; {' and '.join(ABSENT)} is missing")

# argv: backend, photos, weights, run folder. Random weights alone would let every photo look the same to the head.
TRAIN = """
import sys
from dataclasses import replace
from pathlib import Path
from kit.config import DataConfig, ModelConfig, PhaseConfig, RunConfig, TrainingConfig, ViewsConfig
from kit.experiment import train
backend, photos, weights, out, size, alpha = sys.argv[1:]
train(RunConfig(
    backend=backend,
    data=DataConfig(path=photos, image_size=int(size)),
    views=ViewsConfig(count=2),
    model=ModelConfig(alpha=float(alpha), weights=weights, head_units=16),
    training=TrainingConfig(batch_size=16),
    phases=(PhaseConfig(epochs=4, learning_rate=1e-2), PhaseConfig(epochs=2, unfreeze_depth=3, learning_rate=1e-3)),
), Path(out))
"""

# argv: model, pixels, where to. Not even on the path: the kit.
LOAD = """
import sys
import numpy as np, keras
model = keras.saving.load_model(sys.argv[1])
assert not any(name.split(".")[0] in ("kit", "search", "reports") for name in sys.modules)
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))
"""

# argv: backend, weights, pixels, where to, size, alpha
POOL = """
import sys
import numpy as np
from kit import backend
backend.start(sys.argv[1])
from kit.config import DataConfig, ModelConfig, RunConfig
from kit.model.weights import resolve
from kit.training.features import compile_forward
from kit.training.session import build_classifier
size, alpha = int(sys.argv[5]), float(sys.argv[6])
config = RunConfig(data=DataConfig(image_size=size), model=ModelConfig(alpha=alpha, weights=sys.argv[2]))
classifier = build_classifier(config, 2, resolve(sys.argv[2], alpha, size))
trunk = classifier.trunk(classifier.backbone.cut(-1), (classifier.backbone.cut(0),))
np.save(sys.argv[4], compile_forward(trunk)(np.load(sys.argv[3]))[0])
"""

WEIGHTS = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from small import save_lively_weights
save_lively_weights(Path(sys.argv[2]), int(sys.argv[3]))
"""


@pytest.fixture(scope="module")
def script(run_python, request):
    """Runs a script in a child process and shows what it printed if it fails."""

    def run(code, *args, **options):
        done = run_python("-c", code, *args, **options)
        assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def weights(script, request, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "lively.weights.h5"
    script(WEIGHTS, request.path.parents[1] / "training", path, 48)
    return path


@pytest.fixture(scope="module")
def runs(script, weights, tmp_path_factory):
    """Backend -> a finished run on the same photos."""
    folder = tmp_path_factory.mktemp("runs")
    photos = make_photos(folder / "photos", ("blue", "green", "red"), 20)
    for name in BACKENDS:
        script(TRAIN, name, photos, weights, folder / name, 48, 0.35, env={"KERAS_BACKEND": None})
    return {name: folder / name for name in BACKENDS}


@pytest.mark.parametrize("trained_on", BACKENDS)
def test_a_model_gives_the_same_probabilities_on_the_other_backend(runs, script, trained_on, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 48, 3), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    found = {}
    for name in BACKENDS:
        out = tmp_path / f"{name}.npy"
        script(
            LOAD,
            runs[trained_on] / "model.keras",
            tmp_path / "pixels.npy",
            out,
            env={"KERAS_BACKEND": name, "PYTHONPATH": None},
        )
        found[name] = np.load(out)
    assert found["jax"].std(axis=0).max() > 1e-3  # the model tells these pixels apart
    _assert_same_story(found["jax"], found["tensorflow"])


def test_a_run_is_evaluated_on_the_other_backend(runs, run_cli):
    for trained_on, other in (BACKENDS, BACKENDS[::-1]):
        recorded = json.loads((runs[trained_on] / "metrics.json").read_text())
        done = run_cli("evaluate", runs[trained_on], "--backend", other, "--json", env={"KERAS_BACKEND": None})
        assert done.returncode == 0, done.stderr
        scored = json.loads(done.stdout)["metrics"]
        for split in ("train", "validation", "test"):
            assert scored[split]["log_loss"] == pytest.approx(recorded[split]["log_loss"], abs=5e-3)


def test_features_of_the_same_pixels_agree(script, weights, tmp_path):
    _assert_features_agree(script, weights, tmp_path, 48, 0.35)


@pytest.mark.real
def test_features_of_the_real_weights_agree(script, real_data, tmp_path):
    from kit.config import DataConfig
    from kit.data.images import decode

    (weights,) = (real_data / "weights").glob("*.weights.h5")
    photos = sorted((real_data / "flowers").rglob("*.jpg"))[::100]
    pixels = np.stack([decode(photo, DataConfig()) for photo in photos])
    _assert_features_agree(script, weights, tmp_path, 224, 1.0, pixels)


def _assert_features_agree(script, weights, folder, size, alpha, pixels=None):
    if pixels is None:
        pixels = np.random.default_rng(1).integers(0, 256, (16, size, size, 3), dtype=np.uint8)
    np.save(folder / "pixels.npy", pixels)
    for name in BACKENDS:
        script(POOL, name, weights, folder / "pixels.npy", folder / f"{name}.npy", size, alpha)
    jax, tensorflow = (np.load(folder / f"{name}.npy") for name in BACKENDS)
    assert jax.std(axis=0).max() > 1e-2  # the network tells these pixels apart
    print(f"greatest difference of pooled features: {abs(jax - tensorflow).max():.2e}")
    assert abs(jax - tensorflow).max() <= 1e-4


def _assert_same_story(one, other):
    """Probabilities within 1e-5, and the same class wherever the margin between the first two exceeds 1e-4."""
    print(f"greatest difference of probabilities: {abs(one - other).max():.2e}")
    assert abs(one - other).max() <= 1e-5
    first_two = np.sort(one, axis=1)[:, -2:]
    clear = first_two[:, 1] - first_two[:, 0] > 1e-4
    assert (one.argmax(axis=1) == other.argmax(axis=1))[clear].all()
