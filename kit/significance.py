"""Confidence intervals of proportions and their difference, tests of two classifiers, corrections for many."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

SIGNIFICANT = 0.05  # p-values below it are called more than chance


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of two classifiers on the same images.

    Counts of images that both, only the first, only the second, or neither classified correctly; `p_value` is
    `mcnemar_p_value`, over groups where images have them.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    p_value: float


def wilson_interval(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval: (p + z²/2n ± z sqrt(p (1 - p) / n + z²/4n²)) / (1 + z²/n), p = successes / n.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927) 209-212. Unlike
    the normal approximation it stays within 0 and 1 and does not shrink to a point at p = 1. n = 0 gives (0, 1):
    nothing is known. `confidence` is between 0 and 1, both excluded. Both counts may be fractions: `effective_n`.
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


def newcombe_interval(
    first: float, n_first: float, second: float, n_second: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the difference first - second of two independent proportions, from -1 to 1.

    R. G. Newcombe, Interval estimation for the difference between independent proportions: comparison of eleven
    methods, Statistics in Medicine 17 (1998) 873-890, method 10: Wilson's limits (l, u) of each, combined as
    d - sqrt((p1 - l1)² + (u2 - p2)²) and d + sqrt((u1 - p1)² + (p2 - l2)²). Unlike the normal approximation it does
    not take 20 of 20 for a certainty.
    """
    low_1, high_1 = wilson_interval(first * n_first, n_first, confidence)
    low_2, high_2 = wilson_interval(second * n_second, n_second, confidence)
    difference = first - second
    return (
        difference - math.hypot(first - low_1, high_2 - second),
        difference + math.hypot(high_1 - first, second - low_2),
    )


def paired_interval(test: McNemar, independent: float = 1.0, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of accuracy a - accuracy b of two classifiers on the same images, from -1 to 1.

    R. G. Newcombe, Improved confidence intervals for the difference between binomial proportions based on paired data,
    Statistics in Medicine 17 (1998) 2635-2650, method 10: as `newcombe_interval`, less what the correlation phi of the
    two explains, continuity-corrected where it is positive. `independent` is the share of the images that counts where
    some are copies: `effective_n` / n.
    """
    both, only_a, only_b, neither = (
        count * independent for count in (test.both, test.only_a, test.only_b, test.neither)
    )
    n = both + only_a + only_b + neither
    if not n:
        return -1.0, 1.0
    right_a, right_b = both + only_a, both + only_b
    (low_a, high_a), (low_b, high_b) = (wilson_interval(min(right, n), n, confidence) for right in (right_a, right_b))
    a, b = right_a / n, right_b / n
    agreement = both * neither - only_a * only_b
    if agreement > 0:
        agreement = max(0.0, agreement - n / 2)
    spread = right_a * (n - right_a) * right_b * (n - right_b)
    phi = agreement / math.sqrt(spread) if spread > 0 else 0.0

    def half(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))

    return a - b - half(a - low_a, high_b - b), a - b + half(high_a - a, b - low_b)


def effective_n(groups: Sequence[str]) -> float:
    """Number of independent images that weigh as much as these: n² / sum of the squared sizes of their groups.

    It is n over Kish's design effect 1 + (m - 1) rho of clusters of m (L. Kish, Survey Sampling, 1965, section 8.2;
    unequal sizes: sum m² / sum m) at rho = 1: copies of one image are all right or all wrong. Where images of a group
    are less alike than that, intervals from it are on the safe side. Without copies it is n.
    """
    sizes = Counter(groups).values()
    return len(groups) ** 2 / sum(size * size for size in sizes) if groups else 0.0


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, in the order given; comparing them with 0.05 keeps the family's error there.

    S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979) 65-70:
    the i-th smallest of m is multiplied by m - i + 1, is at least its predecessor and at most 1.
    """
    adjusted, running = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = running
    return adjusted


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray, groups: Sequence[str] | None = None) -> McNemar:
    """McNemar's test from which images each classifier got right, bool (n,).

    `groups` (n,) names images that are not independent, such as copies. Each group then counts once in the p-value, for
    the classifier that got more of its images right (a sign test over groups).
    """
    a, b = np.asarray(correct_a), np.asarray(correct_b)
    if a.shape != b.shape or a.ndim != 1 or a.dtype != np.bool_ or b.dtype != np.bool_:
        raise ValueError(f"two bool (n,) are needed, not {a.dtype} {a.shape} and {b.dtype} {b.shape}")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    better_a, better_b = only_a, only_b
    if groups is not None:
        _, member_of = np.unique(np.array(groups, dtype=object), return_inverse=True)
        lead = np.bincount(member_of, weights=a.astype(int) - b.astype(int))
        better_a, better_b = int((lead > 0).sum()), int((lead < 0).sum())
    return McNemar(int((a & b).sum()), only_a, only_b, int((~a & ~b).sum()), mcnemar_p_value(better_a, better_b))


def mcnemar_p_value(only_a: int, only_b: int) -> float:
    """Exact two-sided p-value, 0 to 1: only_a of (only_a + only_b) against a fair coin; 1 where both are 0.

    Q. McNemar, Note on the sampling error of the difference between correlated proportions or percentages,
    Psychometrika 12 (1947) 153-157. The counts are of images that only one of the classifiers got right.
    """
    from scipy.stats import binomtest  # here: it takes half a second to import

    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
