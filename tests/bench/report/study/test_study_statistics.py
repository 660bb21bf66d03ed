"""The statistics of a study against closed forms, other formulas and published examples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import betaincinv

from bench.report.study.statistics import clustered, fleiss_kappa, share


@pytest.mark.parametrize(("count", "total"), [(0, 12), (12, 12), (1, 20), (78, 128), (64, 128)])
def test_the_interval_of_a_share_is_clopper_and_pearsons(count: int, total: int) -> None:
    """Its bounds are quantiles of beta distributions; at the ends they have closed forms."""
    found = share(count, total)
    low = 0.0 if count == 0 else betaincinv(count, total - count + 1, 0.025)
    high = 1.0 if count == total else betaincinv(count + 1, total - count, 0.975)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    if count == 0:
        assert found.high == pytest.approx(1 - 0.025 ** (1 / total))
    if count == total:
        assert found.low == pytest.approx(0.025 ** (1 / total))


def test_the_test_against_one_half_adds_binomial_probabilities() -> None:
    tail = sum(math.comb(10, k) for k in (0, 1, 9, 10)) / 2**10
    assert share(1, 10).p == pytest.approx(tail)
    assert share(5, 10).p == pytest.approx(1)


def test_a_share_of_nothing_has_no_value() -> None:
    assert share(0, 0).value is None


def test_fleiss_kappa_of_the_published_example() -> None:
    """Ten subjects, five categories, fourteen raters: kappa is 0.210 (Fleiss 1971, as in many textbooks)."""
    counts = [
        *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
        *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
    ]
    assert fleiss_kappa(counts) == pytest.approx(0.210, abs=5e-4)


def test_fleiss_kappa_by_hand() -> None:
    """Two items, two raters: one pair agrees, one does not. P = 1/2, P by chance = (3/4)² + (1/4)² = 5/8."""
    assert fleiss_kappa([[2, 0], [1, 1]]) == pytest.approx((1 / 2 - 5 / 8) / (1 - 5 / 8))
    assert fleiss_kappa([[3, 0], [0, 3]]) == pytest.approx(1)


def test_fleiss_kappa_is_undefined_for_one_rater_or_one_category() -> None:
    assert fleiss_kappa([[1, 0], [0, 1]]) is None
    assert fleiss_kappa([[5, 0], [5, 0]]) is None
    with pytest.raises(ValueError, match="same number"):
        fleiss_kappa([[1, 1], [1, 0]])


def test_unanimous_answers_still_have_an_interval() -> None:
    mean, low, high = clustered([1.0] * 20)
    assert (mean, high) == (1.0, 1.0)
    assert low == pytest.approx(0.025 ** (1 / 20))
    assert clustered([0.6]) == (0.6, 0.0, 1.0)


def test_pairs_that_all_have_the_same_majority_still_have_an_interval() -> None:
    """Two of three raters chose A in each pair: the shares do not vary, which is no certainty."""
    mean, low, high = clustered([2 / 3] * 20)
    below, above = share(13, 20), share(14, 20)
    assert (mean, low, high) == (2 / 3, below.low, above.high)


def test_a_whole_count_is_one_although_its_share_is_rounded() -> None:
    assert 31 / 59 * 118 > 62
    exact = share(62, 118)
    assert clustered([31 / 59] * 118) == (31 / 59, exact.low, exact.high)


def test_the_interval_over_pairs_covers_and_the_naive_one_does_not() -> None:
    """Answers about a pair agree: each pair has its own chance to be won, uniform in 0 ... 1; the mean is 1/2."""
    rng = np.random.default_rng(1)
    trials, pairs, raters, covered, naive = 1000, 128, 5, 0, 0
    for _ in range(trials):
        won = rng.binomial(raters, rng.uniform(size=pairs))
        _, low, high = clustered((won / raters).tolist())
        covered += low <= 0.5 <= high
        alone = share(int(won.sum()), pairs * raters)
        assert alone.low is not None and alone.high is not None
        naive += alone.low <= 0.5 <= alone.high
    assert 0.93 <= covered / trials <= 0.97
    assert naive / trials < 0.90
