"""CMMD against the authors' formula written out, and against the closed form of Gaussians."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from bench.metrics import kernel_sums
from bench.metrics.base import Metric, Reference, make_metric
from bench.metrics.catalogue_images import CMMD
from bench.task.protocol import Protocol

Sets = tuple[np.ndarray, np.ndarray]


def textbook(x: np.ndarray, y: np.ndarray) -> float:
    """Jayasumana et al.'s estimate: the mean of the kernel over all pairs, those of a point with itself too."""

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([[np.exp(-((p - q) @ (p - q)) / 200) for q in b] for p in a]))

    return 1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y))


def closed_form(x: Sets, y: Sets) -> float:
    """1,000 times the squared MMD of two Gaussians, each a mean [D] and a covariance [D, D].

    The difference of two points is a Gaussian, whose kernel's mean is an integral of a Gaussian.
    """

    def mean(a: Sets, b: Sets) -> float:
        shift, spread = a[0] - b[0], a[1] + b[1] + 100 * np.eye(len(a[0]))
        volume = np.sqrt(100 ** len(shift) / np.linalg.det(spread))
        return float(volume * np.exp(-shift @ np.linalg.solve(spread, shift) / 2))

    return 1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y))


@pytest.fixture
def sets() -> Sets:
    """Unit vectors, as CLIP's embeddings are."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(37, 5)), rng.normal(0.4, 1.3, size=(23, 5))
    return x / np.linalg.norm(x, axis=1, keepdims=True), y / np.linalg.norm(y, axis=1, keepdims=True)


@pytest.mark.parametrize("tile", [1, 10, 1024])
def test_equals_the_authors_formula_whatever_the_tiles(
    tile: int,
    sets: Sets,
    smoke: Protocol,
    as_reference: Callable[[np.ndarray], Reference],
    feed: Callable[..., Metric],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernel_sums, "TILE", tile)
    found = feed(make_metric(CMMD, as_reference(sets[1]), smoke), sets[0], 8, 3).result()
    assert found.value == pytest.approx(textbook(*sets), rel=1e-9)
    assert (found.samples, found.diagnostics["reference_samples"]) == (37, 23)


def test_the_unbiased_distance_is_torch_fidelitys_with_the_same_kernel(
    sets: Sets, smoke: Protocol, as_reference: Callable[[np.ndarray], Reference], feed: Callable[..., Metric]
) -> None:
    """It has no biased estimate, takes sets of one size, and sums kernels of nearly 1: hence 1e-9 of 1,000."""
    kid = pytest.importorskip("torch_fidelity.metric_kid", reason="torch-fidelity is not installed")
    x, y = sets[0][:23], sets[1]
    options = {"kid_kernel": "rbf", "kid_kernel_rbf_sigma": 10.0, "kid_subsets": 1, "kid_subset_size": 23}
    given = kid.kid_features_to_metric(torch.from_numpy(x), torch.from_numpy(y), verbose=False, **options)
    found = feed(make_metric(CMMD, as_reference(y), smoke), x).result()
    assert found.diagnostics["unbiased"] == pytest.approx(1000 * given[kid.KEY_METRIC_KID_MEAN], abs=1e-9)
    assert found.value == pytest.approx(textbook(x, y), rel=1e-9)


def test_the_same_images_are_at_distance_zero(
    sets: Sets, smoke: Protocol, as_reference: Callable[[np.ndarray], Reference], feed: Callable[..., Metric]
) -> None:
    """Also in another order; the unbiased distance is below zero, as that of any two equal samples is."""
    found = feed(make_metric(CMMD, as_reference(sets[0]), smoke), sets[0][::-1].copy()).result()
    assert 0 <= found.value < 1e-12 and found.diagnostics["unbiased"] < 0


def test_equals_the_closed_form_of_gaussians(
    smoke: Protocol, as_reference: Callable[[np.ndarray], Reference], feed: Callable[..., Metric]
) -> None:
    """Within four standard errors, which are a twentieth of the distance; the bias is (1 - mean kernel) / n."""
    rng = np.random.default_rng(1)
    one = np.zeros(3), np.diag([30.0, 40.0, 50.0])
    other = np.array([6.0, -5.0, 4.0]), np.array([[60.0, 20.0, 0.0], [20.0, 50.0, 0.0], [0.0, 0.0, 40.0]])
    x, y = rng.multivariate_normal(*one, size=2500), rng.multivariate_normal(*other, size=2000)
    found = feed(make_metric(CMMD, as_reference(y), smoke), x, 100).result()
    expected, error = closed_form(one, other), float(found.diagnostics["standard_error"])
    assert error < 0.06 * expected
    assert found.diagnostics["unbiased"] == pytest.approx(expected, abs=4 * error)
    assert 0 < found.value - found.diagnostics["unbiased"] < 1000 * (1 / 2500 + 1 / 2000)


def test_features_of_any_size_have_a_distance(
    smoke: Protocol, as_reference: Callable[[np.ndarray], Reference], feed: Callable[..., Metric]
) -> None:
    """Between points far apart the kernel is 0, and 1,000 (1 / n + 1 / m) is left, of each point with itself."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6)) * 1e12, rng.normal(size=(30, 6)) * 1e12
    found = feed(make_metric(CMMD, as_reference(y), smoke), x).result()
    assert found.value == pytest.approx(1000 * (1 / 40 + 1 / 30), rel=1e-12)
    equal = np.repeat(rng.normal(size=(1, 6)) * 1e12, 5, axis=0)  # their squared distances are 0, but for rounding
    assert feed(make_metric(CMMD, as_reference(equal), smoke), equal).result().value == 0


def test_digits_survive_a_kernel_that_is_nearly_one(
    smoke: Protocol, as_reference: Callable[[np.ndarray], Reference], feed: Callable[..., Metric]
) -> None:
    """Two points 1e-6 apart: 1,000 (2 - 2 exp(-d^2 / 200)) is 1e-11, which sums of kernels would lose."""
    x, y = np.full((4, 1), 0.5), np.full((6, 1), 0.5 + 1e-6)
    found = feed(make_metric(CMMD, as_reference(y), smoke), x).result()
    assert found.value == pytest.approx(1000 * 1e-12 / 100, rel=1e-3)
