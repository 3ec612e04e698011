"""PyTorch, behind `kit.backends.protocol.Backend`.

Keras computes channels-last convolutions on PyTorch by a view of the same memory, which PyTorch's own memory format
for it, channels_last, takes as it is. Nothing is compiled: layers run one after the other.
"""

import ctypes
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import numpy as np

from kit.backends.aside import keep_tensorflow_out
from kit.backends.protocol import Forward, Loss, Passes, Steps, Updates

if TYPE_CHECKING:
    import keras

    from kit.backends.kernels import Convolution

PACKAGES = ("torch",)
FOLDS_NORMALISATION = True  # as it stands, each normalisation is several passes over the activations


def start(threads: int, quiet: bool) -> None:
    import torch

    if threads:
        torch.set_num_threads(threads)
    if quiet:
        _keep_memory()


def _keep_memory() -> None:
    """Has glibc keep the memory that is freed, and take none by mmap.

    PyTorch frees each activation at once, and a large one that comes anew is cleared by the kernel, page by page: half
    of all time, in a virtual machine. It cannot be put back.
    """
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # another C library
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(-4, 0)  # M_MMAP_MAX
            mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
            mallopt(-2, 2**27)  # M_TOP_PAD


def configure(undo: ExitStack) -> None:
    import torch

    keep_tensorflow_out(undo)
    undo.callback(torch.use_deterministic_algorithms, torch.are_deterministic_algorithms_enabled())
    memory = torch.utils.deterministic
    undo.callback(setattr, memory, "fill_uninitialized_memory", memory.fill_uninitialized_memory)
    undo.callback(torch.random.set_rng_state, torch.random.get_rng_state())
    torch.use_deterministic_algorithms(True)
    # It would write NaN into all memory before an operation writes its results there: a third of the time.
    memory.fill_uninitialized_memory = False


def device() -> str:
    from keras.src.backend.torch.core import get_device  # nothing public tells where Keras computes

    return "cpu" if get_device() == "cpu" else "gpu"


def device_name() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "GPU"


def threads() -> int:
    import torch

    return torch.get_num_threads()


def arithmetic() -> tuple[str, ...]:
    import torch

    return (f"cpu_capability={torch.backends.cpu.get_cpu_capability()}",) if device() == "cpu" else ()


def passes(kernels: str) -> Passes:
    return Passes()


def steps_per_call() -> int:
    return 16


def fastest_kernels() -> str:
    return "own" if device() == "cpu" else "stock"


def replacement(layer: "keras.layers.Layer") -> "Callable[..., Convolution] | None":
    from kit.backends.torch_kernels import find_replacement

    return find_replacement(layer)


def compile_forward(model: "keras.Model", then: "keras.Model | None" = None, *, one_by_one: bool = False) -> Forward:
    import torch

    def forward(x, given=None, /):
        with torch.inference_mode():
            outputs = model(_tensor(x), training=False)
            outputs = outputs if then is None else then(outputs, training=False)
        return [part.cpu().numpy() for part in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]

    return forward


def build_steps(model: "keras.Model", updates: Updates, loss: Loss) -> Steps:
    return TorchSteps(model, updates, loss)


class TorchSteps:
    """`kit.backends.protocol.Steps` on PyTorch, whose variables are the state."""

    def __init__(self, model: "keras.Model", updates: Updates, loss: Loss):
        self.updates = updates
        self._model, self._loss = model, loss

    def hold(self, samples):
        return _tensor(samples)

    def train(self, held, order, learning_rates, momenta=None):
        import torch

        sums = torch.zeros((2, len(learning_rates)))
        arrays = [None if values is None else _tensor(values) for values in order.arrays]
        for number in range(order.steps):
            batch = [None if values is None else values[number] for values in arrays]
            sums[:, number] = torch.stack(self._step(held, batch, float(learning_rates[number])))
            if self.updates.averages:
                self._average(float(momenta[number]))
        return sums.numpy()

    def _step(self, held, batch, rate):
        import torch

        from kit.backends.mixing import mix

        rows, labels, weights, mask, partners, shares = batch
        own = (held[rows], labels, weights, mask)
        x, *labelled = own if partners is None else mix(*own, partners, shares)
        total, sums = self._loss(self._model(x, training=True), *labelled)
        variables = self._model.trainable_variables
        gradients = torch.autograd.grad(total / mask.sum(), [variable.value for variable in variables])
        with torch.no_grad():
            for group in self.updates.groups:
                group.optimizer.learning_rate.assign(rate if group.scale == 1 else rate * group.scale)
                chosen = [(gradients[place], variables[place]) for place in group.places]
                group.optimizer.apply(*zip(*chosen, strict=True))
        return [one.detach() for one in sums]

    def _average(self, momentum):
        import torch

        with torch.no_grad():
            for average, variable in zip(self.updates.averages, self._model.trainable_variables, strict=True):
                average.assign(average.value + (variable.value - average.value) * (1 - momentum))

    def predict(self, x):
        import torch

        with torch.inference_mode():
            return self._model(_tensor(x), training=False).cpu().numpy()

    def synchronise(self):
        """Nothing to do."""

    def reload(self):
        """Nothing to do."""


def _tensor(array: np.ndarray):
    """On the device; the array is copied where it may not be written to, as PyTorch demands."""
    from keras import ops

    return ops.convert_to_tensor(array if array.flags.writeable else array.copy())
