"""Scores that can be believed: with intervals (kit.significance) and calibration. Knows numpy, no keras.

Everywhere n is the number of images and c of classes; probabilities are float (n, c), 0 to 1, rows adding up to 1;
labels are int (n,), 0 to c - 1. The class predicted is the most probable one, the first of several. Wrong shapes and
ranges are the caller's mistake: ValueError.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np

from kit.significance import wilson_interval

SMALLEST_PROBABILITY = float(np.finfo(np.float32).eps)
TEMPERATURES = (0.05, 20.0)
TOP_5_FROM = 11
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Scores:
    """How good a model is on one split. A score that is undefined (n = 0) or does not apply is None, never NaN.

    Attributes:
        n: Images scored.
        accuracy: Share classified correctly.
        accuracy_interval: Its 95% Wilson interval, (low, high).
        macro_f1: Mean F1 over the classes that occur among labels or predictions.
        log_loss: Mean of -ln p(label), p clipped at SMALLEST_PROBABILITY; no smoothing, no class weights.
        log_loss_scaled: The same after temperature scaling; None where no temperature was given.
        calibration_error: Expected calibration error, 15 equal-width bins.
        calibration_error_scaled: The same after temperature scaling; None where no temperature was given.
        top_5_accuracy: Share whose label is among the five most probable classes; None up to ten classes.
        confusion: Row = label, column = predicted: counts, in the order of the classes.
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
        """An entry of metrics.json; every key is always there."""
        interval = None if self.accuracy_interval is None else list(self.accuracy_interval)
        return asdict(self) | {"accuracy_interval": interval, "confusion": [list(row) for row in self.confusion]}


def score(
    probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str], temperature: float | None = None
) -> Scores:
    """Scores one split.

    Args:
        probabilities: Float (n, c); n may be 0.
        labels: Int (n,).
        class_names: The c names, each once.
        temperature: What `fit_temperature` found on validation; None leaves the scaled scores None.
    """
    probabilities, labels = _checked(probabilities, labels)
    classes = len(class_names)
    if probabilities.shape[1] != classes or len(set(class_names)) != classes:
        raise ValueError(f"{probabilities.shape[1]} classes need as many different names, not {list(class_names)}")
    n = len(labels)
    matrix = confusion(labels, probabilities.argmax(axis=1), classes)
    correct = int(matrix.trace())
    scaled = None if temperature is None else apply_temperature(probabilities, temperature)
    return Scores(
        n=n,
        accuracy=correct / n if n else None,
        accuracy_interval=wilson_interval(correct, n) if n else None,
        macro_f1=macro_f1(matrix),
        log_loss=log_loss(probabilities, labels),
        log_loss_scaled=None if scaled is None else log_loss(scaled, labels),
        calibration_error=calibration_error(probabilities, labels),
        calibration_error_scaled=None if scaled is None else calibration_error(scaled, labels),
        top_5_accuracy=top_k_accuracy(probabilities, labels, 5) if classes >= TOP_5_FROM else None,
        confusion=tuple(tuple(row) for row in matrix.tolist()),
        per_class=per_class(matrix, class_names),
    )


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    """Mean of -ln p(label), in nats; p clipped from below at SMALLEST_PROBABILITY (2**-23, so at most 15.9 an image).

    None for n = 0.
    """
    probabilities, labels = _checked(probabilities, labels)
    if len(labels) == 0:
        return None
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(chosen, SMALLEST_PROBABILITY, 1.0)).mean())


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float | None:
    """Expected calibration error: sum over bins of n_b / n · |accuracy_b - confidence_b|.

    C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, On calibration of modern neural networks, ICML 2017, eq. 3. An image's
    confidence is its greatest probability; bin b holds confidences in ((b - 1) / bins, b / bins].

    Returns:
        0 to 1; None for n = 0.
    """
    probabilities, labels = _checked(probabilities, labels)
    if len(labels) == 0:
        return None
    confidence = np.minimum(probabilities.max(axis=1), 1.0)
    correct = probabilities.argmax(axis=1) == labels
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence, side="left")
    # n_b · |accuracy_b - confidence_b| is the absolute sum of the differences
    gaps = np.bincount(place, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts, int64 (classes, classes): row = label, column = predicted; both int (n,), 0 to classes - 1."""
    labels, predicted = np.asarray(labels, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    if labels.shape != predicted.shape or labels.ndim != 1:
        raise ValueError(f"labels and predicted must be (n,), not {labels.shape} and {predicted.shape}")
    if len(labels) and not 0 <= min(labels.min(), predicted.min()) <= max(labels.max(), predicted.max()) < classes:
        raise ValueError(f"labels and predicted must be from 0 to {classes - 1}")
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def per_class(matrix: np.ndarray, class_names: Sequence[str]) -> dict[str, dict[str, float | int]]:
    """Precision, recall and F1 (0 to 1; 0 where undefined) and support of each class, from a confusion matrix."""
    precision, recall, f1 = _precision_recall_f1(matrix)
    return {
        name: {
            "precision": float(precision[i]),
            "recall": float(recall[i]),
            "f1": float(f1[i]),
            "support": int(matrix[i].sum()),
        }
        for i, name in enumerate(class_names)
    }


def macro_f1(matrix: np.ndarray) -> float | None:
    """Mean F1 over the classes that occur among labels or predictions, as scikit-learn's; None for n = 0."""
    occurs = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
    return float(_precision_recall_f1(matrix)[2][occurs].mean()) if occurs.any() else None


def top_k_accuracy(probabilities: np.ndarray, labels: np.ndarray, k: int) -> float | None:
    """Share of images whose label is among the k most probable classes (ties: the first classes); None for n = 0."""
    probabilities, labels = _checked(probabilities, labels)
    if len(labels) == 0:
        return None
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((best == labels[:, None]).any(axis=1).mean())


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T that minimises the log loss of softmax(ln p / T): Guo et al. 2017, section 4.2.

    In b = 1 / T the loss is convex (a log-sum-exp of terms linear in b), so its derivative, mean of
    E_softmax[ln p] - ln p(label), rises and has at most one zero: bisection finds it.

    Args:
        probabilities: Float (n, c), of images that were not trained on (validation).
        labels: Int (n,).

    Returns:
        T within TEMPERATURES: over 1 where the model is too sure of itself. At the lower bound where every image is
        classified right, 1 where nothing can be fitted: no images, or T changes nothing.
    """
    probabilities, labels = _checked(probabilities, labels)
    logits = _log(probabilities)
    spread = logits - logits.max(axis=1, keepdims=True, initial=-math.inf)
    if len(labels) == 0 or not spread.any():
        return 1.0
    chosen = spread[np.arange(len(labels)), labels].mean()
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    if _slope(spread, chosen, low) >= 0:
        return TEMPERATURES[1]
    if _slope(spread, chosen, high) <= 0:
        return TEMPERATURES[0]
    for _ in range(60):  # the width, 20, falls below the spacing of float64
        middle = (low + high) / 2
        low, high = (low, middle) if _slope(spread, chosen, middle) > 0 else (middle, high)
    return float(2 / (low + high))


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(ln p / temperature), float64 (n, c): the order of the classes stays. A p of 0 counts as 1.2e-38."""
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be more than 0 and finite, not {temperature}")
    return _softmax(_log(np.asarray(probabilities, dtype=np.float64)) / temperature)


def summarise_seeds(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and spread of every number over runs that differ in their seed alone.

    Args:
        metrics: One metrics dict a run, nested as metrics.json is.

    Returns:
        The same nesting; in place of each number {"mean", "standard_deviation" (n - 1 in the denominator; None for one
        run), "low", "high", "runs" (those that have the number)}. Lists, texts and what is None in every run drop out.
    """
    summary: dict[str, Any] = {}
    for key in dict.fromkeys(key for run in metrics for key in run):
        values = [run[key] for run in metrics if run.get(key) is not None]
        if values and all(isinstance(value, Mapping) for value in values):
            summary[key] = summarise_seeds(values)
        elif values and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            summary[key] = {
                "mean": fmean(values),
                "standard_deviation": stdev(values) if len(values) > 1 else None,
                "low": min(values),
                "high": max(values),
                "runs": len(values),
            }
    return summary


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


def _precision_recall_f1(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    hits, predicted, support = matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)

    def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return part / np.maximum(whole, 1)  # a whole of 0 has a part of 0

    return ratio(hits, predicted), ratio(hits, support), ratio(2 * hits, predicted + support)


def _log(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities, _TINY))


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-math.inf))
    return powers / powers.sum(axis=1, keepdims=True)


def _slope(logits: np.ndarray, chosen: float, inverse: float) -> float:
    """Derivative of the mean log loss by 1 / T."""
    return float((_softmax(logits * inverse) * logits).sum(axis=1).mean() - chosen)
