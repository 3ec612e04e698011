"""Parity check: the run's test images through the original and the exported model, each in its own runtime.

An export is kept only if no probability of any image differs by more than the tolerance, and no strangeness where it
has one; where its numbers are smaller than the original's, if it is not less accurate than allowed, in place of the
former.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from kit.backends import current_name
from kit.export.formats import FLOAT32, OUTPUTS, STRANGENESS_TOLERANCE, TOLERANCE
from kit.run import Run
from kit.run_images import split_images
from kit.significance import effective_n, wilson_interval

SPLITS = ("test", "validation", "train")  # the first that has images
Forward = Callable[[np.ndarray], np.ndarray]
ORIGINAL = "original"


@dataclass(frozen=True)
class ParityImages:
    """n images of a split that both models are run on; `labels` are class indices, int (n,).

    `groups` (n,) names images that are not independent; empty where all are.
    """

    split: str
    files: tuple[Path, ...]
    labels: np.ndarray
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parity:
    """Agreement of an exported model with the original.

    Attributes:
        tolerance: Greatest difference of a probability allowed.
        greatest_difference: Of two probabilities of the same image and class; None if one is NaN or infinite.
        agreement: Share of images with the same predicted class (top-1 agreement).
        accuracy, accuracy_interval: Of the exported model, with its 95% Wilson interval.
        allowed_loss: Of accuracy, 0 to 1; it decides in place of the tolerance, None where that does.
        strangeness_difference: Greatest of the strangeness, beyond 1 as a share of the original's; infinite if one is
            not a number, None where the exported model has none.
        strangeness_tolerance: Greatest of that allowed.
    """

    split: str
    images: int
    tolerance: float
    greatest_difference: float | None
    agreement: float
    accuracy: float
    accuracy_interval: tuple[float, float]
    original_accuracy: float
    allowed_loss: float | None = None
    strangeness_difference: float | None = None
    strangeness_tolerance: float | None = None

    @property
    def loss(self) -> float:
        """Accuracy of the original less that of the export."""
        return self.original_accuracy - self.accuracy

    @property
    def passed(self) -> bool:
        if self.greatest_difference is None or not self.as_strange:
            return False
        if self.allowed_loss is not None:
            return self.loss <= self.allowed_loss + 1e-9  # as decimal numbers: 0.91 - 0.90 is 0.01
        return self.greatest_difference <= self.tolerance

    @property
    def as_strange(self) -> bool:
        """Whether no strangeness differs by more than allowed."""
        if self.strangeness_difference is None or self.strangeness_tolerance is None:
            return True
        return self.strangeness_difference <= self.strangeness_tolerance

    def describe(self) -> str:
        """Difference and agreement as one clause."""
        if not self.as_strange:
            off = (
                f"a strangeness is off by {self.strangeness_difference:.1e}, "
                f"where {self.strangeness_tolerance:g} is allowed"
            )
        elif self.greatest_difference is None:
            off = "some of its probabilities are not numbers, or it gives another number of them"
        elif self.allowed_loss is not None:
            off = (
                f"accuracy falls from {self.original_accuracy:.3f} to {self.accuracy:.3f}, "
                f"by {self.loss:.3f} where {self.allowed_loss:g} is allowed"
            )
        else:
            off = f"a probability is off by {self.greatest_difference:.1e}, where {self.tolerance:.0e} is allowed"
        return f"{off}; {self.agreement:.1%} of {self.images:,} {self.split} images get the same class"

    def to_dict(self) -> dict[str, Any]:
        """Entry `gate` of export.json."""
        fields = asdict(self) | {"accuracy_interval": list(self.accuracy_interval)}
        if self.strangeness_difference is None:
            del fields["strangeness_difference"], fields["strangeness_tolerance"]
        return {"photos" if name == "images" else name: value for name, value in fields.items()}


def parity_images(run: Run, moved: str | None = None) -> ParityImages:
    """Images of the test split, or of the next split that has any; DataError if some are no longer there.

    `moved`: where the run's images lie now, if not where they were.
    """
    samples = run.samples
    kept = samples[samples["finding"].isna()]
    return images_of(run, next(name for name in SPLITS if (kept["split"] == name).any()), moved)


def images_of(run: Run, split: str, moved: str | None = None) -> ParityImages:
    """Images of a split; otherwise as `parity_images`."""
    files, rows = split_images(run, split, moved, f"transferkit export {run.path} --format FORMAT")
    classes = {name: i for i, name in enumerate(run.manifest["classes"])}
    labels = np.array([classes[label] for label in rows["label"]])
    return ParityImages(split, files, labels, tuple(rows["group"]))


def compare(
    images: ParityImages,
    original: np.ndarray,
    exported: np.ndarray,
    tolerance: float = TOLERANCE,
    allowed_loss: float | None = None,
    strangeness: tuple[np.ndarray, np.ndarray] | None = None,
    strangeness_tolerance: float = STRANGENESS_TOLERANCE[FLOAT32],
) -> Parity:
    """Compare the probabilities (n, classes) of two models for the same n images, and the strangeness (n,) of both."""
    n = len(images.labels)
    stranger = None
    if strangeness is not None:
        old, new = strangeness
        apart = float((np.abs(old.astype(np.float64) - new) / np.maximum(1, old)).max())
        stranger = apart if np.isfinite(apart) else float("inf")
    independent = effective_n(images.groups) or n
    right = {name: int((p.argmax(1) == images.labels).sum()) for name, p in (("old", original), ("new", exported))}
    difference = np.abs(original.astype(np.float64) - exported).max() if original.shape == exported.shape else np.nan
    return Parity(
        split=images.split,
        images=n,
        tolerance=tolerance,
        greatest_difference=float(difference) if np.isfinite(difference) else None,
        agreement=float((original.argmax(1) == exported.argmax(1)).mean()),
        accuracy=right["new"] / n,
        accuracy_interval=wilson_interval(independent * (right["new"] / n), independent),
        original_accuracy=right["old"] / n,
        allowed_loss=allowed_loss,
        strangeness_difference=stranger,
        strangeness_tolerance=None if stranger is None else strangeness_tolerance,
    )


def compare_files(original: np.ndarray, exported: np.ndarray, pixels_off: np.ndarray) -> dict[str, Any]:
    """Entry `from_files` of export.json: a runtime that decodes image files by itself, beside the original.

    Rows of probabilities (n, classes) are NaN for files that the runtime cannot decode; `pixels_off` (n,) is the mean
    difference of a channel, 0 to 255, from the run's own pixels.
    """
    read = np.isfinite(exported).all(1)
    apart = np.abs(original.astype(np.float64) - exported)[read].max(1)
    same = original[read].argmax(1) == exported[read].argmax(1)
    return {
        "photos": len(read),
        "unreadable": int((~read).sum()),
        "agreement": float(same.mean()) if len(same) else None,
        "greatest_difference": float(apart.max()) if len(same) else None,
        "median_difference": float(np.median(apart)) if len(same) else None,
        "pixels_off_by": float(pixels_off[read].mean()) if len(same) else None,
    }


def load_runtime(name: str, run: Run, folder: Path, *, strangeness: bool = False) -> tuple[Forward, str]:
    """Load a model by a format's name, or by ORIGINAL: the run's own, as `transferkit predict` runs it.

    With `strangeness`, which the model must have, that is one more column behind the probabilities.
    """
    loaders: dict[str, Callable[[], tuple[Forward, str]]] = {
        ORIGINAL: lambda: _original(run, strangeness),
        "keras": lambda: _keras(folder / "model.keras", run, strangeness),
        "saved_model": lambda: _saved_model(folder / "model", strangeness),
        "onnx": lambda: _onnx(folder / "model.onnx", strangeness),
        "litert": lambda: _litert(folder / "model.tflite", strangeness),
        "openvino": lambda: _openvino(folder / "model.xml", strangeness),
        "keras-hub": lambda: _keras_hub(folder),
        "web": lambda: _web(folder / "model.html"),
    }
    return loaders[name]()


def _beside(found: Any) -> np.ndarray:
    """Both outputs of a model, by name, side by side."""
    return np.concatenate([np.asarray(found[name]) for name in OUTPUTS], axis=1)


def _original(run: Run, strangeness: bool) -> tuple[Forward, str]:
    from kit import backends
    from kit.predict import Predictor

    name = backends.start(threads=run.config.threads)
    predictor = Predictor.of(run)
    measure = predictor.measure
    found = f"Keras {version('keras')} on {name}"
    if not strangeness:
        return predictor.forward, found
    assert measure is not None, "the run has a threshold of strangeness"
    return lambda pixels: np.column_stack(measure(pixels)), found


def _keras(path: Path, run: Run, strangeness: bool) -> tuple[Forward, str]:
    from kit.model.catalog import is_hub
    from kit.model.loading import load_model

    model = load_model(path, hub=is_hub(run.config.model.backbone))
    read = _beside if strangeness else np.asarray
    return lambda pixels: read(model.predict_on_batch(pixels)), f"Keras {version('keras')} on {current_name()}"


def _saved_model(path: Path, strangeness: bool) -> tuple[Forward, str]:
    import tensorflow as tf

    model = tf.saved_model.load(str(path))
    read = _beside if strangeness else np.asarray
    return lambda pixels: read(model.serve(pixels)), f"TensorFlow {tf.__version__}"


def _onnx(path: Path, strangeness: bool) -> tuple[Forward, str]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs = list(OUTPUTS) if strangeness else None
    name = f"ONNX Runtime {onnxruntime.__version__}"
    return lambda pixels: np.concatenate(session.run(outputs, {"pixels": pixels}), axis=1), name


def _litert(path: Path, strangeness: bool) -> tuple[Forward, str]:
    from ai_edge_litert.interpreter import Interpreter

    from kit.machine import available_threads

    # LiteRT's default is one thread; the other runtimes use all.
    runner = Interpreter(str(path), num_threads=available_threads()).get_signature_runner()
    read = _beside if strangeness else lambda found: found["output_0"]
    return lambda pixels: read(runner(pixels=pixels)), f"LiteRT {version('ai-edge-litert')}"


def _openvino(path: Path, strangeness: bool) -> tuple[Forward, str]:
    import openvino

    # Of itself OpenVINO computes in bfloat16 where the CPU can, which is another model.
    model = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    read = _beside if strangeness else lambda found: found[0].copy()
    return lambda pixels: read(model(pixels)), f"OpenVINO {version('openvino')}"


def _keras_hub(folder: Path) -> tuple[Forward, str]:
    import keras_hub

    model = keras_hub.models.ImageClassifier.from_preset(str(folder))
    name = f"KerasHub {version('keras-hub')} on {current_name()}"
    return lambda pixels: model.predict(pixels, batch_size=len(pixels), verbose=0), name


def _web(page: Path) -> tuple[Forward, str]:
    from kit.export.browser import BrowserModel
    from kit.export.web_page import RUNTIME

    model = BrowserModel(page)
    return model, f"{RUNTIME} in Chromium {model.version}"
