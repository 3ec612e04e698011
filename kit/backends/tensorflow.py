"""TensorFlow, behind `kit.backends.protocol.Backend`."""

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from kit import progress
from kit.backends.protocol import Forward, Loss, Passes, Steps, Updates
from kit.machine import available_threads, environment
from kit.stage_clock import counted

if TYPE_CHECKING:
    import keras

    from kit.backends.kernels import Convolution

PACKAGES = ("tensorflow", "tensorflow-cpu", "tensorflow-macos")
# Read once, at import. TensorFlow by itself uses oneDNN only where the CPU has AVX-512 or newer; with AVX2 alone the
# trunk passes 91 images/s with it and 35 without, fine-tuning 147 and 105 (two cores; docs/performance.md).
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
FOLDS_NORMALISATION = True  # TensorFlow then fuses convolution, offset and activation into one kernel


def start(threads: int, quiet: bool) -> None:
    chosen_before = "tensorflow" in sys.modules
    with _native_log_dropped() if quiet else nullcontext(), environment(**{ONEDNN: os.environ.get(ONEDNN, "1")}):
        import tensorflow as tf

        if threads:
            with suppress(RuntimeError):  # the runtime was started elsewhere already: too late to choose
                tf.config.threading.set_intra_op_parallelism_threads(threads)
                tf.config.threading.set_inter_op_parallelism_threads(threads)
        _ = tf.zeros(()) + 1  # the first operation starts the runtime, which logs
    if chosen_before and _lacks_onednn():
        progress.say(
            "warning: TensorFlow was imported before transferkit, without its fast kernels for this CPU: 2.6 times as "
            f"slow. Set {ONEDNN}=1 in the environment before `import tensorflow` or `import keras`."
        )


def configure(undo: ExitStack) -> None:
    import tensorflow as tf
    from tensorflow.python.eager.context import context
    from tensorflow.python.util import _pywrap_determinism as determinism

    # what `tf.random.set_seed` and `enable_op_determinism` change; nothing public reads or restores it
    for name in ("_seed", "_rng"):
        undo.callback(setattr, context(), name, getattr(context(), name, None))
    undo.callback(determinism.enable, determinism.is_enabled())
    tf.config.experimental.enable_op_determinism()


def device() -> str:
    import tensorflow as tf

    kinds = {found.device_type for found in tf.config.list_physical_devices()}
    return "tpu" if "TPU" in kinds else "gpu" if "GPU" in kinds else "cpu"


def device_name() -> str:
    import tensorflow as tf

    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    return str(details.get("device_name", "GPU"))


def threads() -> int:
    import tensorflow as tf

    return tf.config.threading.get_intra_op_parallelism_threads() or available_threads()


def arithmetic() -> tuple[str, ...]:
    from tensorflow.python.util import _pywrap_util_port as build  # nothing public tells

    return ("onednn",) if build.IsMklEnabled() and device() == "cpu" else ()


def _lacks_onednn() -> bool:
    has_it = platform.machine().lower() in ("x86_64", "amd64")
    return has_it and device() == "cpu" and not arithmetic() and os.environ.get(ONEDNN) != "0"


def passes(kernels: str) -> Passes:
    return Passes()


def steps_per_call() -> int:
    return 16


def fastest_kernels() -> str:
    return "own" if device() == "cpu" else "stock"


def replacement(layer: "keras.layers.Layer") -> "Callable[..., Convolution] | None":
    """TensorFlow's own convolution, its fastest, so that the normalisation after it can be folded in."""
    from kit.backends.kernels import find_native

    return find_native(layer)


def compile_forward(model: "keras.Model", then: "keras.Model | None" = None, *, one_by_one: bool = False) -> Forward:
    import tensorflow as tf

    def call(x):
        outputs = model(x, training=False)
        return outputs if then is None else then(outputs, training=False)

    traced = tf.function(counted(call), autograph=False)

    def forward(x, given=None, /):
        outputs = traced(_constant(x))
        return [part.numpy() for part in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]

    return forward


def build_steps(model: "keras.Model", updates: Updates, loss: Loss) -> Steps:
    return TensorFlowSteps(model, updates, loss)


class TensorFlowSteps:
    """`kit.backends.protocol.Steps` on TensorFlow, whose variables are the state."""

    def __init__(self, model: "keras.Model", updates: Updates, loss: Loss):
        import tensorflow as tf

        from kit.backends.mixing import mix

        self.updates = updates

        def one(x, *batch):
            with tf.GradientTape() as tape:
                total, sums = loss(model(x, training=True), *batch)
                mean = total / tf.reduce_sum(batch[2])
            variables = model.trainable_variables
            gradients = tape.gradient(mean, variables)
            for group in updates.groups:
                chosen = [(gradients[place], variables[place]) for place in group.places]
                group.optimizer.apply(*zip(*chosen, strict=True))
            return sums

        def train(held, count, *order):
            def step(number, sums):
                now: Any = (None if values is None else values[number] for values in order)
                rows, labels, weights, mask, partners, shares, rate, momentum = now
                for group in updates.groups:
                    group.optimizer.learning_rate.assign(rate if group.scale == 1 else rate * group.scale)
                batch = (tf.gather(held, rows), labels, weights, mask)
                found = one(*(batch if partners is None else mix(*batch, partners, shares)))
                for average, variable in zip(updates.averages, model.trainable_variables, strict=False):
                    average.assign_add((variable - average) * (1 - momentum))
                return number + 1, [all_.write(number, value) for all_, value in zip(sums, found, strict=True)]

            sums = [tf.TensorArray(order[3].dtype, order[3].shape[0], element_shape=()) for _ in range(2)]
            _, sums = tf.while_loop(
                lambda number, _: number < count, step, (tf.constant(0), sums), parallel_iterations=1
            )
            return [values.stack() for values in sums]

        self._train = tf.function(counted(train), autograph=False)
        self._predict = tf.function(counted(lambda x: model(x, training=False)), autograph=False)

    def hold(self, samples):
        return _constant(samples)

    def train(self, held, order, learning_rates, momenta=None):
        taken = (order.steps, *order.arrays, learning_rates, momenta if self.updates.averages else None)
        return self._train(held, *(None if values is None else _constant(values) for values in taken))

    def predict(self, x):
        return self._predict(_constant(x)).numpy()

    def synchronise(self):
        """Nothing to do."""

    def reload(self):
        """Nothing to do."""


def _constant(array: np.ndarray):
    """A tensor, so that the function is traced by shape rather than value."""
    import tensorflow as tf

    return tf.constant(array)


@contextmanager
def _native_log_dropped() -> Iterator[None]:
    """Discard what native code writes to standard error, unless the body fails.

    TensorFlow 2.21 logs "oneDNN custom operations are on" before it reads any log level (measured: TF_CPP_MIN_LOG_LEVEL
    and ABSL_MIN_LOG_LEVEL change nothing); only turning oneDNN off, which costs speed, would silence it.
    """
    with tempfile.TemporaryFile() as log:
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            log.seek(0)
            os.write(kept, log.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
