"""Confidence intervals against scipy and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.metrics.intervals import bootstrap_interval, t_interval


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


def test_the_bootstrap_of_equal_values_is_a_point() -> None:
    assert bootstrap_interval(np.full(9, 0.25)) == (0.25, 0.25)
