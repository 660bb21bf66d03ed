"""The kernel distance against the textbook sums and clean-fid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bench.metrics import kernel
from bench.metrics.base import Metric, Reference
from bench.metrics.kernel import KernelDistance, kernel_distance
from tasks.protocol import Protocol


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
    monkeypatch.setattr(kernel, "TILE", tile)
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
    first = feed(KernelDistance(reference, smoke), generated, 8).result()
    assert first.value == pytest.approx(textbook(generated, real), rel=1e-11)
    assert (first.samples, first.diagnostics["reference_samples"]) == (37, 53)

    seen: list[int] = []
    within = kernel.mean_within

    def spy(x: np.ndarray) -> float:
        seen.append(len(x))
        return within(x)

    monkeypatch.setattr(kernel, "mean_within", spy)
    assert feed(KernelDistance(reference, smoke), generated).result().value == first.value
    assert seen == [37]
