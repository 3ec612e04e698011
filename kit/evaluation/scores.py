"""Scores of one split, through scikit-learn.

Everywhere n is the number of images and c of classes; probabilities are float (n, c), 0 to 1, rows adding up to 1;
labels are int (n,), 0 to c - 1. The class predicted is the most probable one, the first of several.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kit.evaluation.calibration import apply_temperature, calibration_error
from kit.evaluation.significance import wilson_interval

SMALLEST_PROBABILITY = float(np.finfo(np.float32).eps)
TOP_5_FROM = 11


@dataclass(frozen=True)
class Scores:
    """Scores of `n` images. One that is undefined (n = 0) or does not apply is None, never NaN.

    Attributes:
        accuracy_interval: 95% Wilson interval, (low, high).
        macro_f1: Mean F1 over the classes that occur among labels or predictions.
        log_loss: Mean of -ln p(label), p clipped at SMALLEST_PROBABILITY; no smoothing, no class weights.
        log_loss_scaled: After temperature scaling, as `calibration_error_scaled`; None without a temperature.
        calibration_error: Expected calibration error, 15 equal-width bins.
        top_5_accuracy: None up to ten classes.
        confusion: Counts; row = label, column = predicted, in the order of the classes.
        per_class: Class name -> precision, recall, f1 (0 where undefined) and support (images of that class).
    """

    n: int
    accuracy: float | None
    accuracy_interval: tuple[float, float] | None
    macro_f1: float | None
    log_loss: float | None
    log_loss_scaled: float | None
    calibration_error: float | None
    calibration_error_scaled: float | None
    top_5_accuracy: float | None
    confusion: tuple[tuple[int, ...], ...]
    per_class: dict[str, dict[str, float | int]]

    def to_dict(self) -> dict[str, Any]:
        """Entry of metrics.json; every key is always there."""
        interval = None if self.accuracy_interval is None else list(self.accuracy_interval)
        return asdict(self) | {"accuracy_interval": interval, "confusion": [list(row) for row in self.confusion]}


def score(
    probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str], temperature: float | None = None
) -> Scores:
    """Score one split; n may be 0, and the c class names must differ.

    `temperature` is `fit_temperature`'s on validation; None leaves the scaled scores None. Raises ValueError if shapes,
    ranges or names do not fit together.
    """
    from sklearn import metrics

    probabilities, labels = _checked(probabilities, labels)
    n, codes = len(labels), range(len(class_names))
    if probabilities.shape[1] != len(codes) or len(set(class_names)) != len(codes):
        raise ValueError(f"{probabilities.shape[1]} classes need as many different names, not {list(class_names)}")
    if n == 0:
        nothing = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
        zeros = tuple((0,) * len(codes) for _ in codes)
        return Scores(
            0, None, None, None, None, None, None, None, None, zeros, {name: dict(nothing) for name in class_names}
        )
    predicted = probabilities.argmax(axis=1)
    scaled = None if temperature is None else apply_temperature(probabilities, temperature)
    confusion = metrics.confusion_matrix(labels, predicted, labels=codes)
    *parts, _ = metrics.precision_recall_fscore_support(labels, predicted, labels=codes, zero_division=0)
    columns = (column.tolist() for column in (*parts, confusion.sum(axis=1)))
    correct = int(confusion.trace())
    return Scores(
        n=n,
        accuracy=correct / n,
        accuracy_interval=wilson_interval(correct, n),
        macro_f1=float(metrics.f1_score(labels, predicted, average="macro", zero_division=0)),
        log_loss=log_loss(probabilities, labels),
        log_loss_scaled=None if scaled is None else log_loss(scaled, labels),
        calibration_error=calibration_error(probabilities, labels),
        calibration_error_scaled=None if scaled is None else calibration_error(scaled, labels),
        top_5_accuracy=top_k_accuracy(probabilities, labels, 5) if len(codes) >= TOP_5_FROM else None,
        confusion=tuple(map(tuple, confusion.tolist())),
        per_class={
            name: {"precision": precision, "recall": recall, "f1": f1, "support": support}
            for name, precision, recall, f1, support in zip(class_names, *columns, strict=True)
        },
    )


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean of -ln p(label), in nats; p clipped from below at SMALLEST_PROBABILITY (2**-23, so at most 15.9 an image).

    Not scikit-learn's: it warns of rows whose sums are rounded, as those of float32 are.
    """
    chosen = np.asarray(probabilities, dtype=np.float64)[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(chosen, SMALLEST_PROBABILITY, 1.0)).mean())


def top_k_accuracy(probabilities: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of images whose label is among the k most probable classes.

    Ties go to the first classes, as in `argmax`; scikit-learn's go to the last.
    """
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((best == labels[:, None]).any(axis=1).mean())


def _checked(probabilities: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (n, c) and int64 (n,), or ValueError."""
    table, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if table.ndim != 2 or table.shape[1] < 1 or truth.shape != table.shape[:1]:
        raise ValueError(f"probabilities must be (n, c) and labels (n,), not {table.shape} and {truth.shape}")
    if len(truth) == 0:
        return table, truth.astype(np.int64)
    if truth.dtype.kind not in "iu" or truth.min() < 0 or truth.max() >= table.shape[1]:
        raise ValueError(f"labels must be whole numbers from 0 to {table.shape[1] - 1}")
    # float16 probabilities of many classes add up to 1 only within about 1e-3
    if not (np.isfinite(table).all() and table.min() >= 0 and np.abs(table.sum(axis=1) - 1).max() < 2e-3):
        raise ValueError("each row of probabilities must be of numbers from 0 to 1 that add up to 1")
    return table, truth.astype(np.int64)
