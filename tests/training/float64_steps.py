"""Ten SGD steps in float64 with stock layers and with own kernels, from photos to updates: how far apart are they?

A process of its own: the type of floats is settled before the backend starts. Run as
`float64_steps.py PIXELS.npy WEIGHTS ALPHA DEPTH RESULT.json`.
"""

import json
import sys
from dataclasses import replace

import numpy as np
from batchwise import one_step

from kit import backend
from kit.config import DataConfig, ModelConfig, RunConfig

STEPS, BATCH, CLASSES = 10, 8, 4


def main(pixels_file: str, weights: str, alpha: str, depth: str, result: str) -> None:
    backend.start()
    import keras

    keras.config.set_floatx("float64")
    from kit.model.weights import resolve
    from kit.training.forward import compile_forward
    from kit.training.phases import arrays, assign
    from kit.training.session import build_classifier
    from kit.training.steps import build_steps

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
    before, ends = arrays(full.weights), []
    for kernels in ("stock", "own"):
        assign(full.weights, before)
        one = replace(classifier, kernels=kernels)
        forward = compile_forward(one.trunk(bottom, (cut,)))
        steps = build_steps(one.tail(cut), keras.optimizers.SGD(1e-3), 0.0)
        for start in range(0, len(pixels), BATCH):
            (rows,) = forward(pixels[start : start + BATCH])
            assert rows.dtype == np.float64
            one_step(steps, rows, labels[start : start + BATCH], np.ones(BATCH), np.ones(BATCH), 1e-3)
        steps.synchronise()
        ends.append(arrays(full.weights))
    stock, own = ends
    moved = [np.linalg.norm(end - start) for end, start in zip(stock, before, strict=True)]
    apart = [np.linalg.norm(other - end) for other, end in zip(own, stock, strict=True)]
    differences = [float(a / m) for a, m in zip(apart, moved, strict=True) if m]
    with open(result, "w") as file:
        json.dump({"differences": differences, "trained": len(full.trainable_variables)}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
