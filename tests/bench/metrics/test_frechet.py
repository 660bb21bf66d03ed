"""The Fréchet distance against closed forms and clean-fid; its statistics against numpy; its diagnostics."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from clean_fid import clean_fid

from bench.core.errors import UserError
from bench.features.statistics import GaussianStatistics
from bench.features.views import NO_PATCH, Features
from bench.metrics.base import Metric, Reference, make_metric
from bench.metrics.catalogue import DIVERSITY, FD, KID, PATCH_FD
from bench.metrics.frechet import frechet_distance, spectrum
from bench.metrics.info import MetricInfo
from bench.metrics.titles import title_of
from bench.task.protocol import Protocol


def random_covariance(rng: np.random.Generator, dimensions: int, rank: int | None = None) -> np.ndarray:
    factor = rng.normal(size=(dimensions, rank or 2 * dimensions))
    return factor @ factor.T / factor.shape[1]


def rotation(rng: np.random.Generator, dimensions: int) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(dimensions, dimensions)))[0]


def test_diagonal_gaussians_differ_by_their_means_and_deviations() -> None:
    mean1, mean2 = np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 6.0])
    deviations1, deviations2 = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 0.5])
    expected = (4 + 9) + (1 + 0 + 2.5**2)
    result = frechet_distance(mean1, np.diag(deviations1**2), mean2, np.diag(deviations2**2))
    assert result.value == pytest.approx(expected, rel=1e-14)
    assert result.min_eigenvalue == pytest.approx((3 * 0.5) ** 2)
    assert (result.clipped, result.rank_deficient, result.by_factors) == (0, False, False)


def test_covariances_that_commute_differ_by_their_roots() -> None:
    """With common eigenvectors V, the distance is that of the square roots of the eigenvalues."""
    rng = np.random.default_rng(0)
    basis = rotation(rng, 12)
    values1, values2 = rng.uniform(0.1, 3, 12), rng.uniform(0.1, 3, 12)
    covs = [basis @ np.diag(v) @ basis.T for v in (values1, values2)]
    expected = ((np.sqrt(values1) - np.sqrt(values2)) ** 2).sum()
    result = frechet_distance(np.zeros(12), covs[0], np.zeros(12), covs[1])
    assert result.value == pytest.approx(expected, rel=1e-12)


def test_two_dimensional_covariances_that_do_not_commute() -> None:
    """For a 2 x 2 matrix with positive eigenvalues, tr M^(1/2) = sqrt(tr M + 2 sqrt(det M))."""
    cov1, cov2 = np.array([[2.0, 0.9], [0.9, 1.0]]), np.array([[1.0, -0.7], [-0.7, 3.0]])
    product = cov1 @ cov2
    root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    expected = np.trace(cov1) + np.trace(cov2) - 2 * root + 25
    result = frechet_distance(np.array([3.0, 0]), cov1, np.array([0, 4.0]), cov2)
    assert result.value == pytest.approx(expected, rel=1e-13)


def test_general_covariances_from_a_known_transport_map() -> None:
    """For T symmetric positive definite x -> T x is the optimal map: C2 = T C1 T, d^2 = tr (T-1) C1 (T-1)."""
    rng = np.random.default_rng(1)
    cov1, transport = random_covariance(rng, 20), random_covariance(rng, 20) + 0.2 * np.eye(20)
    residual = transport - np.eye(20)
    expected = np.trace(residual @ cov1 @ residual)
    result = frechet_distance(np.zeros(20), cov1, np.zeros(20), transport @ cov1 @ transport)
    assert result.value == pytest.approx(expected, rel=1e-10)


def test_the_distance_is_symmetric_and_zero_from_a_gaussian_to_itself() -> None:
    rng = np.random.default_rng(2)
    a, b = [(rng.normal(size=8), random_covariance(rng, 8)) for _ in range(2)]
    assert frechet_distance(*a, *b).value == pytest.approx(frechet_distance(*b, *a).value, rel=1e-12)
    assert 0 <= frechet_distance(*a, *a).value < 1e-12


def test_features_give_clean_fids_number() -> None:
    fid = clean_fid()
    rng = np.random.default_rng(3)
    deviations = np.exp(-np.linspace(0, 3, 48))
    mixing = rotation(rng, 48)
    sides = [rng.normal(mean, scale * deviations, (800, 48)) @ mixing for mean, scale in ((0.0, 1.0), (0.1, 1.2))]
    gaussians = [(x.mean(axis=0), np.cov(x.T)) for x in sides]
    expected = fid.frechet_distance(*gaussians[0], *gaussians[1])
    assert frechet_distance(*gaussians[0], *gaussians[1]).value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("first", [True, False])
def test_a_rank_one_covariance_has_a_closed_form_and_is_reported(first: bool) -> None:
    """With C1 = v v^T the only eigenvalue of C1 C2 is v^T C2 v. No eps is added, so the value is exact."""
    rng = np.random.default_rng(4)
    v, cov = rng.normal(size=30), random_covariance(rng, 30)
    covs = (np.outer(v, v), cov) if first else (cov, np.outer(v, v))
    result = frechet_distance(np.zeros(30), covs[0], np.zeros(30), covs[1])
    assert result.value == pytest.approx(v @ v + np.trace(cov) - 2 * np.sqrt(v @ cov @ v), rel=1e-12)
    assert result.rank_deficient and result.by_factors
    assert result.min_eigenvalue == 0
    assert 0 < result.clipped < 30  # of 29 eigenvalues that are zero, those that round below it


def test_a_rank_deficient_gaussian_is_at_distance_zero_from_itself() -> None:
    """Rounding in the null space must not enter through square roots (1e-8 per direction)."""
    cov = random_covariance(np.random.default_rng(5), 100, rank=20)
    assert frechet_distance(np.zeros(100), cov, np.zeros(100), cov).value < 1e-12


def test_orthogonal_and_empty_supports() -> None:
    first, second, none = np.diag([1.0, 0.0]), np.diag([0.0, 4.0]), np.zeros((2, 2))
    mean = np.zeros(2)
    assert frechet_distance(mean, first, mean, second).value == pytest.approx(5)
    assert frechet_distance(mean, first, mean, none).value == pytest.approx(1)
    assert frechet_distance(mean, none, mean + 1, none).value == 2


def test_badly_conditioned_covariances_keep_their_digits() -> None:
    """Eigenvalues over 12 decades: those of the product span 24, which float64 cannot hold."""
    rng = np.random.default_rng(6)
    values1, values2 = 10.0 ** -np.linspace(0, 12, 40), 10.0 ** -np.linspace(0.5, 11.5, 40)
    basis = rotation(rng, 40)
    covs = [basis @ np.diag(v) @ basis.T for v in (values1, values2)]
    result = frechet_distance(np.zeros(40), covs[0], np.zeros(40), covs[1])
    assert result.value == pytest.approx(((np.sqrt(values1) - np.sqrt(values2)) ** 2).sum(), rel=1e-9)
    assert not result.rank_deficient


def test_an_eigenvalue_lost_in_rounding_is_not_taken_for_a_small_one() -> None:
    """The product's smallest eigenvalue, 2e-18, comes out as 1e-16 or so: a root of 1e-8 in place of 1e-9."""
    rng = np.random.default_rng(11)
    values1, values2 = np.array([1.0, 1.0, 1e-9]), np.array([1.1, 1.2, 2e-9])
    expected = ((np.sqrt(values1) - np.sqrt(values2)) ** 2).sum()
    for _ in range(20):
        basis = rotation(rng, 3)
        covs = [basis @ np.diag(v) @ basis.T for v in (values1, values2)]
        assert abs(frechet_distance(np.zeros(3), covs[0], np.zeros(3), covs[1]).value - expected) < 1e-13


def test_what_is_not_a_covariance_is_an_error() -> None:
    mean, identity = np.zeros(2), np.eye(2)
    with pytest.raises(FloatingPointError, match="not finite"):
        frechet_distance(mean, np.full((2, 2), np.inf), mean, identity)
    with pytest.raises(FloatingPointError, match="not a covariance"):
        frechet_distance(mean, np.diag([1.0, -0.01]), mean, identity)
    with pytest.raises(FloatingPointError, match="not a covariance"):
        frechet_distance(mean, -identity, mean, identity)
    with pytest.raises(ValueError, match="must be"):
        frechet_distance(mean, identity, np.zeros(3), np.eye(3))


def test_a_generator_of_one_image_has_a_distance() -> None:
    mean, rest = np.full(3, 2.0), np.diag([1e-19, 0, -4e-20])  # of a covariance, in rounding
    found = frechet_distance(mean, rest, np.zeros(3), np.eye(3))
    assert found.value == pytest.approx(12 + 3) and found.rank_deficient


@pytest.mark.parametrize("batch", [1, 50, 1800])
def test_images_that_are_all_alike_have_a_distance_and_no_rank(
    protocol: Protocol, as_reference: Callable[[np.ndarray], Reference], feed: Callable[..., Metric], batch: int
) -> None:
    """A collapsed student: its covariance was what rounding left of a large mean, and ended in an error."""
    rng = np.random.default_rng(12)
    real, image = rng.normal(3.0, 1.0, (1200, 32)), rng.normal(0.0, 12.0, 32).astype(np.float32)
    measured = feed(make_metric(FD, as_reference(real), protocol), np.tile(image, (1800, 1)), batch).result()
    distance = np.square(image - real.mean(axis=0)).sum() + np.cov(real.T).trace()
    assert measured.value == pytest.approx(distance, rel=1e-12)
    assert measured.diagnostics["generated_rank"] == 0


def test_spectrum_tells_rank_from_rounding() -> None:
    cov = random_covariance(np.random.default_rng(7), 10, rank=4)
    found = spectrum(cov)
    assert (found.rank, found.rank_deficient) == (4, True)
    assert abs(found.min_eigenvalue) < 1e-14
    assert spectrum(np.diag([3.0, 2.0])) == type(found)(2, 2.0, 0, False, 5.0)


@pytest.mark.parametrize("cuts", [[], [1], [7, 7, 50], list(range(1, 100))])
def test_streaming_statistics_equal_numpys_for_any_split(cuts: list[int]) -> None:
    """A mean a million times the deviation would cost all digits of a plain sum of squares."""
    rows = np.random.default_rng(8).normal(1e6, 1.0, size=(100, 5))
    statistics = GaussianStatistics(5)
    for start, stop in itertools.pairwise([0, *cuts, 100]):
        statistics.update(rows[start:stop])
    assert statistics.count == 100
    np.testing.assert_allclose(statistics.mean, rows.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(statistics.covariance, np.cov(rows.T), rtol=1e-9, atol=1e-9)


def test_the_metric_is_the_distance_of_the_fitted_gaussians(
    protocol: Protocol, as_reference: Callable[[np.ndarray], Reference], feed: Callable[..., Metric]
) -> None:
    rng = np.random.default_rng(9)
    real, generated = rng.normal(size=(1200, 6)), rng.normal(0.2, 1.1, (1000, 6)).astype(np.float32)
    measured = feed(make_metric(FD, as_reference(real), protocol), generated, 300).result()
    gaussians = [(x.mean(axis=0), np.cov(x.T)) for x in (generated.astype(np.float64), real)]
    assert measured.value == pytest.approx(frechet_distance(*gaussians[0], *gaussians[1]).value, rel=1e-9)
    assert measured.samples == 1000
    assert measured.diagnostics["generated_rank"] == measured.diagnostics["reference_rank"] == 6
    assert measured.diagnostics["generated_rank_deficient"] is False


def test_a_covariance_whose_sums_start_at_one(
    protocol: Protocol, as_reference: Callable[[np.ndarray], Reference], feed: Callable[..., Metric]
) -> None:
    """The official DMD2 script: sums of products from torch.ones, then the mean's taken off, over N - 1."""
    rng = np.random.default_rng(11)
    real, generated = rng.normal(size=(1200, 6)), rng.normal(0.2, 1.1, (1000, 6))
    products = np.ones((6, 6))
    for row in generated:
        products += np.outer(row, row)
    mean = generated.mean(axis=0)
    covariance = (products - 1000 * np.outer(mean, mean)) / 999
    expected = frechet_distance(mean, covariance, real.mean(axis=0), np.cov(real.T)).value
    ones = replace(protocol, covariance_start="ones")
    measured = feed(make_metric(FD, as_reference(real), ones), generated, 300).result()
    assert measured.value == pytest.approx(expected, rel=1e-9)
    zeros = feed(make_metric(FD, as_reference(real), protocol), generated, 300).result()
    assert abs(measured.value - zeros.value) > 1e-6


def test_the_metric_refuses_no_more_samples_than_features_unless_smoke(
    protocol: Protocol,
    smoke: Protocol,
    as_reference: Callable[[np.ndarray], Reference],
    feed: Callable[..., Metric],
) -> None:
    """1000 images pass `min_samples`, but not with 1000 features."""
    rng = np.random.default_rng(10)
    wide = as_reference(rng.normal(size=(2, 1000)))
    with pytest.raises(UserError, match="at least 1001 generated images, got 1000"):
        feed(make_metric(FD, wide, protocol), rng.normal(size=(1000, 1000))).result()
    with pytest.raises(UserError, match="at least 500 reference images, got 20"):
        feed(make_metric(FD, as_reference(np.eye(20)), protocol), rng.normal(size=(1000, 20))).result()

    measured = feed(make_metric(FD, as_reference(rng.normal(size=(50, 20))), smoke), np.eye(20)[:15]).result()
    assert measured.diagnostics["generated_rank"] == 14
    assert measured.diagnostics["generated_rank_deficient"] is True
    assert measured.diagnostics["reference_rank_deficient"] is False


@pytest.mark.parametrize("metric", [FD, PATCH_FD])
def test_a_distance_that_fell_back_on_factors_says_so(
    metric: MetricInfo,
    smoke: Protocol,
    as_reference: Callable[[np.ndarray], Reference],
    feed: Callable[..., Metric],
) -> None:
    """With fewer images than features the product of the covariances has eigenvalues of zero."""
    rng = np.random.default_rng(12)
    reference = as_reference(rng.normal(size=(100, 20)))
    sound = feed(make_metric(metric, reference, smoke), rng.normal(size=(100, 20)), 30).result().diagnostics
    assert (sound["by_factors"], sound["clipped"], sound["generated_rank_deficient"]) == (False, 0, False)
    fallen = feed(make_metric(metric, reference, smoke), rng.normal(size=(15, 20)), 5).result().diagnostics
    assert (fallen["by_factors"], fallen["generated_rank_deficient"]) == (True, True)


def test_patch_fd_counts_images_that_had_no_patch(protocol: Protocol) -> None:
    rng = np.random.default_rng(13)
    real, generated = rng.normal(size=(1200, 4)), rng.normal(size=(1000, 4))
    gaussian = real.mean(axis=0), np.cov(real.T)
    metric = make_metric(PATCH_FD, Reference(*gaussian, 1200, "reals", "0" * 64, fallbacks=37), protocol)
    for batch, is_small in ((generated[:600], True), (generated[600:], False)):
        metric.update(Features(batch, scores={NO_PATCH: np.full(len(batch), is_small)}))
    measured = metric.result()
    assert measured.value == pytest.approx(
        frechet_distance(generated.mean(axis=0), np.cov(generated.T), *gaussian).value, rel=1e-9
    )
    assert measured.diagnostics["generated_without_patch"] == 600
    assert measured.diagnostics["reference_without_patch"] == 37


def test_patches_that_nobody_counted_are_not_said_to_be_whole(
    protocol: Protocol, as_reference: Callable[[np.ndarray], Reference], feed: Callable[..., Metric]
) -> None:
    rows = np.random.default_rng(14).normal(size=(1000, 4))
    diagnostics = feed(make_metric(PATCH_FD, as_reference(rows), protocol), rows).result().diagnostics
    assert not {"generated_without_patch", "reference_without_patch"} & diagnostics.keys()


@pytest.mark.parametrize(
    ("metric", "network", "title"),
    [
        (FD, "inception-2015-12-05", "FID"),
        (PATCH_FD, "inception-2015-12-05-clean", "Patch FID"),
        (FD, "fashion-cnn64", "FD (fashion-cnn64)"),
        (DIVERSITY, "lpips-vgg, trunk 0123", "LPIPS diversity (lpips-vgg, trunk 0123)"),
        (
            DIVERSITY,
            "convolutions of scenes-judge64, weights 1",
            "Diversity (convolutions of scenes-judge64, weights 1)",
        ),
        (KID, "fashion-cnn64", "KID of fashion-cnn64 / RMS"),
        (KID, "inception-2015-12-05", "KID"),
        (KID, "inception-own-0123456789ab", "KID"),
    ],
)
def test_a_heading_names_the_network_that_makes_the_number(metric: MetricInfo, network: str, title: str) -> None:
    assert title_of(metric, network) == title
