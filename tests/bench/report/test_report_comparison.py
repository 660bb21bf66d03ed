"""Tests of two methods against SciPy's."""

import numpy as np
import pytest

from bench.report.comparison import one_sample, welch

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize(("n", "m", "scale"), [(3, 3, 1.0), (2, 5, 10.0), (7, 3, 0.01)])
def test_welch_is_scipys(n: int, m: int, scale: float) -> None:
    rng = np.random.default_rng(n)
    first, second = rng.normal(size=n).tolist(), rng.normal(1.0, scale, size=m).tolist()
    found, expected = welch(first, second), stats.ttest_ind(first, second, equal_var=False)
    assert (found.t, found.p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-10)
    assert (found.degrees, found.n) == (pytest.approx(expected.df), (n, m))


def test_one_sample_is_scipys() -> None:
    values = [6.04, 5.70, 6.53]
    found, expected = one_sample(values, 6.18), stats.ttest_1samp(values, 6.18)
    assert (found.t, found.p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-10)
    assert str(found) == "one-sample t = −0.37, p = .74, n = 3"


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
