"""Intervals and paired tests, against published values and scipy."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kit.significance import mcnemar, mcnemar_p_value, wilson_interval


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
