"""Temperature scaling and calibration error: C. Guo et al., On calibration of modern neural networks, ICML 2017.

Shapes and ranges are those of kit.evaluation.scores.
"""

import math

import numpy as np

TEMPERATURES = (0.05, 20.0)
_TINY = float(np.finfo(np.float32).tiny)


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
    """Temperature T within TEMPERATURES that minimises the log loss of softmax(ln p / T) (section 4.2).

    Fit it on images not trained on (validation). In 1 / T the loss is convex (a log-sum-exp of terms linear in it), so
    its derivative, mean of E_softmax[ln p] - ln p(label), rises and has at most one zero. T is over 1 for an
    overconfident model, at the lower bound where every image is classified right, and 1 where nothing can be fitted: no
    images, or T changes nothing.
    """
    from scipy.optimize import brentq

    logits = _log(probabilities)
    spread = logits - logits.max(axis=1, keepdims=True, initial=-math.inf)
    if len(labels) == 0 or not spread.any():
        return 1.0
    chosen = spread[np.arange(len(labels)), labels].mean()

    def slope(inverse: float) -> float:
        return float((_softmax(spread * inverse) * spread).sum(axis=1).mean() - chosen)

    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    if slope(low) >= 0:
        return TEMPERATURES[1]
    if slope(high) <= 0:
        return TEMPERATURES[0]
    return float(1 / brentq(slope, low, high, xtol=1e-14))


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
