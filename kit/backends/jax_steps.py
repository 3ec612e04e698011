"""Programs compiled by JAX, with options for correct and repeatable results; training steps, several a program."""

import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from kit.backends.protocol import Group, Loss, Updates
from kit.stage_clock import counted

if TYPE_CHECKING:
    import keras

# jaxlib 0.10.2 sums more than 32,768 rows wrongly on a CPU (https://github.com/jax-ml/jax/issues/39103); 0.12.0 does
# not. Of what XLA hands to YNNPACK by default, this leaves out reductions, and keeps matrix products and convolutions.
SUMS_WRONGLY = ((0, 10, 2), (0, 12, 0))  # versions of jaxlib: from, and before
YNN_FUSION = "xla_cpu_experimental_ynn_fusion_type"
ALL_BUT_REDUCTIONS = "LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION,LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"
# Parts of a batch that are trained side by side on a CPU. Fixed, not the number of threads: a run must give the same
# numbers on any number of them.
SIDE_BY_SIDE = 2


def device() -> str:
    import jax

    return {"cuda": "gpu", "rocm": "gpu"}.get(jax.default_backend(), jax.default_backend())


def compiler_options() -> dict[str, str | bool]:
    """XLA options for this device and jaxlib version."""
    first_wrong, first_right = SUMS_WRONGLY
    if device() == "gpu":
        return {"xla_gpu_deterministic_ops": True}
    if first_wrong <= _jaxlib_version() < first_right and YNN_FUSION not in os.environ.get("XLA_FLAGS", ""):
        return {YNN_FUSION: ALL_BUT_REDUCTIONS}
    return {}


def compile_program(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit` with `compiler_options`, counted."""
    import jax

    return jax.jit(counted(function), compiler_options=compiler_options())


def _jaxlib_version() -> tuple[int, ...]:
    return tuple(int(part) for part in version("jaxlib").split(".")[:3])


class JaxSteps:
    """`kit.backends.protocol.Steps` on JAX."""

    def __init__(self, model: "keras.Model", updates: Updates, loss: Loss):
        import jax
        import jax.numpy as jnp

        from kit.backends.kernels import keeps_keras_convolutions
        from kit.backends.mixing import mix

        self._model, self.updates = model, updates
        on_cpu = device() == "cpu"
        # Within a loop XLA computes the gradients of its own convolutions many times slower on a CPU: those of 3x3 on
        # 28x28x128 in 1,160 ms instead of 38. Their replacements avoid that.
        loops = not on_cpu or not keeps_keras_convolutions(model)
        # a head alone is too little work to divide; and what keeps Keras's layers trains as Keras does, to the bit
        sides = SIDE_BY_SIDE if on_cpu and loops and len(model.input_shape) == 4 else 1

        def forward(trainable, other, images, x, *batch):
            logits, other = model.stateless_call(trainable, other, x, training=True)
            total, sums = loss(logits, *batch)
            return total / images, (other, sums)

        def gradients_of(trainable, other, *batch):
            """Gradients of a batch, summed over independent parts of it."""
            parts = sides if len(batch[0]) % sides == 0 else 1
            images, found = jnp.sum(batch[3]), []
            for samples in zip(*(jnp.split(values, parts) for values in batch), strict=True):
                samples = jax.lax.optimization_barrier(samples)  # or XLA would merge them again
                (_, (other, sums)), gradients = jax.value_and_grad(forward, has_aux=True)(
                    trainable, other, images, *samples
                )
                found.append((gradients, sums))
            gradients, sums = jax.tree.map(lambda *parts: sum(parts), *found)
            return gradients, other, sums

        def advanced(number, carry, held, order):
            trainable, other, states, averages, totals = carry
            now = jax.tree.map(lambda values: values[number], order)
            rows, labels, weights, mask, partners, shares, rate, momentum = now
            batch = (held[rows], labels, weights, mask)
            batch = batch if partners is None else mix(*batch, partners, shares)
            gradients, other, sums = gradients_of(trainable, other, *batch)
            trainable, states = _apply(updates.groups, states, gradients, trainable, rate)
            pairs = zip(averages, trainable, strict=True) if averages else ()
            averages = [average + (value - average) * (1 - momentum) for average, value in pairs]
            totals = [t.at[number].set(one) for t, one in zip(totals, sums, strict=True)]
            return trainable, other, states, averages, totals

        def train(trainable, other, states, averages, held, count, *order):
            carry = trainable, other, states, averages, [jnp.zeros(len(order[3]), order[3].dtype)] * 2
            return jax.lax.fori_loop(0, count, lambda number, carry: advanced(number, carry, held, order), carry)

        def train_in_python(trainable, other, states, averages, held, count, *order):
            carry = trainable, other, states, averages, [np.zeros(len(order[3]), order[3].dtype)] * 2
            for number in range(count):
                carry = one_step(np.int32(number), carry, held, order)
            return carry

        def predict(trainable, other, x):
            return model.stateless_call(trainable, other, x, training=False)[0]

        one_step = compile_program(advanced)
        self._train = compile_program(train) if loops else train_in_python
        self._predict = compile_program(predict)
        self._trainable: list[Any]
        self._other: list[Any]
        self._states: list[list[Any]]  # of each group
        self._averages: list[Any]
        self.reload()

    def hold(self, samples):
        from keras import ops

        return ops.convert_to_tensor(samples)

    def train(self, held, order, learning_rates, momenta=None):
        taken = (*order.arrays, learning_rates, momenta if self._averages else None)
        self._trainable, self._other, self._states, self._averages, sums = self._train(
            self._trainable, self._other, self._states, self._averages, held, order.steps, *taken
        )
        return sums

    def predict(self, x):
        return np.asarray(self._predict(self._trainable, self._other, x))

    def synchronise(self):
        for variables, values in (
            (self._model.trainable_variables, self._trainable),
            (self._model.non_trainable_variables, self._other),
            (self.updates.variables, [*(value for state in self._states for value in state), *self._averages]),
        ):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    def reload(self):
        self._trainable = [variable.value for variable in self._model.trainable_variables]
        self._other = [variable.value for variable in self._model.non_trainable_variables]
        self._states = [[variable.value for variable in group.optimizer.variables] for group in self.updates.groups]
        self._averages = [variable.value for variable in self.updates.averages]


def _apply(
    groups: Sequence[Group], states: list[list[Any]], gradients: list[Any], trainable: list[Any], rate: Any
) -> tuple[list[Any], list[list[Any]]]:
    """New values of the trainable variables, and of the state of each group's optimiser."""
    trainable, new = list(trainable), []
    for group, state in zip(groups, states, strict=True):
        own, optimizer = rate if group.scale == 1 else rate * group.scale, group.optimizer
        pairs = zip(optimizer.variables, state, strict=True)
        state = [own if variable is optimizer.learning_rate else value for variable, value in pairs]
        chosen = [[values[place] for place in group.places] for values in (gradients, trainable)]
        values, state = optimizer.stateless_apply(state, *chosen)
        new.append(state)
        for place, value in zip(group.places, values, strict=True):
            trainable[place] = value
    return trainable, new
