"""Inference, compiled by the backend: numpy in, numpy out."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from kit import backend
from kit.model.kernels import passes
from kit.programs import counted

Forward = Callable[[np.ndarray], list[np.ndarray]]


def compile_forward(model: keras.Model, one_by_one: bool = False) -> Forward:
    """Inference of a model with one or several outputs, compiled by this process's backend for every batch size.

    Args:
        model: What is computed.
        one_by_one: On JAX: takes one row after the other through the whole model, not all through each layer.
    """
    if keras.backend.backend() == "jax":
        import jax

        trainable = [variable.value for variable in model.trainable_variables]
        other = [variable.value for variable in model.non_trainable_variables]

        def call(trainable, other, x):
            def rows(x):
                return model.stateless_call(trainable, other, x, training=False)[0]

            if not one_by_one:
                return rows(x)
            return jax.lax.map(lambda row: jax.tree.map(lambda part: part[0], rows(row[None])), x)

        compiled = jax.jit(counted(call))
        return lambda x: [np.asarray(part) for part in _as_list(compiled(trainable, other, x))]
    import tensorflow as tf

    traced = tf.function(counted(lambda x: model(x, training=False)), autograph=False)
    # a tensor, so that it is traced for the shape and not for the values
    return lambda x: [part.numpy() for part in _as_list(traced(tf.constant(x)))]


def in_passes(forward: Forward, rows: int, at_once: int = 1) -> Forward:
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
        return [part[:given] for part in forward(x)]

    def run(x: np.ndarray) -> list[np.ndarray]:
        nonlocal compiled
        blocks = [x[start : start + rows] for start in range(0, len(x), rows)]
        alone = 1 if pool and not compiled else 0  # or several threads would compile the same
        parts = [one(block) for block in blocks[:alone]]
        parts += (pool.map if pool else map)(one, blocks[alone:])
        compiled = True
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    return run


def compile_from_pixels(model: keras.Model, kernels: str) -> Forward:
    """`compile_forward` of a model that begins at the pixels, for any number of photos, in the passes that suit best.

    Args:
        model: uint8 (batch, S, S, 3), 0-255, to one or several outputs.
        kernels: `stock` or `own`, what it computes with.
    """
    name = keras.backend.backend()
    found = passes(kernels, name, backend.device())
    threads = backend.threads_in_use(name) if found.side_by_side else 1
    return in_passes(compile_forward(model, found.one_by_one), found.rows, threads)


def _as_list(outputs) -> list:
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
