"""What each backend's module offers. Importing such a module imports neither keras nor the backend."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kit.data.batches import Order

if TYPE_CHECKING:
    import keras

    from kit.backends.kernels import Convolution


@dataclass(frozen=True)
class Passes:
    """How images pass through a network from the pixels on.

    Attributes:
        images: Images of one pass.
        side_by_side: True if passes run side by side, each on a thread.
        together_at: Images of a pass go one by one until their activations have at most this many positions, height
            times width; None: together from the pixels on.
    """

    images: int = 32
    side_by_side: bool = False
    together_at: int | None = None


class Forward(Protocol):
    """Inference, compiled anew for every batch size."""

    def __call__(self, x: np.ndarray, given: int | None = None, /) -> list[np.ndarray]:
        """Outputs of the model, each (batch, ...).

        Args:
            x: Samples (batch, ...).
            given: How many of them, the first ones, are wanted; None: all. Outputs of the others mean nothing.
        """


class Steps(Protocol):
    """A model and its optimiser, driven some steps at a time; every batch has the same shape, padded at its end."""

    def hold(self, samples: np.ndarray) -> Any:
        """Puts the samples that are trained on, (n, ...), on the device, for `train`."""

    def train(self, held: Any, order: Order, learning_rates: np.ndarray) -> Any:
        """Steps over held samples, without coming back to Python between them.

        Args:
            held: What `hold` returned.
            order: What each step takes; steps at its end that are padding alone are not made.
            learning_rates: Of each step, float32 (steps,).

        Returns:
            (sum of plain cross-entropy, sum of correct) over the unpadded samples, for each step: two arrays (steps,),
            on the device.
        """

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probabilities, float32 (batch, classes), in inference mode."""

    def synchronise(self) -> None:
        """Writes the state back into the Keras variables of model and optimiser."""

    def reload(self) -> None:
        """Reads the state from the Keras variables, after someone else assigned them."""


class Backend(Protocol):
    """The contract of `kit/backends/<name>.py`; only `start` and PACKAGES are used before Keras is imported.

    Attributes:
        PACKAGES: Names under which the library may be installed; the first that is tells its version.
        FOLDS_NORMALISATION: Whether frozen batch normalisation is folded into the replaced convolution before it.
    """

    PACKAGES: tuple[str, ...]
    FOLDS_NORMALISATION: bool

    # === Start ===

    def start(self, threads: int, quiet: bool) -> None:
        """Imports the library and starts its runtime; called once, before Keras is imported.

        Args:
            threads: CPU threads it may use; 0: all. Ignored where its runtime was started before.
            quiet: Whether file descriptor 2 may be redirected meanwhile.
        """

    def configure(self, undo: ExitStack) -> None:
        """Sets what a run needs, determinism above all, after Keras is imported; `undo` gets what puts it back."""

    # === Device facts ===

    def device(self) -> str:
        """`cpu`, `gpu` or `tpu`."""

    def device_name(self) -> str:
        """The accelerator's name; called where `device` is not `cpu`."""

    def threads(self) -> int:
        """CPU threads that one operation uses."""

    def arithmetic(self) -> tuple[str, ...]:
        """What else than version and device decides the last bits of activations; part of the cache's keys."""

    # === How much at once ===

    def passes(self, kernels: str) -> Passes:
        """The fastest passes with `own` or `stock` kernels."""

    def steps_per_call(self) -> int:
        """Training steps of one call of `Steps.train`, at most."""

    # === Kernels ===

    def fastest_kernels(self) -> str:
        """`own` or `stock`, what the setting `auto` means on this device."""

    def replacement(self, layer: "keras.layers.Layer") -> "Callable[..., Convolution] | None":
        """The faster equivalent of a channels-last Conv2D or DepthwiseConv2D; None: Keras's own is the fastest."""

    # === Programs ===

    def compile_forward(
        self, model: "keras.Model", then: "keras.Model | None" = None, *, one_by_one: bool = False
    ) -> Forward:
        """Compiles inference.

        Args:
            model: The network, with one or several outputs.
            then: Reads the output of `model`; None ends there.
            one_by_one: Images go through `model` one after the other. May be ignored.
        """

    def build_steps(
        self, model: "keras.Model", optimizer: "keras.optimizers.Optimizer", label_smoothing: float
    ) -> Steps:
        """Compiles training steps; the optimiser is built."""
