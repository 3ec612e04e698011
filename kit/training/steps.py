"""Training steps, compiled by the backend.

Keras's own `fit` is not used, for three reasons: its state cannot be stopped and resumed to the bit, it compiles again
for the last partial batch, and the training loss it reports is the smoothed and weighted one. Optimisers, losses and
layers are Keras's.
"""

from collections.abc import Callable
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops

from kit import backend
from kit.compile_counter import counted
from kit.data.batches import Order
from kit.model.kernels import side_by_side, trains_in_a_loop

UNDECAYED = ("bias",)  # weight decay pulls weights towards zero; biases have no reason to be there


class Steps(Protocol):
    """A model and its optimiser, driven some steps at a time; every batch has the same shape, padded at its end."""

    def hold(self, rows: np.ndarray) -> Any:
        """Puts rows that are trained on, (n, ...), on the device, for `train`."""

    def train(self, held: Any, order: Order, learning_rates: np.ndarray) -> Any:
        """Steps over held rows, without coming back to Python between them.

        Args:
            held: What `hold` returned.
            order: What each step takes; steps at its end that are padding alone are not made.
            learning_rates: Of each step, float32 (steps,).

        Returns:
            (sum of plain cross-entropy, sum of correct) over the unpadded rows, for each step: two arrays (steps,), on
            the device.
        """

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probabilities, float32 (batch, classes), in inference mode."""

    def synchronise(self) -> None:
        """Writes the state back into the Keras variables of model and optimiser."""

    def reload(self) -> None:
        """Reads the state from the Keras variables, after someone else assigned them."""


def build_optimizer(name: str, weight_decay: float) -> keras.optimizers.Optimizer:
    """An optimiser of Keras; its learning rate is set at every step."""
    decay = weight_decay or None
    builders: dict[str, Callable[[], keras.optimizers.Optimizer]] = {
        "adam": lambda: keras.optimizers.Adam(weight_decay=decay),
        "adamw": lambda: keras.optimizers.AdamW(weight_decay=weight_decay),
        "sgd": lambda: keras.optimizers.SGD(momentum=0.9, nesterov=True, weight_decay=decay),
        "rmsprop": lambda: keras.optimizers.RMSprop(weight_decay=decay),
    }
    optimizer = builders[name]()
    if decay:
        optimizer.exclude_from_weight_decay(var_names=list(UNDECAYED))
    return optimizer


def build_steps(model: keras.Model, optimizer: keras.optimizers.Optimizer, label_smoothing: float) -> Steps:
    """The steps of this process's backend."""
    optimizer.build(model.trainable_variables)
    kinds: dict[str, Callable[[keras.Model, keras.optimizers.Optimizer, float], Steps]]
    kinds = {"jax": _JaxSteps, "tensorflow": _TensorFlowSteps}
    return kinds[keras.backend.backend()](model, optimizer, label_smoothing)


def _loss(probabilities, labels, weights, mask, smoothing: float):
    """Sum of weighted cross-entropy against smoothed labels, and the plain sums for the history.

    Args:
        probabilities: (batch, classes).
        labels: Class numbers, int (batch,).
        weights: Class weight of each row, 0 for padding, float (batch,).
        mask: 1 for an image, 0 for padding, float (batch,).
        smoothing: Share of each label spread over all classes.

    Returns:
        (sum of losses, (sum of plain cross-entropy, sum of correct)).
    """
    target = ops.one_hot(labels, probabilities.shape[-1], dtype=probabilities.dtype)
    plain = keras.losses.categorical_crossentropy(target, probabilities)
    smoothed = (
        keras.losses.categorical_crossentropy(target, probabilities, label_smoothing=smoothing) if smoothing else plain
    )
    correct = ops.cast(ops.equal(ops.argmax(probabilities, axis=-1), ops.cast(labels, "int32")), mask.dtype)
    return ops.sum(smoothed * weights), (ops.sum(plain * mask), ops.sum(correct * mask))


def _made(order: Order) -> np.int32:
    """How many steps have images."""
    return np.int32(order.mask.any(axis=1).sum())


class _JaxSteps:
    def __init__(self, model: keras.Model, optimizer: keras.optimizers.Optimizer, smoothing: float):
        import jax
        import jax.numpy as jnp

        self._model, self._optimizer = model, optimizer
        rate_index = next(i for i, variable in enumerate(optimizer.variables) if variable is optimizer.learning_rate)
        loops = backend.device() != "cpu" or trains_in_a_loop(model)
        # a head alone is too little work to divide; and what keeps Keras's layers trains as Keras does, to the bit
        sides = side_by_side("jax", backend.device()) if loops and len(model.input_shape) == 4 else 1

        def forward(trainable, other, images, x, labels, weights, mask):
            probabilities, other = model.stateless_call(trainable, other, x, training=True)
            loss, sums = _loss(probabilities, labels, weights, mask, smoothing)
            return loss / images, (other, sums)

        def gradients_of(trainable, other, *batch):
            """The batch's gradients, as the sum of those of its parts: nothing of one waits for another."""
            parts = sides if len(batch[0]) % sides == 0 else 1
            images, found = jnp.sum(batch[-1]), []
            for rows in zip(*(jnp.split(values, parts) for values in batch), strict=True):
                rows = jax.lax.optimization_barrier(rows)  # or XLA would put them together again
                (_, (other, sums)), gradients = jax.value_and_grad(forward, has_aux=True)(
                    trainable, other, images, *rows
                )
                found.append((gradients, sums))
            gradients, sums = jax.tree.map(lambda *parts: sum(parts), *found)
            return gradients, other, sums

        def advanced(number, carry, held, order):
            trainable, other, state, totals = carry
            rows, labels, weights, mask, rate = (values[number] for values in order)
            state = [rate if i == rate_index else value for i, value in enumerate(state)]
            gradients, other, sums = gradients_of(trainable, other, held[rows], labels, weights, mask)
            trainable, state = optimizer.stateless_apply(state, gradients, trainable)
            return trainable, other, state, [t.at[number].set(one) for t, one in zip(totals, sums, strict=True)]

        def train(trainable, other, state, held, count, *order):
            carry = trainable, other, state, [jnp.zeros(len(order[3]), order[3].dtype)] * 2
            return jax.lax.fori_loop(0, count, lambda number, carry: advanced(number, carry, held, order), carry)

        def train_in_python(trainable, other, state, held, count, *order):
            carry = trainable, other, state, [np.zeros(len(order[3]), order[3].dtype)] * 2
            for number in range(count):
                carry = one_step(np.int32(number), carry, held, order)
            return carry

        def predict(trainable, other, x):
            return model.stateless_call(trainable, other, x, training=False)[0]

        one_step = jax.jit(counted(advanced))
        self._train = jax.jit(counted(train)) if loops else train_in_python
        self._predict = jax.jit(counted(predict))
        self._trainable: list[Any]
        self._other: list[Any]
        self._state: list[Any]
        self.reload()

    def hold(self, rows):
        return ops.convert_to_tensor(rows)

    def train(self, held, order, learning_rates):
        taken = (order.rows, order.labels, order.weights, order.mask, learning_rates)
        self._trainable, self._other, self._state, sums = self._train(
            self._trainable, self._other, self._state, held, _made(order), *taken
        )
        return sums

    def predict(self, x):
        return np.asarray(self._predict(self._trainable, self._other, x))

    def synchronise(self):
        for variables, values in (
            (self._model.trainable_variables, self._trainable),
            (self._model.non_trainable_variables, self._other),
            (self._optimizer.variables, self._state),
        ):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    def reload(self):
        self._trainable = [variable.value for variable in self._model.trainable_variables]
        self._other = [variable.value for variable in self._model.non_trainable_variables]
        self._state = [variable.value for variable in self._optimizer.variables]


class _TensorFlowSteps:
    def __init__(self, model: keras.Model, optimizer: keras.optimizers.Optimizer, smoothing: float):
        import tensorflow as tf

        def one(*batch):
            x, labels, weights, mask = batch
            with tf.GradientTape() as tape:
                loss, sums = _loss(model(x, training=True), labels, weights, mask, smoothing)
                loss = loss / tf.reduce_sum(mask)
            optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
            return sums

        def train(held, count, *order):
            def step(number, sums):
                rows, labels, weights, mask, rate = (values[number] for values in order)
                optimizer.learning_rate.assign(rate)
                found = one(tf.gather(held, rows), labels, weights, mask)
                return number + 1, [all_.write(number, value) for all_, value in zip(sums, found, strict=True)]

            sums = [tf.TensorArray(order[3].dtype, order[3].shape[0], element_shape=()) for _ in range(2)]
            _, sums = tf.while_loop(
                lambda number, _: number < count, step, (tf.constant(0), sums), parallel_iterations=1
            )
            return [values.stack() for values in sums]

        self._train = tf.function(counted(train), autograph=False)
        self._predict = tf.function(counted(lambda x: model(x, training=False)), autograph=False)

    def hold(self, rows):
        return _constant(rows)

    def train(self, held, order, learning_rates):
        taken = (_made(order), order.rows, order.labels, order.weights, order.mask, learning_rates)
        return self._train(held, *map(_constant, taken))

    def predict(self, x):
        return self._predict(_constant(x)).numpy()

    def synchronise(self):
        """Nothing to do: TensorFlow's variables are the state."""

    def reload(self):
        """Nothing to do: TensorFlow's variables are the state."""


def _constant(array: np.ndarray):
    """A tensor, so that the function is traced for its shape and not for its values."""
    import tensorflow as tf

    return tf.constant(array)
