"""Networks: backbone, head, cut points, kernels, pretrained weights, saved models."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def undrawn() -> Iterator[None]:
    """Zeros for random initial weights within a context, in this thread: for networks whose weights are then loaded.

    JAX compiles a program for each shape of a random draw, half a second apiece: MobileNetV2 has forty.
    """
    import keras
    import numpy as np

    kinds = [getattr(keras.initializers, name) for name in ("VarianceScaling", "TruncatedNormal", "RandomNormal")]
    drawn = {kind: kind.__call__ for kind in kinds}
    own = threading.get_ident()

    def replaced(kind):
        def call(self, shape, dtype=None, **options):
            if threading.get_ident() != own:
                return drawn[kind](self, shape, dtype, **options)
            return np.zeros(shape, keras.backend.standardize_dtype(dtype))

        return call

    for kind in kinds:
        kind.__call__ = replaced(kind)
    try:
        yield
    finally:
        for kind in kinds:
            kind.__call__ = drawn[kind]
