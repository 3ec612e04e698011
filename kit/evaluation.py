"""Scores of one split, and calibration: temperature scaling and calibration error.

Calibration follows C. Guo et al., On calibration of modern neural networks, ICML 2017: its sections and equations.

Everywhere n is the number of images and c of classes; probabilities are float (n, c), 0 to 1, rows adding up to 1;
labels are int (n,), 0 to c - 1. The class predicted is the most probable one, the first of several.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kit.significance import effective_n, wilson_interval

TEMPERATURES = (0.5, 5.0)
# Standard deviation of ln T around 0 before any image is seen: half and twice are as likely as each other, and usual.
PRIOR_SPREAD = math.log(2)
FEWEST_ERRORS = 5  # with fewer, the share of errors is known to no better than half of itself
_TINY = float(np.finfo(np.float32).tiny)
SMALLEST_PROBABILITY = float(np.finfo(np.float32).eps)
TOP_5_FROM = 11


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error, 0 to 1: sum over bins of n_b / n · |accuracy_b - confidence_b| (eq. 3).

    An image's confidence is its greatest probability; bin b holds confidences in ((b - 1) / bins, b / bins].
    """
    confidence = np.minimum(np.asarray(probabilities, dtype=np.float64).max(axis=1), 1.0)
    correct = probabilities.argmax(axis=1) == labels
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence, side="left")
    # n_b · |accuracy_b - confidence_b| is the absolute sum of the differences
    gaps = np.bincount(place, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Temperature T within TEMPERATURES by which softmax(ln p / T) is calibrated (section 4.2), most probable a priori.

    Fit it on images not trained on (validation). Minimises the sum of log losses plus (ln T)² / (2 PRIOR_SPREAD²), a
    normal prior of ln T: few images move T little, and the log loss never rises. T is over 1 for an overconfident
    model. It is below 1, which raises confidence, only where FEWEST_ERRORS images are wrong or more: where none is,
    ever sharper probabilities would fit better, and nothing says by how much. 1 where nothing can be fitted.
    """
    from scipy.optimize import brentq

    logits = _log(probabilities)
    spread = logits - logits.max(axis=1, keepdims=True, initial=-math.inf)
    if len(labels) == 0 or not spread.any():
        return 1.0
    chosen = spread[np.arange(len(labels)), labels].sum()

    def slope(inverse: float) -> float:
        # both terms are convex in 1 / T up to e, so this rises and has at most one zero
        expected = (_softmax(spread * inverse) * spread).sum()
        return float(expected - chosen + math.log(inverse) / (inverse * PRIOR_SPREAD**2))

    lowest = TEMPERATURES[0] if wrong(probabilities, labels) >= FEWEST_ERRORS else 1.0
    low, high = 1 / TEMPERATURES[1], 1 / lowest
    if slope(low) >= 0:
        return TEMPERATURES[1]
    if slope(high) <= 0:
        return lowest
    return float(1 / brentq(slope, low, high, xtol=1e-14))


def explain_temperature(
    temperature: float, probabilities: np.ndarray, labels: np.ndarray, split: str = "validation"
) -> str:
    """Why a temperature fitted on these images is 1 although more of them might give another; empty where not so."""
    errors = wrong(probabilities, labels)
    if temperature != 1 or errors >= FEWEST_ERRORS:
        return ""
    found = f"{errors} of {len(labels):,} {split} images are classified wrongly" if len(labels) else "none was given"
    return f"Confidence stays as the network gives it (temperature 1): {found}, too few to correct it by."


def wrong(probabilities: np.ndarray, labels: np.ndarray) -> int:
    """Number of images classified wrongly."""
    return int((probabilities.argmax(axis=1) != labels).sum())


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(ln p / temperature), float64 (n, c): the order of the classes stays. A p of 0 counts as 1.2e-38."""
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be more than 0 and finite, not {temperature}")
    return _softmax(_log(probabilities) / temperature)


def _log(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), _TINY))


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-math.inf))
    return powers / powers.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Scores:
    """Scores of `n` images. One that is undefined (n = 0) or does not apply is None, never NaN.

    Attributes:
        n_effective: `effective_n` of the groups: copies and images that belong together count once; n without any.
        accuracy_interval: 95% Wilson interval of n_effective images, (low, high).
        macro_f1: Mean F1 over the classes that occur among labels or predictions.
        log_loss: Mean of -ln p(label), p clipped at SMALLEST_PROBABILITY; no smoothing, no class weights.
        log_loss_unscaled: Before temperature scaling, as `calibration_error_unscaled`; None without a temperature.
        calibration_error: Expected calibration error, 15 equal-width bins.
        top_5_accuracy: None up to ten classes.
        confusion: Counts; row = label, column = predicted, in the order of the classes.
        per_class: Class name -> precision, recall, f1 and support (images of that class). None where undefined:
            the recall of a class without images, the precision of one never predicted, f1 of one that is neither.
    """

    n: int
    n_effective: float
    accuracy: float | None
    accuracy_interval: tuple[float, float] | None
    macro_f1: float | None
    log_loss: float | None
    log_loss_unscaled: float | None
    calibration_error: float | None
    calibration_error_unscaled: float | None
    top_5_accuracy: float | None
    confusion: tuple[tuple[int, ...], ...]
    per_class: dict[str, dict[str, float | int | None]]

    def to_dict(self) -> dict[str, Any]:
        """Entry of metrics.json; every key is always there."""
        interval = None if self.accuracy_interval is None else list(self.accuracy_interval)
        return asdict(self) | {"accuracy_interval": interval, "confusion": [list(row) for row in self.confusion]}


def answered(
    probabilities: np.ndarray, labels: np.ndarray, threshold: float, groups: Sequence[str] | None = None
) -> dict[str, Any]:
    """Accuracy of the answers where the model is silent below a confidence, `threshold`, 0 to 1.

    Returns `threshold`, `n`, `answered`, `coverage` (their share), `accuracy` of the answers, None without any, and
    `accuracy_interval` (Wilson's, 95%), of as many as are independent: `groups` as of `score`.
    """
    sure = np.flatnonzero(probabilities.max(axis=1, initial=0.0) >= threshold)
    right = int((probabilities[sure].argmax(axis=1) == labels[sure]).sum())
    independent = float(len(sure) if groups is None else effective_n([groups[i] for i in sure.tolist()]))
    accuracy = right / len(sure) if len(sure) else None
    return {
        "threshold": threshold,
        "n": len(labels),
        "answered": len(sure),
        "coverage": len(sure) / len(labels) if len(labels) else 0.0,
        "accuracy": accuracy,
        "accuracy_interval": None if accuracy is None else wilson_interval(independent * accuracy, independent),
    }


def score(
    probabilities: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    temperature: float | None = None,
    groups: Sequence[str] | None = None,
) -> Scores:
    """Score one split; n may be 0, and the c class names must differ.

    `temperature` is that by which `probabilities` have been scaled; None leaves the unscaled scores None. `groups` (n,)
    names the images that are not independent; None where all are. Raises ValueError if shapes, ranges or names do not
    fit together.
    """
    from sklearn import metrics

    probabilities, labels = _checked(probabilities, labels)
    n, codes = len(labels), range(len(class_names))
    if probabilities.shape[1] != len(codes) or len(set(class_names)) != len(codes):
        raise ValueError(f"{probabilities.shape[1]} classes need as many different names, not {list(class_names)}")
    if n == 0:
        nothing: dict[str, float | int | None] = {"precision": None, "recall": None, "f1": None, "support": 0}
        zeros = tuple((0,) * len(codes) for _ in codes)
        return Scores(
            0, 0.0, None, None, None, None, None, None, None, None, zeros, {name: dict(nothing) for name in class_names}
        )
    predicted = probabilities.argmax(axis=1)
    unscaled = None if temperature is None else apply_temperature(probabilities, 1 / temperature)
    confusion = metrics.confusion_matrix(labels, predicted, labels=codes)
    *parts, _ = metrics.precision_recall_fscore_support(labels, predicted, labels=codes, zero_division=np.nan)
    columns = (column.tolist() for column in (*parts, confusion.sum(axis=1)))
    correct, independent = int(confusion.trace()), float(n if groups is None else effective_n(groups))
    return Scores(
        n=n,
        n_effective=independent,
        accuracy=correct / n,
        accuracy_interval=wilson_interval(independent * (correct / n), independent),
        macro_f1=float(metrics.f1_score(labels, predicted, average="macro", zero_division=0)),
        log_loss=log_loss(probabilities, labels),
        log_loss_unscaled=None if unscaled is None else log_loss(unscaled, labels),
        calibration_error=calibration_error(probabilities, labels),
        calibration_error_unscaled=None if unscaled is None else calibration_error(unscaled, labels),
        top_5_accuracy=top_k_accuracy(probabilities, labels, 5) if len(codes) >= TOP_5_FROM else None,
        confusion=tuple(map(tuple, confusion.tolist())),
        per_class={
            name: {"precision": _known(precision), "recall": _known(recall), "f1": _known(f1), "support": support}
            for name, precision, recall, f1, support in zip(class_names, *columns, strict=True)
        },
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


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
