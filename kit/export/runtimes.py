"""Exported models run in their own runtimes.

Each loader gives a function from uint8 (batch, S, S, 3), 0-255, to float32 (batch, classes), and the runtime's name.
"""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from kit.backends import current_name
from kit.run import Run

Forward = Callable[[np.ndarray], np.ndarray]
ORIGINAL = "original"


def load_runtime(name: str, run: Run, folder: Path) -> tuple[Forward, str]:
    """Load a model by a format's name, or by ORIGINAL: the run's own, as `transferkit predict` runs it."""
    loaders: dict[str, Callable[[], tuple[Forward, str]]] = {
        ORIGINAL: lambda: _original(run),
        "keras": lambda: _keras(folder / "model.keras", run),
        "saved_model": lambda: _saved_model(folder / "model"),
        "onnx": lambda: _onnx(folder / "model.onnx"),
        "litert": lambda: _litert(folder / "model.tflite"),
        "keras-hub": lambda: _keras_hub(folder),
    }
    return loaders[name]()


def _original(run: Run) -> tuple[Forward, str]:
    from kit import backends
    from kit.predict import Predictor

    name = backends.start(threads=run.config.threads)
    return Predictor.of(run).forward, f"Keras {version('keras')} on {name}"


def _keras(path: Path, run: Run) -> tuple[Forward, str]:
    from kit.model.catalog import is_hub
    from kit.model.loading import load_model

    model = load_model(path, hub=is_hub(run.config.model.backbone))
    return lambda pixels: np.asarray(model.predict_on_batch(pixels)), f"Keras {version('keras')} on {current_name()}"


def _saved_model(path: Path) -> tuple[Forward, str]:
    import tensorflow as tf

    model = tf.saved_model.load(str(path))
    return lambda pixels: model.serve(pixels).numpy(), f"TensorFlow {tf.__version__}"


def _onnx(path: Path) -> tuple[Forward, str]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"pixels": pixels})[0], f"ONNX Runtime {onnxruntime.__version__}"


def _litert(path: Path) -> tuple[Forward, str]:
    from ai_edge_litert.interpreter import Interpreter

    from kit.machine import available_threads

    # LiteRT's default is one thread; the other runtimes use all.
    runner = Interpreter(str(path), num_threads=available_threads()).get_signature_runner()
    return lambda pixels: runner(pixels=pixels)["output_0"], f"LiteRT {version('ai-edge-litert')}"


def _keras_hub(folder: Path) -> tuple[Forward, str]:
    import keras_hub

    model = keras_hub.models.ImageClassifier.from_preset(str(folder))
    name = f"KerasHub {version('keras-hub')} on {current_name()}"
    return lambda pixels: model.predict(pixels, batch_size=len(pixels), verbose=0), name
