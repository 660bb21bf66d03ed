"""The kernel distance against the textbook sums and clean-fid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.core.errors import UserError
from bench.metrics import kernel, kernel_sums
from bench.metrics.base import Metric, Reference, make_metric
from bench.metrics.catalogue import KID
from bench.metrics.kernel import cubic_kernel, root_mean_square
from bench.metrics.kernel_sums import Kernel, distance_of, standard_error, sums_across, sums_within
from bench.task.protocol import Protocol

INCEPTION = "inception-2015-12-05"


def kernel_distance(x: np.ndarray, y: np.ndarray, scale: float = 1.0) -> float:
    """The distance of features [n, D] and [m, D], as `KernelDistance.result` puts it together."""
    kernel = cubic_kernel(scale)
    return distance_of(sums_within(x, kernel), sums_within(y, kernel), sums_across(x, y, kernel)[0])


def textbook(x: np.ndarray, y: np.ndarray) -> float:
    """Gretton et al. 2012, eq. 3, one pair at a time."""

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / len(a) + 1) ** 3

    n, m = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    across = sum(k(a, b) for a in x for b in y) / (n * m)
    return within_x + within_y - 2 * across


@pytest.fixture
def sets() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(37, 5)), rng.normal(0.4, 1.3, size=(53, 5))


@pytest.mark.parametrize("tile", [1, 10, 37, 1024])
def test_equals_the_textbook_whatever_the_tiles(
    tile: int, sets: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_sums, "TILE", tile)
    assert kernel_distance(*sets) == pytest.approx(textbook(*sets), rel=1e-11)


def test_equals_clean_fid_when_its_subset_is_the_full_set(sets: tuple[np.ndarray, np.ndarray]) -> None:
    fid = pytest.importorskip("cleanfid.fid")
    x, y = sets[0], sets[1][:37]
    expected = fid.kernel_distance(x, y, num_subsets=1, max_subset_size=37)
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-11)


def test_one_dimension_by_hand() -> None:
    """x = {0, 1}, y = {1, 2}: k(0,1) = 1, k(1,2) = 27; across 1, 1, 8, 27."""
    x, y = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    assert kernel_distance(x, y) == pytest.approx(1 + 27 - 2 * (1 + 1 + 8 + 27) / 4)


def test_is_unbiased_and_so_may_be_negative() -> None:
    rng = np.random.default_rng(1)
    values = [kernel_distance(*rng.normal(size=(2, 30, 3))) for _ in range(400)]
    assert min(values) < 0
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))


def test_float32_features_are_summed_in_float64(sets: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = (s.astype(np.float32) for s in sets)
    assert kernel_distance(x, y) == kernel_distance(x.astype(np.float64), y.astype(np.float64))


def test_the_metric_shares_the_reference_part_between_repetitions(
    sets: tuple[np.ndarray, np.ndarray],
    smoke: Protocol,
    as_reference: Callable[[np.ndarray], Reference],
    feed: Callable[..., Metric],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generated, real = sets
    reference = as_reference(real)
    smoke = replace(smoke, features=INCEPTION)
    first = feed(make_metric(KID, reference, smoke), generated, 8).result()
    assert first.value == pytest.approx(textbook(generated, real), rel=1e-11)
    assert (first.samples, first.diagnostics["reference_samples"]) == (37, 53)

    calls: list[int] = []

    def spy(x: np.ndarray, kernel: Kernel) -> np.ndarray:
        calls.append(len(x))
        return sums_within(x, kernel)

    monkeypatch.setattr(kernel, "sums_within", spy)
    assert feed(make_metric(KID, reference, smoke), generated).result().value == first.value
    assert calls == [37]


def fidelitys(x: np.ndarray, y: np.ndarray) -> float:
    """KID by torch-fidelity of x and y [n, D], of one subset that holds all points."""
    metric_kid = pytest.importorskip("torch_fidelity.metric_kid", reason="torch-fidelity is not installed")
    sizes = {"kid_subsets": 1, "kid_subset_size": len(x), "verbose": False}
    found = metric_kid.kid_features_to_metric(torch.from_numpy(x), torch.from_numpy(y), **sizes)
    return float(found[metric_kid.KEY_METRIC_KID_MEAN])


def test_equals_torch_fidelity_when_its_subset_is_the_full_set(sets: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = sets[0], sets[1][:37]
    expected = fidelitys(x, y)
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-11)


def test_a_scale_is_the_same_as_divided_features(sets: tuple[np.ndarray, np.ndarray]) -> None:
    """Also by torch-fidelity on the divided features."""
    x, y = sets
    scale = root_mean_square(y)
    assert scale == pytest.approx(np.sqrt((y**2).mean()), rel=1e-14)
    assert kernel_distance(x, y, scale) == pytest.approx(textbook(x / scale, y / scale), rel=1e-11)
    expected = fidelitys(x / scale, y[:37] / scale)
    assert kernel_distance(x, y[:37], scale) == pytest.approx(expected, rel=1e-11)


def test_two_points_by_closed_form_after_scaling(
    smoke: Protocol, as_reference: Callable[[np.ndarray], Reference], feed: Callable[..., Metric]
) -> None:
    """All real features are c and all generated ones 0: the kernel is 8 and 1 within, 1 across, for every c."""
    for c in (0.01, 1.0, 100.0):
        real, generated = np.full((5, 3), c), np.zeros((4, 3))
        found = feed(make_metric(KID, as_reference(real), smoke), generated).result()
        assert found.value == pytest.approx(8 + 1 - 2 * 1, rel=1e-12)
        assert found.diagnostics["feature_scale"] == pytest.approx(c)


def test_the_unit_of_a_classifiers_features_does_not_change_its_kid(
    sets: tuple[np.ndarray, np.ndarray],
    smoke: Protocol,
    as_reference: Callable[[np.ndarray], Reference],
    feed: Callable[..., Metric],
) -> None:
    """Unscaled, features ten times as large made it up to 10^6 times as large: 14,961 on `digits`."""
    generated, real = sets

    def kid(unit: float, features: str) -> float:
        protocol = replace(smoke, features=features)
        metric = make_metric(KID, as_reference(unit * real), protocol)
        return float(feed(metric, unit * generated).result().value)

    assert kid(11.0, "digits-cnn32") == pytest.approx(kid(1.0, "digits-cnn32"), rel=1e-9)
    assert kid(11.0, INCEPTION) > 100 * kid(1.0, INCEPTION)
    assert kid(1.0, INCEPTION) == pytest.approx(textbook(generated, real), rel=1e-11)


def test_features_that_are_all_zero_have_no_scale(
    smoke: Protocol, as_reference: Callable[[np.ndarray], Reference], feed: Callable[..., Metric]
) -> None:
    with pytest.raises(UserError, match=r"root mean square .* is 0; fix: "):
        feed(make_metric(KID, as_reference(np.zeros((5, 3))), smoke), np.ones((5, 3))).result()


def test_the_standard_error_is_the_jackknifes(sets: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = sets
    n, m = len(x), len(y)
    without_x = np.array([kernel_distance(np.delete(x, i, 0), y) for i in range(n)])
    without_y = np.array([kernel_distance(x, np.delete(y, j, 0)) for j in range(m)])
    variance = (n - 1) * without_x.var() + (m - 1) * without_y.var()
    cubic = cubic_kernel(1.0)
    found = standard_error(sums_within(x, cubic), sums_within(y, cubic), *sums_across(x, y, cubic))
    assert found == pytest.approx(np.sqrt(variance), rel=1e-9)
    assert standard_error(np.ones(2), np.ones(9), np.ones(2), np.ones(9)) is None


def test_the_standard_error_is_the_spread_of_repeated_measurements() -> None:
    rng = np.random.default_rng(2)
    values, errors, cubic = [], [], cubic_kernel(1.0)
    for _ in range(300):
        x, y = rng.normal(size=(60, 4)), rng.normal(0.7, 1.2, size=(50, 4))
        sums = (sums_within(x, cubic), sums_within(y, cubic), *sums_across(x, y, cubic))
        values.append(distance_of(*sums[:3]))
        errors.append(standard_error(*sums))
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(values), rel=0.2)
