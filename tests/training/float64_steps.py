"""Ten SGD steps in float64 with stock layers and with own kernels, from images to updates: how far apart are they?

A process of its own: the type of floats is settled before the backend starts. Run as
`float64_steps.py PIXELS.npy WEIGHTS ALPHA DEPTH RESULT.json`.
"""

import json
import sys
from dataclasses import replace

import numpy as np
from batchwise import one_step

from kit import backends
from kit.config import DataConfig, ModelConfig, RunConfig

STEPS, BATCH, CLASSES = 10, 8, 4


def main(pixels_file: str, weights: str, alpha: str, depth: str, result: str) -> None:
    backends.start()
    import keras

    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    _normalise_in_float64()
    from kit.model.weights import resolve
    from kit.training.checkpoints import assign, values_of
    from kit.training.forward import compile_forward
    from kit.training.loop import build_steps
    from kit.training.session import build_classifier

    pixels = np.load(pixels_file)
    assert len(pixels) == STEPS * BATCH
    labels = np.random.default_rng(0).integers(0, CLASSES, len(pixels)).astype(np.int32)
    size = pixels.shape[1]
    config = RunConfig(data=DataConfig(image_size=size), model=ModelConfig(alpha=float(alpha), weights=weights))
    found = resolve(weights, float(alpha), size)
    classifier = build_classifier(config, CLASSES, found)
    cut, bottom = classifier.backbone.cut(int(depth)), classifier.backbone.cut(-1)
    classifier.unfreeze(cut)
    full = classifier.full()
    before, ends = values_of(full.weights), []
    trunks = [compile_forward(replace(classifier, kernels=name).trunk(bottom, (cut,))) for name in ("stock", "own")]
    # Both tails take the stock trunk's activations. The stems' convolutions agree to 7e-16, but what Keras's batch
    # normalisation after them gives on JAX is of single precision: a last bit there turns a rounding (3e-8; seen on
    # JAX 0.12, where the last bits differ, and not on 0.10), which ten steps enlarge.
    stock_rows, own_rows = (np.concatenate([forward(some)[0] for some in batched(pixels)]) for forward in trunks)
    assert stock_rows.dtype == own_rows.dtype == np.float64
    for kernels in ("stock", "own"):
        assign(full.weights, before)
        one = replace(classifier, kernels=kernels)
        steps = build_steps(one.tail(cut, logits=True), keras.optimizers.SGD(1e-3), 0.0)
        for start in range(0, len(pixels), BATCH):
            one_step(
                steps,
                stock_rows[start : start + BATCH],
                labels[start : start + BATCH],
                np.ones(BATCH),
                np.ones(BATCH),
                1e-3,
            )
        steps.synchronise()
        ends.append(values_of(full.weights))
    stock, own = ends
    moved = [np.linalg.norm(end - start) for end, start in zip(stock, before, strict=True)]
    apart = [np.linalg.norm(other - end) for other, end in zip(own, stock, strict=True)]
    differences = [float(a / m) for a, m in zip(apart, moved, strict=True) if m]
    with open(result, "w") as file:
        trunk = float(abs(own_rows - stock_rows).max() / abs(stock_rows).max())
        json.dump({"trunk": trunk, "differences": differences, "trained": len(full.trainable_variables)}, file)


def _normalise_in_float64() -> None:
    """Batch normalisation of Keras 3.15 computes in float32, which it takes for the common type of that and float64.

    Where own kernels fold the normalisation in, that alone would be the difference found.
    """
    from keras.src import backend

    common = backend.result_type

    def widest(*types):
        named = list(map(backend.standardize_dtype, types))
        return "float64" if "float64" in named else common(*types)

    backend.result_type = widest


def batched(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]


if __name__ == "__main__":
    main(*sys.argv[1:])
