"""Images a second of one network on one backend; a child of other scripts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import common
import numpy as np
import typer

from kit import backends
from kit.config import DataConfig, ModelConfig, RunConfig
from kit.files import write_json

CLASSES = 5
CALL_SECONDS = 1.0  # of training, approximately
KERAS_BATCHES = 64  # in one call of Keras, at most
RATE = 1e-6  # learning rate
MATRICES = ((1568, 960, 160), (6272, 96, 576), (1024, 1024, 1024))  # rows, inner, columns: two of the network's own


class Work(NamedTuple):
    """Call to measure, its batches, multiply-adds of an image, seconds of the first batch."""

    call: Callable[[], object]
    batches: int
    multiply_adds: int
    first_seconds: float


def throughput(
    what: Annotated[str, typer.Argument(help="`forward`: pixels to pooled features; `train`: steps from a cut point.")],
    who: Annotated[
        str, typer.Option(help="`kit`; `layers`: Keras's layers in transferkit's calls; `keras`: its predict and fit.")
    ] = "kit",
    depth: Annotated[int, typer.Option(help="train: unfreeze depth; -1 for all.")] = 5,
    weights: Annotated[str, typer.Option(help="A weights file, or `none`.")] = "none",
    backbone: Annotated[str, typer.Option(help="Its weights are random, but for the default's.")] = "mobilenet_v2",
    image_size: Annotated[int, typer.Option(min=32)] = 224,
    alpha: Annotated[float, typer.Option()] = 1.0,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    seconds: Annotated[float, typer.Option(help="How long to measure, after compiling.")] = 5.0,
    jit: common.Jit = "auto",
    facts: Annotated[Path, typer.Option(help="Where to write what was measured, as JSON.")] = Path("facts.json"),
) -> None:
    """How many images a second pass through one network, forward or in training.

    The facts: those of common.rate_facts, the matrix rate being the best of three sizes; environment.
    """
    if who != "keras":
        backends.own_process()  # as the command line does
    backends.start()
    from kit.backends.kernels import OWN, STOCK
    from kit.model.weights import resolve
    from kit.training.session import build_classifier

    kernels = OWN if who == "kit" else STOCK
    model = ModelConfig(backbone=backbone, alpha=alpha, weights=weights, kernels=kernels)
    config = RunConfig(data=DataConfig(image_size=image_size), model=model)
    classifier = build_classifier(config, CLASSES, resolve(weights, alpha, image_size, backbone))
    if who == "keras":
        work = _by_keras(classifier, what, depth, batch_size, common.jit_compile(jit))
    else:
        work = _forward(classifier, batch_size) if what == "forward" else _training(classifier, depth, batch_size)
    found = [work.first_seconds, *common.measure(work.call, seconds)]
    matrix_rate = max(_matrix_rate(*shape) for shape in MATRICES)
    passes = 1 if what == "forward" else 3  # training: forward, gradients of the inputs, gradients of the kernels
    rate = common.rate_facts(found, work.batches * batch_size, work.multiply_adds, matrix_rate, passes)
    write_json(facts, {**rate, "environment": backends.describe()})


def _forward(classifier: Any, batch_size: int) -> Work:
    from kit.training.forward import compile_from_pixels

    forward = compile_from_pixels(classifier, (classifier.backbone.cut(0),))
    images = _rows(classifier, -1, batch_size)
    first = common.timed(lambda: forward(images))
    return Work(lambda: forward(images), 1, _multiply_adds(classifier, -1), first)


def _training(classifier: Any, depth: int, batch_size: int) -> Work:
    """Several training steps in one call, as in a phase."""
    import keras

    from kit.data.batches import Order
    from kit.training.loop import build_optimizer, build_steps, steps_at_once

    tail, rows = _tail(classifier, depth, logits=True), _rows(classifier, depth, batch_size)
    steps = build_steps(tail, build_optimizer("adam", 0.0), 0.0)
    at_once = steps_at_once(rows[0].nbytes, batch_size, backends.current().steps_per_call())
    shape = (at_once, batch_size)
    labels = _labels(at_once * batch_size).reshape(shape)
    ones = np.ones(shape, np.float32)
    order = Order(np.arange(at_once * batch_size, dtype=np.int32).reshape(shape), labels, ones, ones)
    rates = np.full(at_once, RATE, np.float32)
    held = steps.hold(np.concatenate([rows] * at_once))

    def run(batches: int) -> float:
        # reading the loss makes the host wait for the device
        part = order.part(0, batches).part(0, at_once)
        return float(np.sum(keras.ops.convert_to_numpy(steps.train(held, part, rates)[0])))

    # with Keras's layers on JAX a call of all these steps takes half a minute
    return _work(run, at_once, CALL_SECONDS, _multiply_adds(classifier, depth))


def _by_keras(classifier: Any, what: str, depth: int, batch_size: int, jit_compile: str | bool) -> Work:
    """Stock layers in Keras's own `predict` or `fit`."""
    import keras

    if what == "forward":
        depth = -1
        model = classifier.trunk(classifier.backbone.cut(-1), (classifier.backbone.cut(0),))
    else:
        model = _tail(classifier, depth)
    optimizer = keras.optimizers.Adam(RATE)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=jit_compile)
    rows = _rows(classifier, depth, batch_size)
    rows = rows.astype(np.float32) if rows.dtype == np.float16 else rows
    rows, labels = np.concatenate([rows] * KERAS_BATCHES), _labels(KERAS_BATCHES * batch_size)

    def run(batches: int) -> None:
        x, y = (values[: batches * batch_size] for values in (rows, labels))
        if what == "forward":
            model.predict(x, batch_size=batch_size, verbose=0)
        else:
            model.fit(x, y, batch_size=batch_size, verbose=0)

    # longer than transferkit's: a call of Keras has more overhead
    return _work(run, KERAS_BATCHES, 2 * CALL_SECONDS, _multiply_adds(classifier, depth))


def _work(run: Callable[[int], object], most: int, seconds: float, multiply_adds: int) -> Work:
    """Call of as many batches as take about `seconds`, at most `most`; `run` takes a number of batches."""
    first = common.timed(lambda: run(1))  # compiles
    one = min(common.timed(lambda: run(1)) for _ in range(2))
    made = max(1, min(most, round(seconds / one)))
    return Work(lambda: run(made), made, multiply_adds, first)


def _tail(classifier: Any, depth: int, *, logits: bool = False) -> Any:
    """Trained part of the network."""
    cut = classifier.backbone.cut(depth)
    classifier.unfreeze(cut)
    return classifier.tail(cut, logits=logits)


def _rows(classifier: Any, depth: int, count: int) -> np.ndarray:
    """Input at a depth: float16 activations, or uint8 pixels."""
    cut, random = classifier.backbone.cut(depth), np.random.default_rng(0)
    shape = (count, *classifier.shape(cut))
    if cut == classifier.backbone.cut(-1):
        return random.integers(0, 256, shape, np.uint8)
    return random.uniform(-1, 1, shape).astype(np.float16)


def _labels(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, CLASSES, count).astype(np.int32)


def _multiply_adds(classifier: Any, depth: int) -> int:
    """Multiply-adds of an image, forward, from a depth on."""
    from kit.backends.kernels import STOCK
    from kit.model.graph import multiply_adds

    return multiply_adds(replace(classifier, kernels=STOCK).tail(classifier.backbone.cut(depth)))


def _matrix_rate(rows: int, inner: int, columns: int) -> float:
    """Floating-point operations a second (two for each multiply-add) of the backend's own matrix product."""
    import keras

    random = np.random.default_rng(0)
    sides = [random.normal(size=shape).astype(np.float32) for shape in ((rows, inner), (inner, columns))]
    one, other = (keras.ops.convert_to_tensor(side) for side in sides)
    if keras.backend.backend() == "jax":
        import jax

        compiled = jax.jit(lambda a, b: a @ b)
        multiply = lambda: compiled(one, other).block_until_ready()  # noqa: E731
    elif keras.backend.backend() == "torch":
        multiply = lambda: (one @ other).cpu()  # noqa: E731
    else:
        import tensorflow as tf

        traced = tf.function(lambda a, b: a @ b)
        multiply = lambda: traced(one, other).numpy()  # noqa: E731
    multiply()
    return 2 * rows * inner * columns / min(common.timed(multiply) for _ in range(20))


if __name__ == "__main__":
    common.start(throughput)
