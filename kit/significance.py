"""Confidence interval of a proportion, and a paired test of two classifiers."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

SIGNIFICANT = 0.05  # p-values below it are called more than chance


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of two classifiers on the same images.

    Counts of images that both, only the first, only the second, or neither classified correctly; `p_value` is
    `mcnemar_p_value`.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    p_value: float


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval: (p + z²/2n ± z sqrt(p (1 - p) / n + z²/4n²)) / (1 + z²/n), p = successes / n.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927) 209-212. Unlike
    the normal approximation it stays within 0 and 1 and does not shrink to a point at p = 1. n = 0 gives (0, 1):
    nothing is known. `confidence` is between 0 and 1, both excluded.
    """
    if not 0 <= successes <= n or not 0 < confidence < 1:
        raise ValueError(f"0 <= successes <= n and 0 < confidence < 1, not {successes}, {n}, {confidence}")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, shrink = successes / n, z * z / n
    middle = (share + shrink / 2) / (1 + shrink)
    half = z * math.sqrt(share * (1 - share) / n + shrink / (4 * n)) / (1 + shrink)
    # the ends are exact at no and at all successes; rounding would leave 1e-17
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == n else min(1.0, middle + half)
    return low, high


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray) -> McNemar:
    """McNemar's test from which images each classifier got right, bool (n,)."""
    a, b = np.asarray(correct_a), np.asarray(correct_b)
    if a.shape != b.shape or a.ndim != 1 or a.dtype != np.bool_ or b.dtype != np.bool_:
        raise ValueError(f"two bool (n,) are needed, not {a.dtype} {a.shape} and {b.dtype} {b.shape}")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return McNemar(int((a & b).sum()), only_a, only_b, int((~a & ~b).sum()), mcnemar_p_value(only_a, only_b))


def mcnemar_p_value(only_a: int, only_b: int) -> float:
    """Exact two-sided p-value, 0 to 1: only_a of (only_a + only_b) against a fair coin; 1 where both are 0.

    Q. McNemar, Note on the sampling error of the difference between correlated proportions or percentages,
    Psychometrika 12 (1947) 153-157. The counts are of images that only one of the classifiers got right.
    """
    from scipy.stats import binomtest  # here: it takes half a second to import

    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
