"""What holds between the backends: the same features, and a model trained on one gives the same answers on another.

One process has one backend, so everything here is computed by processes of their own, once a module.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from kit import settings
from kit.backends.choice import installed_backends
from kit.config import DataConfig
from kit.data.images import decode
from kit.machine import package_file
from kit.model.catalog import find
from kit.run import Run
from networks import ALPHA
from training.small import run_config

BACKENDS = installed_backends()
pytestmark = [
    pytest.mark.backend,
    pytest.mark.skipif(len(BACKENDS) < 2, reason=f"needs two backends; installed: {', '.join(BACKENDS)}"),
]

TRAIN = """
import sys
from pathlib import Path
from kit import settings
from kit.pipeline import train
train(settings.load_config(file=Path(sys.argv[1])), Path(sys.argv[2]))
"""

PREDICT = """
import sys
import keras, numpy
backend, pixels, *files = sys.argv[1:]
for model, answers in zip(files[::2], files[1::2]):
    numpy.save(answers, keras.saving.load_model(model).predict(numpy.load(pixels), verbose=0))
assert not any(name.split(".")[0] == "kit" for name in sys.modules), "the kit was imported"
assert backend == keras.backend.backend()
"""

# kernels "auto": on each backend what it trains and extracts with
FEATURES = """
import sys
import numpy
from pathlib import Path
from kit import backends
from kit.config import DataConfig, ModelConfig, RunConfig
backends.start()
from kit.model.weights import resolve
from kit.training.forward import compile_forward
from kit.training.session import build_classifier
pixels, alpha, backbone = numpy.load(sys.argv[2]), float(sys.argv[4]), sys.argv[5]
size = pixels.shape[1]
model = ModelConfig(backbone=backbone, alpha=alpha, weights=sys.argv[1])
config = RunConfig(data=DataConfig(image_size=size), model=model)
classifier = build_classifier(config, 2, resolve(sys.argv[1], alpha, size, backbone))
trunk = compile_forward(classifier.trunk(classifier.backbone.cut(-1), (classifier.backbone.cut(0),)))
numpy.save(sys.argv[3], trunk(pixels)[0])
"""


@dataclass(frozen=True)
class Saved:
    """A model of each backend, loaded on all.

    Attributes:
        runs: Trained on -> the run.
        probabilities: (trained on, loaded on) -> float32 (images, classes).
    """

    runs: dict[str, Run]
    probabilities: dict[tuple[str, str], np.ndarray]


@pytest.fixture(scope="module")
def in_parallel() -> Iterator[Callable]:
    """Maps a function over arguments, two processes at a time."""
    with ThreadPoolExecutor(2) as pool:
        yield lambda function, arguments: list(pool.map(lambda one: function(*one), arguments))


@pytest.fixture(scope="module")
def child(run_python, tmp_path_factory):
    """Runs code on a backend, in a process with a cache of its own."""

    def run(code: str, name: str, *args, **environment) -> None:
        cache = tmp_path_factory.mktemp("cache")
        done = run_python(
            "-c", code, *args, env={"KERAS_BACKEND": name, "TRANSFERKIT_CACHE": cache, **environment}, timeout=600
        )
        assert done.returncode == 0, done.stderr

    return run


def pixels_of(files: list[Path], size: int, path: Path) -> Path:
    """Writes the images as uint8 (n, size, size, 3)."""
    np.save(path, np.stack([decode(file, DataConfig(image_size=size)) for file in files]))
    return path


@pytest.fixture(scope="module")
def saved(images, lively_weights, child, in_parallel, tmp_path_factory) -> Saved:
    folder = tmp_path_factory.mktemp("parity")
    (folder / "config.toml").write_text(settings.to_toml(run_config(images, lively_weights)))
    pixels = pixels_of(sorted(images.rglob("*.jpg")), 32, folder / "pixels.npy")
    in_parallel(lambda name: child(TRAIN, name, folder / "config.toml", folder / name), [(name,) for name in BACKENDS])

    answers = {pair: folder / f"{'-'.join(pair)}.npy" for pair in product(BACKENDS, BACKENDS)}

    def predict(loaded: str) -> None:
        files = [path for name in BACKENDS for path in (folder / name / "model.keras", answers[name, loaded])]
        # where the kit is installed as a package it may be found, but must not be needed
        child(PREDICT, loaded, loaded, pixels, *files, PYTHONPATH=None)

    in_parallel(predict, [(name,) for name in BACKENDS])
    runs = {name: Run.open(folder / name) for name in BACKENDS}
    return Saved(runs, {pair: np.load(path) for pair, path in answers.items()})


@pytest.mark.parametrize("trained", BACKENDS)
def test_a_saved_model_gives_the_same_probabilities_on_all_backends(saved, trained):
    here, *others = (saved.probabilities[trained, loaded] for loaded in BACKENDS)
    assert here.shape == (72, 3)
    assert np.ptp(here, axis=0).max() > 0.1, "the images look alike to the model: agreement would mean nothing"
    for there in others:
        print(f"trained on {trained}: probabilities differ by at most {np.abs(here - there).max():.1e}")
        np.testing.assert_allclose(here, there, atol=1e-5)


@pytest.mark.parametrize("trained", BACKENDS)
def test_a_saved_model_names_the_same_class_wherever_it_is_not_undecided(saved, trained):
    here, *others = (saved.probabilities[trained, loaded] for loaded in BACKENDS)
    margin = np.diff(np.sort(here, axis=1)[:, -2:], axis=1)[:, 0]
    decided = margin > 1e-4
    assert decided.mean() > 0.9
    for there in others:
        np.testing.assert_array_equal(here.argmax(axis=1)[decided], there.argmax(axis=1)[decided])


@pytest.fixture(scope="module")
def evaluated(saved, run_cli, in_parallel) -> dict[str, CompletedProcess]:
    """Trained on -> the command that scored that run again on another backend, the next one."""

    def evaluate(trained: str, other: str) -> CompletedProcess:
        return run_cli("evaluate", saved.runs[trained].path, "--backend", other, "--json")

    pairs = list(zip(BACKENDS, (*BACKENDS[1:], BACKENDS[0]), strict=True))
    return dict(zip(BACKENDS, in_parallel(evaluate, pairs), strict=True))


@pytest.mark.full
@pytest.mark.parametrize("trained", BACKENDS)
def test_a_run_evaluated_on_another_backend_scores_alike(saved, evaluated, trained):
    run, done = saved.runs[trained], evaluated[trained]
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    for split in ("train", "validation", "test"):
        recorded, now = (figures[split] for figures in (run.metrics, said["metrics"]))
        assert now["n"] == recorded["n"]
        # stores hold float16: an image may cross a bin of the calibration error or a tie, but the losses stay close
        assert now["log_loss"] == pytest.approx(recorded["log_loss"], rel=1e-2)


def features_differ(
    child, in_parallel, folder: Path, weights: Path | str, pixels: Path, alpha: float, backbone: str = "mobilenet_v2"
) -> float:
    """The greatest difference between the pooled features of any two backends."""
    files = [folder / f"{name}.npy" for name in BACKENDS]
    arguments = [(name, file) for name, file in zip(BACKENDS, files, strict=True)]
    in_parallel(lambda name, file: child(FEATURES, name, weights, pixels, file, alpha, backbone), arguments)
    features = [np.load(file) for file in files]
    assert np.ptp(features[0], axis=0).max() > 0.5, "the images have the same features: agreement would mean nothing"
    greatest = max(float(np.abs(one - other).max()) for one, other in combinations(features, 2))
    print(f"pooled features differ by at most {greatest:.1e}, of {np.abs(features[0]).max():.1f} at most")
    return greatest


@pytest.mark.full
def test_pooled_features_agree(images, lively_weights, child, in_parallel, tmp_path):
    pixels = pixels_of(sorted(images.rglob("*.jpg"))[::3], 64, tmp_path / "pixels.npy")
    assert features_differ(child, in_parallel, tmp_path, lively_weights, pixels, ALPHA) <= 1e-4


@pytest.mark.real
def test_pooled_features_of_real_images_agree(real_data, child, in_parallel, tmp_path):
    files = [file for flower in sorted((real_data / "flowers").iterdir()) for file in sorted(flower.glob("*.jpg"))[:8]]
    pixels = pixels_of(files, 224, tmp_path / "pixels.npy")
    weights = next((real_data / "weights").glob("mobilenet_v2_1.0_224*.h5"))
    assert features_differ(child, in_parallel, tmp_path, weights, pixels, 1.0) <= 1e-4


@pytest.mark.full
def test_pooled_features_of_a_packaged_network_agree(images, child, in_parallel, tmp_path):
    """Depthwise convolutions with strides, 5x5 and padded by the layer: own kernels on JAX, native ones elsewhere."""
    source = find("efficientnet_lite0").imagenet(1.0, 224)
    if package_file(source.package, source.file) is None:
        pytest.skip(f"needs the package {source.package} (extra `lite`)")
    pixels = pixels_of(sorted(images.rglob("*.jpg"))[::3], 64, tmp_path / "pixels.npy")
    assert features_differ(child, in_parallel, tmp_path, "imagenet", pixels, 1.0, "efficientnet_lite0") <= 1e-4
