"""Keys of the cache: what makes a result is in them, what does not is not."""

import json
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from doubles import swap
from kit import backends, machine
from kit.backends.recipes import recipe
from kit.config import DataConfig, RunConfig
from kit.data.pixels import pixel_store

pytestmark = pytest.mark.backend

KINDS = ("pixels", "features", "heads")
ACTIVATIONS = """
import sys
import keras, numpy, toy
from kit import backends
toy.use()
backends.own_process()
backends.start(threads=int(sys.argv[1]))
from kit.backends.kernels import choose
from kit.model.backbones import build_backbone
from kit.model.classifier import Classifier, build_head
from kit.training.forward import compile_from_pixels
for name, alpha in (("toy", 1.0), ("mobilenet_v2", 0.35)):
    backbone = build_backbone(name, 64, alpha)
    random = numpy.random.default_rng(0)
    for weight in backbone.model.weights:
        drawn = numpy.abs(random.normal(0.3, 0.3, weight.shape)).astype("float32")
        weight.assign(drawn * (0.2 if weight.ndim > 1 else 1))
    classifier = Classifier(backbone, build_head(backbone.model.output.shape[-1], 3, 8, 0.0, 0), choose("auto"))
    pixels = random.integers(0, 256, (20, 64, 64, 3), dtype=numpy.uint8)
    outputs = compile_from_pixels(classifier, tuple(backbone.cut(depth) for depth in (0, 1, 2)))(pixels)
    numpy.savez(sys.argv[2] + name, *outputs)
print(backends.current().threads())
"""


@pytest.fixture(autouse=True)
def _started():
    backends.start()


def recipes() -> dict[str, dict]:
    return {kind: json.loads(json.dumps(recipe(kind, {"given": 1}))) for kind in KINDS}


def changed(before: dict[str, dict]) -> set[str]:
    return {kind for kind, content in recipes().items() if content != before[kind]}


def test_another_processor_makes_other_activations_and_heads_but_the_same_pixels(monkeypatch):
    before = recipes()
    assert changed(before) == set()
    swap(monkeypatch, machine, "processor_features", lambda: "sse2")
    assert changed(before) == {"features", "heads"}


def test_other_threads_make_other_heads_alone(monkeypatch):
    before = recipes()
    swap(monkeypatch, import_module(f"kit.backends.{backends.current_name()}"), "threads", lambda: 17)
    assert changed(before) == {"heads"}


def test_another_version_of_the_backend_makes_other_activations_and_heads(monkeypatch):
    before = recipes()
    swap(monkeypatch, backends, "backend_version", lambda name: "0.0")
    assert changed(before) == {"features", "heads"}


@pytest.mark.parametrize("changes", [{"grey_range": (0, 4095)}, {"colour_profiles": False}, {"background": (0, 0, 0)}])
def test_other_decoding_makes_other_pixels(changes):
    config = RunConfig(data=DataConfig(path="a"))
    other = replace(config, data=replace(config.data, **changes))
    assert pixel_store(0, config).name != pixel_store(0, other).name
    moved = replace(config, threads=3, data=replace(config.data, path="b", near_duplicate_bits=0))
    assert pixel_store(0, config).name == pixel_store(0, moved).name


@pytest.mark.full
def test_activations_are_the_same_to_the_bit_on_any_number_of_threads(run_python, tmp_path):
    counts = set()
    for threads in (1, 2):
        done = run_python("-c", ACTIVATIONS, threads, tmp_path / f"{threads}-")
        assert done.returncode == 0, done.stderr
        counts.add(done.stdout.strip())
    assert counts == {"1", "2"}
    for name in ("toy", "mobilenet_v2"):
        one, two = (np.load(tmp_path / f"{threads}-{name}.npz") for threads in (1, 2))
        for key in one.files:
            assert np.ptp(one[key]) > 0
            np.testing.assert_array_equal(one[key], two[key])
