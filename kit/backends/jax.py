"""JAX, behind `kit.backends.protocol.Backend`.

FASTEST_PASSES: XLA runs layer after layer over a whole batch, and divides a layer among threads that wait for each
other. At 112 x 112 px the activations of 32 images exceed a processor's cache, so single images, a thread each, are
faster. At 14 x 14 positions reading the weights costs more than the activations do. Medians of eight rounds, images/s:
219 by images alone to the end, 231 from 7 x 7 on together, 238 from 14 x 14; from 28 x 28, no more.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING

import numpy as np

from kit.backends.aside import keep_tensorflow_out
from kit.backends.jax_steps import compile_program, compiler_options, device
from kit.backends.protocol import Forward, Loss, Passes, Steps, Updates
from kit.machine import available_threads, cache_folder, environment, processor_key

if TYPE_CHECKING:
    import keras

    from kit.backends.kernels import Convolution

PACKAGES = ("jax",)
FOLDS_NORMALISATION = False  # XLA fuses it into its neighbours by itself; folding was measured to be slower

COMPILED_BYTES = 2**30  # kept of JAX's compiled programs, the last used ones
COMPILED_FROM_SECONDS = 0.1  # what compiles faster is not worth a file

FASTEST_PASSES = Passes(8, side_by_side=True, together_at=14 * 14)

_threads = 0


def start(threads: int, quiet: bool) -> None:
    global _threads
    import jax
    from jax._src import xla_bridge  # nothing public tells whether the client exists

    chosen = "" if xla_bridge.backends_are_initialized() or not threads else str(threads)
    # XLA's CPU client sizes its thread pools by NPROC. Pinning to CPUs instead would put all workers of a study,
    # each of which starts with one thread, on the very same ones.
    with environment(NPROC=chosen) if chosen else nullcontext():
        limit = os.environ.get("NPROC", "")
        _threads = int(limit) if limit.isdecimal() and int(limit) else available_threads()
        jax.devices()


def configure(undo: ExitStack) -> None:
    keep_tensorflow_out(undo)
    _keep_compiled_programs(undo)


def device_name() -> str:
    import jax

    return str(jax.devices()[0].device_kind)


def threads() -> int:
    return _threads


def arithmetic() -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in compiler_options().items() if device() == "cpu")


def passes(kernels: str) -> Passes:
    return FASTEST_PASSES if kernels == "own" and device() == "cpu" else Passes()


def steps_per_call() -> int:
    return 16  # one a call takes half as long again (two cores, from block 13 on: 166 images/s, 253 by sixteen)


def fastest_kernels() -> str:
    return "own" if device() == "cpu" else "stock"


def replacement(layer: "keras.layers.Layer") -> "Callable[..., Convolution] | None":
    from kit.backends.jax_kernels import find_replacement

    return find_replacement(layer)


def compile_forward(model: "keras.Model", then: "keras.Model | None" = None, *, one_by_one: bool = False) -> Forward:
    import jax
    import jax.numpy as jnp

    models = [model] if then is None else [model, then]
    variables = [(one.trainable_variables, one.non_trainable_variables) for one in models]

    def traced(weights, given, x):
        def call(number, x):
            return models[number].stateless_call(*weights[number], x, training=False)[0]

        def alone(number):
            return jax.tree.map(lambda part: part[0], call(0, jax.lax.dynamic_slice_in_dim(x, number, 1)))

        def filled(number, outputs):
            return jax.tree.map(lambda rows, one: rows.at[number].set(one), outputs, alone(number))

        if one_by_one:
            empty = jax.tree.map(lambda one: jnp.zeros((len(x), *one.shape), one.dtype), jax.eval_shape(alone, 0))
            outputs = jax.lax.fori_loop(0, given, filled, empty)
        else:
            outputs = call(0, x)
        return outputs if then is None else call(1, outputs)

    compiled = compile_program(traced)

    def forward(x, given=None, /):
        weights = [(_values(trainable), _values(other)) for trainable, other in variables]
        outputs = compiled(weights, np.int32(len(x) if given is None else given), x)
        return [np.asarray(part) for part in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]

    return forward


def build_steps(model: "keras.Model", updates: Updates, loss: Loss) -> Steps:
    from kit.backends.jax_steps import JaxSteps

    return JaxSteps(model, updates, loss)


def _values(variables) -> list:
    return [variable.value for variable in variables]


def _keep_compiled_programs(undo: ExitStack) -> None:
    """Cache XLA's compiled programs on disk, so that the next process starts at once.

    Respects JAX_COMPILATION_CACHE_DIR, or an empty one for none. The folder is named after the processor: XLA compiles
    for its exact instructions, and several machines may share a home folder.
    """
    import jax
    from jax.experimental.compilation_cache.compilation_cache import reset_cache

    folder = cache_folder() / "compiled" / processor_key()
    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_compilation_cache_max_size": COMPILED_BYTES,
        "jax_persistent_cache_min_compile_time_secs": COMPILED_FROM_SECONDS,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or before["jax_compilation_cache_dir"] is not None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # only a convenience: what needs the cache folder reports the error
    undo.callback(reset_cache)  # it is opened at the first compilation, and would stay
    for name, value in settings.items():
        undo.callback(jax.config.update, name, before[name])
        jax.config.update(name, value)
    reset_cache()
