"""Intervals and paired tests, against published values and scipy."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kit.significance import (
    effective_n,
    holm,
    mcnemar,
    mcnemar_p_value,
    newcombe_interval,
    paired_interval,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (0, 0, 0.0, 1.0),  # nothing known
        (0, 10, 0.0, 0.2775),  # z² / (n + z²)
        (10, 10, 0.7225, 1.0),  # its mirror image
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),  # the same
        (1, 29, 0.0061, 0.1718),  # the same
    ],
)
def test_wilson_interval_gives_published_values(successes, n, low, high):
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 5000), st.floats(0, 1), st.floats(0.5, 0.999))
def test_wilson_interval_agrees_with_scipy(n, share, confidence):
    successes = round(share * n)
    expected = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    low, high = wilson_interval(successes, n, confidence)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= low <= successes / n <= high <= 1


@pytest.mark.parametrize("wrong", [(-1, 3), (4, 3), (1, 3, 0.0), (1, 3, 1.0)])
def test_wilson_interval_refuses_what_is_no_share(wrong):
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(*wrong)


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_twice_the_tail_of_a_fair_coin(only_a, only_b):
    a = np.repeat([True, False, True, False], [only_a, only_b, 5, 2])
    b = np.repeat([False, True, True, False], [only_a, only_b, 5, 2])
    result = mcnemar(a, b)
    assert (result.both, result.only_a, result.only_b, result.neither) == (5, only_a, only_b, 2)
    n = only_a + only_b
    tail = sum(math.comb(n, k) for k in range(min(only_a, only_b) + 1))
    expected = min(1.0, float(Fraction(2 * tail, 2**n)))
    assert result.p_value == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_mcnemar_needs_booleans_of_one_length():
    with pytest.raises(ValueError, match="bool"):
        mcnemar(np.array([1, 0]), np.array([True, False]))
    with pytest.raises(ValueError, match="bool"):
        mcnemar(np.array([True]), np.array([True, False]))


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"), [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 2 / 32), (3, 3, 1.0), (8, 2, 112 / 1024)]
)
def test_mcnemar_p_value_of_counts(only_a, only_b, p):
    """Twice the tail of a fair coin, worked out by hand."""
    assert mcnemar_p_value(only_a, only_b) == mcnemar_p_value(only_b, only_a) == pytest.approx(p)


# === Differences ===


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),  # Newcombe 1998, table II, method 10
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0000),
    ],
)
def test_newcombe_interval_gives_published_values(first, second, low, high):
    (a, n), (b, m) = first, second
    assert newcombe_interval(a / n, n, b / m, m) == pytest.approx((low, high), abs=5e-5)
    assert newcombe_interval(b / m, m, a / n, n) == pytest.approx((-high, -low), abs=5e-5)


def test_all_of_20_against_16_of_20_is_no_certainty():
    """Wald's interval, +-0.175, called this a difference; its own 20 of 20 has a width of 0."""
    low, high = newcombe_interval(1.0, 20, 0.8, 20)
    assert low < 0 < high


# === Images that are not independent ===


@given(st.lists(st.integers(1, 6), min_size=1, max_size=40))
def test_copies_add_no_evidence(copies):
    groups = [str(k) for k, count in enumerate(copies) for _ in range(count)]
    assert 1 <= effective_n(groups) <= len(copies) + 1e-9 <= len(groups) + 1e-9
    assert effective_n(groups * 3) == pytest.approx(effective_n(groups))
    assert effective_n([str(k) for k in range(len(copies))]) == len(copies)


def test_no_images_are_none():
    assert effective_n([]) == 0


def test_mcnemar_counts_a_group_once():
    a = np.array([True] * 12 + [False] * 2)
    one = mcnemar(a, ~a)
    twice = mcnemar(np.repeat(a, 2), np.repeat(~a, 2), [str(k) for k in range(14) for _ in range(2)])
    assert twice.p_value == one.p_value
    assert (twice.only_a, twice.only_b) == (24, 4)
    assert mcnemar(a, ~a, [str(k) for k in range(14)]) == one
    burst = mcnemar(a, ~a, ["burst"] * 12 + ["x", "y"])
    assert burst.p_value == mcnemar_p_value(1, 2) == 1.0


# === Many tests ===


def test_holm_of_counts_worked_out_by_hand():
    # 4 x 0.005, 3 x 0.01, 2 x 0.03, and 1 x 0.04 raised to its predecessor
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.04]) == [0.04]


@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_keeps_order_and_lies_between_the_p_value_and_bonferronis(p_values):
    adjusted = holm(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert p <= q <= 1
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()
    if p_values:
        assert min(adjusted) == min(1, len(p_values) * min(p_values))


# === Differences on the same images ===


def pairs(both, only_a, only_b, neither):
    """McNemar's table of two classifiers."""
    right = [(True, True)] * both + [(True, False)] * only_a + [(False, True)] * only_b + [(False, False)] * neither
    return mcnemar(*np.array(right, bool).reshape(-1, 2).T)


def test_paired_interval_gives_a_published_value():
    """Newcombe 1998, paired data, table IV, method 10: 36, 12, 2 and 0 pairs."""
    assert paired_interval(pairs(36, 12, 2, 0)) == pytest.approx((0.0569, 0.3404), abs=5e-5)
    assert paired_interval(pairs(36, 2, 12, 0)) == pytest.approx((-0.3404, -0.0569), abs=5e-5)


@given(*[st.integers(0, 40)] * 4)
def test_paired_interval_holds_the_difference_and_stays_within_bounds(both, only_a, only_b, neither):
    low, high = paired_interval(pairs(both, only_a, only_b, neither))
    n = both + only_a + only_b + neither
    assert -1 - 1e-9 <= low <= (only_a - only_b) / max(1, n) <= high <= 1 + 1e-9


def test_classifiers_that_agree_differ_by_less_than_independent_ones():
    """The same accuracies: on the same images, mostly right and wrong together, the difference is better known."""
    low, high = paired_interval(pairs(70, 10, 5, 15))
    first, last = newcombe_interval(0.8, 100, 0.75, 100)
    assert first < low < high < last


def test_copies_widen_a_paired_interval():
    test = pairs(30, 9, 3, 6)
    assert paired_interval(test, 0.5)[0] < paired_interval(test)[0]
