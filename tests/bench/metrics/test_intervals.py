"""Confidence intervals against scipy and closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from bench.metrics.intervals import bca_interval, bootstrap_interval, t_interval


def test_t_interval_of_two_values_has_the_closed_form_of_the_cauchy_quantile() -> None:
    mean, std, low, high = t_interval([1.0, 3.0])
    half = math.tan(math.pi * 0.475) * math.sqrt(2) / math.sqrt(2)
    assert (mean, std) == (2.0, math.sqrt(2))
    assert (low, high) == pytest.approx((2 - half, 2 + half), rel=1e-12)


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_t_interval_is_scipys(level: float) -> None:
    values = [6.57, 7.43, 6.19, 6.94, 6.35]
    mean, _, low, high = t_interval(values, level)
    expected = stats.t.interval(level, len(values) - 1, loc=mean, scale=stats.sem(values))
    assert (low, high) == pytest.approx(expected, rel=1e-12)


def test_one_value_has_no_interval_and_none_have_no_mean() -> None:
    assert t_interval([3.0]) == (3.0, None, None, None)
    with pytest.raises(ValueError, match="at least one"):
        t_interval([])


@pytest.mark.parametrize("odd", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_values_that_are_not_finite_are_never_taken_for_equal_ones(odd: float, place: int) -> None:
    values = [1.0, 1.0]
    values[place] = odd
    with pytest.raises(ValueError, match="not all finite"):
        t_interval(values)


def test_the_bootstrap_is_scipys_to_its_own_noise() -> None:
    values = np.random.default_rng(0).gamma(2.0, 0.1, 128)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", rng=1)
    width = values.std() / np.sqrt(len(values))
    assert bootstrap_interval(values) == pytest.approx(tuple(theirs.confidence_interval), abs=0.15 * width)
    assert bootstrap_interval(values) == bootstrap_interval(values.copy())


def test_the_bootstrap_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    intervals = [bootstrap_interval(rng.normal(size=60), resamples=400) for _ in range(400)]
    covered = np.mean([low < 0 < high for low, high in intervals])
    assert covered == pytest.approx(0.95, abs=0.035)


@pytest.mark.parametrize("size", [1e-300, 1e300])
def test_an_interval_does_not_depend_on_the_unit(size: float) -> None:
    values = np.array([3.0, 5.0, 4.5])
    assert np.divide(t_interval(size * values), size) == pytest.approx(t_interval(values), rel=1e-9)
    assert np.divide(bca_interval(size * values), size) == pytest.approx(bca_interval(values), rel=1e-9)


def test_equal_values_have_no_spread_although_their_mean_is_rounded() -> None:
    assert t_interval([0.1] * 3) == (0.1, 0.0, 0.1, 0.1)
    assert bca_interval(np.full(3, 0.1)) == (0.1, 0.1)


def test_the_bootstrap_of_equal_values_is_a_point() -> None:
    assert bootstrap_interval(np.full(9, 0.25)) == (0.25, 0.25)


def test_the_bca_bootstrap_is_scipys_to_its_own_noise() -> None:
    values = np.random.default_rng(0).gamma(0.5, 0.1, 64)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="BCa", rng=1).confidence_interval
    width = values.std() / np.sqrt(len(values))
    assert bca_interval(values) == pytest.approx(tuple(theirs), abs=0.15 * width)
    low, high = bca_interval(values)
    assert high - values.mean() > values.mean() - low, "it leans to the long tail, as a t-interval does not"
    assert bca_interval(np.full(9, 0.25)) == (0.25, 0.25)


Pairs = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
"""Draws the scores of two models on the same prompts, [data sets, prompts] each."""


def normal(rng: np.random.Generator, prompts: int) -> tuple[np.ndarray, np.ndarray]:
    """CLIP scores: how hard a prompt is counts more than which model it is."""
    hard = rng.normal(0.3, 0.05, (DATA_SETS, prompts))
    return hard + rng.normal(0.01, 0.02, hard.shape), hard + rng.normal(0, 0.02, hard.shape)


def skewed(rng: np.random.Generator, prompts: int) -> tuple[np.ndarray, np.ndarray]:
    """One model is much better on a few prompts: differences are exponential, with a skewness of 2."""
    hard = rng.normal(0.3, 0.05, (DATA_SETS, prompts))
    return hard + rng.exponential(DIFFERENCE, hard.shape), hard


def binary(rng: np.random.Generator, prompts: int) -> tuple[np.ndarray, np.ndarray]:
    """Right or wrong, as of GenEval: the shares of right answers differ by 0.01, and most answers agree."""
    hard = rng.random((DATA_SETS, prompts))
    agree = rng.random(hard.shape) < 0.8
    return hard < 0.61, np.where(agree, hard, rng.random(hard.shape)) < 0.60


DATA_SETS = 300
DIFFERENCE = 0.01


@pytest.mark.parametrize("pairs", [normal, skewed, binary])
def test_the_paired_bootstrap_over_prompts_covers_the_difference_at_its_nominal_rate(pairs: Pairs) -> None:
    """Of 300 intervals at 95 %, 285 hold the true difference; the binomial error is 3.8, and this allows three."""
    first, second = pairs(np.random.default_rng(1), 150)
    differences = first.astype(float) - second
    intervals = np.array([bca_interval(one, resamples=500, seed=seed) for seed, one in enumerate(differences)])
    covered = np.count_nonzero((intervals[:, 0] <= DIFFERENCE) & (intervals[:, 1] >= DIFFERENCE))
    assert covered == pytest.approx(0.95 * DATA_SETS, abs=3 * math.sqrt(DATA_SETS * 0.95 * 0.05))
