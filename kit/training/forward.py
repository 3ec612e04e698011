"""Inference, compiled by the backend: numpy in, numpy out."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import keras
import numpy as np

from kit import backend
from kit.compile_counter import counted
from kit.model.backbones import Cut
from kit.model.classifier import Classifier
from kit.model.kernels import SMALL, passes

Runner = Callable[[np.ndarray], list[np.ndarray]]  # any number of rows, one or more, to what each output is for each


class Forward(Protocol):
    """Inference, compiled anew for every number of rows."""

    def __call__(self, x: np.ndarray, given: int | None = None, /) -> list[np.ndarray]:
        """What each output of the model is for each row.

        Args:
            x: Rows.
            given: So many of them, the first ones, are wanted; what comes out for the others means nothing. None: all.
        """


def compile_forward(model: keras.Model) -> Forward:
    """Inference of a model with one or several outputs, compiled by this process's backend for every batch size."""
    if keras.backend.backend() == "jax":
        return _compiled_by_jax(lambda given, x, call: call(0, x), [model])
    import tensorflow as tf

    traced = tf.function(counted(lambda x: model(x, training=False)), autograph=False)
    # a tensor, so that it is traced for the shape and not for the values
    return lambda x, given=None, /: [part.numpy() for part in _as_list(traced(tf.constant(x)))]


def compile_one_by_one(alone: keras.Model, together: keras.Model | None) -> Forward:
    """On JAX: one row after the other through a model, then all of them through another.

    Args:
        alone: What a row goes through whole before the next one begins.
        together: What then takes all rows, layer by layer; None ends there.
    """
    import jax
    import jax.numpy as jnp

    def run(given, x, call):
        def row(number):
            return jax.tree.map(lambda part: part[0], call(0, jax.lax.dynamic_slice_in_dim(x, number, 1)))

        def advanced(number, filled):
            return jax.tree.map(lambda rows, one: rows.at[number].set(one), filled, row(number))

        empty = jax.tree.map(lambda one: jnp.zeros((len(x), *one.shape), one.dtype), jax.eval_shape(row, 0))
        filled = jax.lax.fori_loop(0, given, advanced, empty)
        return filled if together is None else call(1, filled)

    return _compiled_by_jax(run, [alone] if together is None else [alone, together])


def _compiled_by_jax(run: Callable, models: Sequence[keras.Model]) -> Forward:
    """`run`, given how many rows are wanted, the rows, and a function that calls a model by its number."""
    import jax

    def values(variables):
        return [variable.value for variable in variables]

    weights = [(values(model.trainable_variables), values(model.non_trainable_variables)) for model in models]

    def traced(weights, given, x):
        return run(given, x, lambda number, x: models[number].stateless_call(*weights[number], x, training=False)[0])

    compiled = jax.jit(counted(traced))

    def forward(x, given=None, /):
        outputs = compiled(weights, np.int32(len(x) if given is None else given), x)
        return [np.asarray(part) for part in _as_list(outputs)]

    return forward


def in_passes(forward: Forward, rows: int, at_once: int = 1) -> Runner:
    """Runs any number of rows, one or more, through `forward` by so many a pass; what lacks at the end is padded.

    One shape, so that it is compiled once.

    Args:
        forward: For batches of `rows`.
        rows: Of one pass.
        at_once: Passes that run side by side, each in a thread.
    """
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="forward") if at_once > 1 else None
    compiled = False

    def one(x: np.ndarray) -> list[np.ndarray]:
        given = len(x)
        if given < rows:
            x = np.concatenate([x, np.zeros((rows - given, *x.shape[1:]), x.dtype)])
        return [part[:given] for part in forward(x, given)]

    def run(x: np.ndarray) -> list[np.ndarray]:
        nonlocal compiled
        blocks = [x[start : start + rows] for start in range(0, len(x), rows)]
        alone = 1 if pool and not compiled else 0  # or several threads would compile the same
        parts = [one(block) for block in blocks[:alone]]
        parts += (pool.map if pool else map)(one, blocks[alone:])
        compiled = True
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    return run


def compile_from_pixels(classifier: Classifier, ends: tuple[Cut, ...] | None = None) -> Runner:
    """Inference that begins at the pixels, for any number of images, in the passes that suit best.

    Args:
        classifier: The network.
        ends: Where it ends, one output each; None ends at the probabilities.

    Returns:
        A function of uint8 (n, S, S, 3), 0-255.
    """
    name = keras.backend.backend()
    found = passes(classifier.kernels, name, backend.device())
    pixels = classifier.backbone.cut(-1)

    def between(start: Cut) -> keras.Model:
        return classifier.tail(start) if ends is None else classifier.trunk(start, ends)

    if not found.one_by_one:
        forward = compile_forward(between(pixels))
    elif middle := _first_small(classifier, max((end.depth for end in ends or ()), default=0)):
        forward = compile_one_by_one(classifier.trunk(pixels, (middle,)), between(middle))
    else:
        forward = compile_one_by_one(between(pixels), None)
    return in_passes(forward, found.rows, backend.threads_in_use(name) if found.side_by_side else 1)


def _first_small(classifier: Classifier, above: int) -> Cut | None:
    """The deepest cut whose activations have `SMALL` positions or fewer, the pixels and what lies above aside.

    Args:
        classifier: The network.
        above: The depth below which it must lie.
    """
    for cut in classifier.backbone.cuts[-2:above:-1]:
        if math.prod(classifier.shape(cut)[:-1]) <= SMALL:
            return cut
    return None


def _as_list(outputs) -> list:
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
