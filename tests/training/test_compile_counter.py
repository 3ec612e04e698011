"""How often the backend compiles: a number that neither epochs, nor images, nor a last partial batch change."""

from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest
from small import small_config

from image_files import make_images
from kit import backends
from kit.config import PhaseConfig
from kit.pipeline import train
from kit.stage_clock import compiled_so_far
from kit.training.forward import compile_forward, in_passes

pytestmark = [
    pytest.mark.backend,
    pytest.mark.skipif(keras.config.backend() == "torch", reason="PyTorch compiles nothing"),
]


def phases(epochs: int) -> tuple[PhaseConfig, ...]:
    return (
        PhaseConfig(name="head", epochs=epochs, learning_rate=1e-3),
        PhaseConfig(name="tail", epochs=epochs, unfreeze_depth=2, learning_rate=1e-3),
    )


@pytest.fixture
def tiny() -> keras.Model:
    backends.start()
    inputs = keras.Input((4,))
    return keras.Model(inputs, [keras.layers.Dense(3)(inputs), 2 * inputs])


@pytest.mark.full
def test_a_run_compiles_as_much_for_many_epochs_and_partial_batches_as_for_one(tmp_path):
    """27 and 40 images, of which neither fills its batches of 8."""
    found = []
    for number, (images, epochs) in enumerate([(9, 1), (13, 3)]):
        config = small_config(make_images(tmp_path / f"images{number}", ("a", "b", "c"), images), *phases(epochs))
        run = train(replace(config, views=replace(config.views, count=2)), tmp_path / f"run{number}")
        found.append({stage: measured["programs"] for stage, measured in run.manifest["stages"].items()})
    assert found[0] == found[1]
    assert found[0]["phase 1: head"] == found[0]["phase 2: tail"] == 2  # a step or an epoch of them, and validation
    assert found[0]["features"] == 2  # pixels to the deepest cut, and from there to the pooled features


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("rows", [1, 7, 8, 20])
def test_passes_give_the_rows_in_order_and_are_compiled_once(tiny, at_once, rows):
    given_in_order_and_compiled_once(tiny, lambda: in_passes(compile_forward(tiny), rows, at_once))


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("rows", [1, 7, 8, 20])
@pytest.mark.parametrize("split", [False, True])
def test_rows_one_by_one_are_given_in_order_and_compiled_once(tiny, at_once, rows, split):
    middle = keras.Input((4,))
    same = keras.Model(middle, keras.layers.Identity()(middle))
    models = (same, tiny) if split else (tiny,)
    compile_it = partial(backends.current().compile_forward, *models, one_by_one=True)
    given_in_order_and_compiled_once(tiny, lambda: in_passes(compile_it(), rows, at_once))


def given_in_order_and_compiled_once(tiny, compile_it):
    x = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    before = compiled_so_far()
    forward = compile_it()
    for count in (20, 3, 1):
        dense, doubled = forward(x[:count])
        np.testing.assert_array_equal(doubled, 2 * x[:count])
        np.testing.assert_allclose(dense, keras.ops.convert_to_numpy(tiny(x[:count])[0]), atol=1e-6)
    assert compiled_so_far() - before == 1
