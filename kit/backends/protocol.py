"""Protocol of a backend's module. Importing such a module imports neither keras nor the backend."""

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

    `images` per pass; with `side_by_side` passes run in parallel, a thread each. Images of a pass go one by one until
    their activations have at most `together_at` positions (height times width); None: together from the pixels on.
    """

    images: int = 32
    side_by_side: bool = False
    together_at: int | None = None


class Forward(Protocol):
    """Inference with the weights that the model has when called, compiled anew for every batch size."""

    def __call__(self, x: np.ndarray, given: int | None = None, /) -> list[np.ndarray]:
        """Outputs of the model, each (batch, ...).

        Only the first `given` samples are wanted (None: all); outputs of the others are undefined.
        """


# logits (batch, classes), labels int (batch,), weights and mask (batch,), 0 for padding, to the sum of losses,
# and (sum of plain cross-entropy, sum of correct); of mixed samples also labels and weights of the partners, and the
# shares (batch,) of their own. In keras.ops.
Loss = Callable[..., tuple[Any, tuple[Any, Any]]]


@dataclass(frozen=True)
class Group:
    """Trainable variables of one learning rate, and an optimiser of their own, built already.

    `places` are their numbers among the model's trainable variables; `scale` times the rate of a step is theirs.
    """

    optimizer: "keras.optimizers.Optimizer"
    places: tuple[int, ...]
    scale: float = 1.0


@dataclass(frozen=True)
class Updates:
    """What a step changes: groups of variables, and moving averages of all, in the model's order; empty for none."""

    groups: tuple[Group, ...]
    averages: "tuple[keras.Variable, ...]" = ()

    @property
    def variables(self) -> "list[keras.Variable]":
        """State besides the model's: of the optimisers, then the averages."""
        return [*(variable for group in self.groups for variable in group.optimizer.variables), *self.averages]


class Steps(Protocol):
    """A model and its updates, some steps per call; batches have one shape, padded at the end."""

    updates: Updates

    def hold(self, samples: np.ndarray) -> Any:
        """Put training samples (n, ...) on the device, for `train`."""

    def train(self, held: Any, order: Order, learning_rates: np.ndarray, momenta: np.ndarray | None = None) -> Any:
        """Train on held samples, without returning to Python between steps.

        `order` gives the samples of each step; steps of padding alone at its end are skipped. `learning_rates`, and
        `momenta` of the moving averages (not read where there are none), are float32 (steps,). Returns (sum of plain
        cross-entropy, sum of correct) over unpadded samples: two arrays (steps,), on the device.
        """

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Logits, float32 (batch, classes), in inference mode."""

    def synchronise(self) -> None:
        """Write the state back to the Keras variables of model and updates."""

    def reload(self) -> None:
        """Read the state from the Keras variables, after they were assigned elsewhere."""


class Backend(Protocol):
    """Protocol of `kit/backends/<name>.py`; only `start` and PACKAGES are used before Keras is imported.

    PACKAGES are distribution names of the library: the first installed one tells its version. FOLDS_NORMALISATION:
    whether frozen batch normalisation is folded into the replaced convolution before it.
    """

    PACKAGES: tuple[str, ...]
    FOLDS_NORMALISATION: bool

    # === Start ===

    def start(self, threads: int, quiet: bool) -> None:
        """Import the library and start its runtime; called once, before Keras is imported.

        `threads` of the CPU (0: all) are ignored if the runtime was started before. `quiet` allows redirecting file
        descriptor 2 meanwhile.
        """

    def configure(self, undo: ExitStack) -> None:
        """Make a run deterministic, after Keras is imported; `undo` gets what restores the settings."""

    # === Device facts ===

    def device(self) -> str:
        """`cpu`, `gpu` or `tpu`."""

    def device_name(self) -> str:
        """Name of the accelerator; called only where `device` is not `cpu`."""

    def threads(self) -> int:
        """CPU threads of one operation."""

    def arithmetic(self) -> tuple[str, ...]:
        """What besides version and device decides the last bits of activations; part of cache keys."""

    # === How much at once ===

    def passes(self, kernels: str) -> Passes:
        """Fastest passes with `own` or `stock` kernels."""

    def steps_per_call(self) -> int:
        """Most training steps of one call of `Steps.train`."""

    # === Kernels ===

    def fastest_kernels(self) -> str:
        """`own` or `stock`: the meaning of `auto` on this device."""

    def replacement(self, layer: "keras.layers.Layer") -> "Callable[..., Convolution] | None":
        """Faster equivalent of a channels-last Conv2D or DepthwiseConv2D; None: Keras's own is the fastest."""

    # === Programs ===

    def compile_forward(
        self, model: "keras.Model", then: "keras.Model | None" = None, *, one_by_one: bool = False
    ) -> Forward:
        """Compile inference of `model`, followed by `then` on its output unless None.

        `one_by_one` passes images through `model` one after the other; a backend may ignore it.
        """

    def build_steps(self, model: "keras.Model", updates: Updates, loss: Loss) -> Steps:
        """Compile training steps."""
