"""Tests of two means against SciPy's, and how often they find a difference between equal runs."""

from typing import Any

import numpy as np
import pytest

from bench.metrics.intervals import t_interval
from bench.metrics.result import MetricResult
from bench.report.comparison.significance import against_sampler, holm, one_sample, paired, shown_p, welch

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize(("n", "m", "scale"), [(3, 3, 1.0), (2, 5, 10.0), (7, 3, 0.01)])
def test_welch_has_scipys_statistic_and_the_bounded_degrees_of_freedom(n: int, m: int, scale: float) -> None:
    rng = np.random.default_rng(n)
    first, second = rng.normal(size=n).tolist(), rng.normal(1.0, scale, size=m).tolist()
    found, expected = welch(first, second), stats.ttest_ind(first, second, equal_var=False)
    degrees = min(n, m) - 1
    assert found.t == pytest.approx(expected.statistic, rel=1e-10)
    assert (found.degrees, found.n) == (degrees, (n, m))
    assert found.p == pytest.approx(2 * stats.t.sf(abs(expected.statistic), degrees), rel=1e-10)
    assert found.p >= expected.pvalue, "the bound finds no difference that Welch's estimate does not find"


def test_one_sample_is_scipys() -> None:
    values = [6.04, 5.70, 6.53]
    found, expected = one_sample(values, 6.18), stats.ttest_1samp(values, 6.18)
    assert (found.t, found.p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-10)
    assert found.interval(0.9) == pytest.approx(
        tuple(bound - 6.18 for bound in expected.confidence_interval(0.9)), rel=1e-10
    )
    assert str(found) == "one-sample t = −0.37, p = .74, n = 3"


def test_paired_is_scipys() -> None:
    first, second = [6.0, 6.1, 5.9, 6.4], [6.5, 6.4, 6.6, 6.7]
    found, expected = paired(first, second), stats.ttest_rel(first, second)
    assert (found.t, found.p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-10)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval()), rel=1e-10)
    with pytest.raises(ValueError, match="got 1 and 2"):
        paired([1.0], [1.0, 2.0])


def test_an_interval_leaves_out_zero_exactly_if_p_is_below_its_level() -> None:
    found = welch([1.0, 1.2, 0.9], [2.0, 2.6, 2.1])
    assert found.interval(1 - found.p)[1] == pytest.approx(0.0, abs=1e-12)


def test_holm_multiplies_the_smallest_p_the_most_and_keeps_the_order() -> None:
    # By hand: .01 * 4, .02 * 3, then .03 * 2 and .04 * 1, of which the last may not fall below the one before.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([]) == []


def test_means_that_are_equal_have_p_of_one() -> None:
    assert welch([1.0, 3.0], [0.0, 4.0]).p == pytest.approx(1.0)


@pytest.mark.parametrize("values", [[], [1.0]])
def test_one_training_seed_has_no_test(values: list[float]) -> None:
    with pytest.raises(ValueError, match=f"two or more, got {len(values)}"):
        welch(values, [1.0, 2.0])
    with pytest.raises(ValueError, match="two or more"):
        one_sample(values, 1.0)


def test_values_without_spread_have_no_test() -> None:
    with pytest.raises(ValueError, match="without any spread"):
        welch([1.0, 1.0], [2.0, 2.0])
    with pytest.raises(ValueError, match="without any spread"):
        one_sample([1.0, 1.0], 2.0)
    with pytest.raises(ValueError, match="without any spread"):
        paired([1.0, 2.0], [3.0, 4.0])


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (1.0, "= 1.00"),
        (0.1, "= .10"),
        (0.0312, "= .031"),
        (0.02, "= .020"),
        (0.00042, "= .0004"),
        (1e-6, "< .0001"),
    ],
)
def test_p_is_shown_without_an_exponent(p: float, text: str) -> None:
    assert shown_p(p) == text


@pytest.mark.parametrize(
    ("p", "alpha", "text"),
    [
        (0.0498, 0.05, "= .0498"),
        (0.0502, 0.05, "= .050"),
        (0.09999, 0.1, "= .09999"),
        (0.0099996, 0.01, "= .0099996"),
        (0.05 - 1e-12, 0.05, "= .049999999999"),
    ],
)
def test_p_is_never_rounded_across_the_level_that_decides(p: float, alpha: float, text: str) -> None:
    assert shown_p(p, alpha) == text


# False positives

SIMULATIONS, LEVEL = 20_000, 0.05
MOST = stats.binom.ppf(1 - 1e-4, SIMULATIONS, LEVEL) / SIMULATIONS
"""A test that keeps its level exceeds this rate in one of 10,000 experiments."""


def drawn(n: int, deviation: float, seed: int) -> np.ndarray:
    """Return the values of equal runs: [simulations, n], normal with mean 0."""
    return np.random.default_rng(seed).normal(0.0, deviation, (SIMULATIONS, n))


def rejected(t: np.ndarray, degrees: int) -> float:
    """Return how often a test finds p < 5 %."""
    return float((2 * stats.t.sf(np.abs(t), degrees) < LEVEL).mean())


@pytest.mark.parametrize("ratio", [1.0, 0.3, 3.0, 0.01, 100.0])
@pytest.mark.parametrize(("n", "m"), [(2, 2), (2, 3), (2, 5), (3, 3), (3, 5), (4, 5), (5, 5)])
def test_welch_finds_differences_between_equal_runs_at_most_as_often_as_it_claims(
    n: int, m: int, ratio: float
) -> None:
    first, second = drawn(n, 1.0, 10 * n), drawn(m, ratio, 10 * m + 1)
    t = stats.ttest_ind(first, second, axis=1, equal_var=False).statistic
    ours = welch(first[0].tolist(), second[0].tolist())
    assert ours.t == pytest.approx(t[0], rel=1e-10)
    assert rejected(t, ours.degrees) <= MOST


@pytest.mark.parametrize("ratio", [0.1, 1.0, 10.0])
def test_a_sampler_is_found_to_differ_from_an_equal_method_at_most_as_often_as_claimed(ratio: float) -> None:
    trained, sampled = drawn(3, 1.0, 6), drawn(3, ratio, 7)
    t = stats.ttest_ind(trained, sampled, axis=1, equal_var=False).statistic
    mean, std, low, high = t_interval(sampled[0])
    measured = {"value": mean, "values": sampled[0].tolist(), "std": std, "low": low, "high": high}
    ours = against_sampler(trained[0].tolist(), metric(**measured))
    assert ours.t == pytest.approx(t[0], rel=1e-10)
    assert rejected(t, ours.degrees) <= MOST


def test_a_minimum_over_generation_seeds_is_one_number() -> None:
    lowest = metric(value=4.9, values=[5.0, 4.9], std=None, low=None, high=None)
    assert against_sampler([6.0, 6.2], lowest) == one_sample([6.0, 6.2], 4.9)
    failed = metric(value=None, values=[], std=None, low=None, high=None)
    with pytest.raises(ValueError, match="the sampler has no value"):
        against_sampler([6.0, 6.2], failed)


def metric(**measured: Any) -> MetricResult:
    return MetricResult(name="fd", title="FD", direction="lower", samples=100, diagnostics=[], **measured)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_paired_test_finds_differences_between_equal_runs_as_often_as_it_claims(n: int) -> None:
    shared = drawn(n, 5.0, 2)
    first, second = shared + drawn(n, 1.0, 3), shared + drawn(n, 3.0, 4)
    t = stats.ttest_rel(first, second, axis=1).statistic
    ours = paired(first[0].tolist(), second[0].tolist())
    assert ours.t == pytest.approx(t[0], rel=1e-10)
    assert rejected(t, ours.degrees) <= MOST


@pytest.mark.parametrize(("spread", "pairs"), [(1.0, 3), (100.0, 4)])
def test_holm_keeps_the_level_over_all_pairs(spread: float, pairs: int) -> None:
    """Of several equal methods with three seeds each, no pair differs with at least the confidence claimed."""
    rng = np.random.default_rng(5)
    simulations, found = 2_000, 0
    for _ in range(simulations):
        values = [rng.normal(0.0, spread if side == 0 else 1.0, 3).tolist() for side in range(pairs)]
        p = [welch(values[i], values[j]).p for i in range(pairs) for j in range(i)]
        found += min(holm(p)) < LEVEL
    assert found <= stats.binom.ppf(1 - 1e-4, simulations, LEVEL)


def test_rounding_is_no_spread() -> None:
    """The mean of three times 0.1 is not 0.1 in float64, and equal seeds were found to differ at p < .0001."""
    with pytest.raises(ValueError, match="without any spread"):
        welch([0.1] * 3, [0.7] * 3)
    with pytest.raises(ValueError, match="without any spread"):
        one_sample([0.1] * 3, 0.7)
    with pytest.raises(ValueError, match="without any spread"):
        paired([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])  # the differences vary in their last digit


@pytest.mark.parametrize("size", [1e-300, 1e-150, 1.0, 1e300])
def test_a_test_does_not_depend_on_the_unit(size: float) -> None:
    first, second = np.array([3.0, 5.0, 4.0]), np.array([8.0, 9.5, 7.0])
    found, plain = welch(size * first, size * second), welch(first, second)
    assert (found.t, found.p) == pytest.approx((plain.t, plain.p), rel=1e-9)
    assert paired(size * first, size * second).p == pytest.approx(stats.ttest_rel(first, second).pvalue, rel=1e-9)
    assert one_sample(size * first, size).p == pytest.approx(stats.ttest_1samp(first, 1.0).pvalue, rel=1e-9)
