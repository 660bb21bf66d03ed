"""Fréchet distance between Gaussians fitted to real and generated features (Heusel et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.features.statistics import GaussianStatistics
from bench.features.views import NO_PATCH, Features
from bench.metrics.base import Measured, Metric, Reference
from bench.metrics.info import MetricInfo
from bench.metrics.known import KnownAnswer
from bench.metrics.known_sets import flat_gaussians, turned_gaussians
from bench.metrics.recorded import Recorded, agree
from bench.task.protocol import Protocol

ROUNDING = 1e-6
"""Limit of rounding, relative to the traces: a value more negative than this is an error."""


@dataclass(frozen=True)
class Spectrum:
    """The conditioning of a covariance matrix."""

    rank: int
    """Number of eigenvalues above rounding, which is D * eps * the largest."""
    min_eigenvalue: float
    clipped: int
    """Number of negative eigenvalues, which count as zero."""
    rank_deficient: bool
    trace: float


@dataclass(frozen=True)
class FrechetResult:
    """A squared Fréchet distance, with the details of its computation."""

    value: float
    mean_distance: float
    """The part of the means: their squared distance."""
    trace_of_root: float
    """tr (C1 C2)^(1/2), twice of which is taken from that of the means and the traces."""
    min_eigenvalue: float
    """Smallest eigenvalue of cov1 @ cov2; 0 if one of them is rank deficient."""
    clipped: int
    """Number of negative eigenvalues of cov1 and cov2 that were set to zero."""
    rank_deficient: bool
    """True if either covariance has no full rank: too few samples, or dead features."""
    by_factors: bool
    """True if the eigenvalues of cov1 @ cov2 were lost in rounding, so that the trace of its root was computed
    from the singular values of factors instead."""


def frechet_distance(mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray) -> FrechetResult:
    """Return |m1-m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), the squared Fréchet distance of two Gaussians.

    Means [D], symmetric covariances [D, D] (one triangle is read); computed in float64 without a matrix
    square root. Raises FloatingPointError if an input or the value is not finite, a covariance has a
    negative eigenvalue or the value is negative, in both cases by more than rounding.
    Source: Dowson and Landau 1982; Heusel et al. 2017, eq. 6.
    """
    mean1, cov1, mean2, cov2 = (np.asarray(a, dtype=np.float64) for a in (mean1, cov1, mean2, cov2))
    if mean1.ndim != 1 or mean1.shape != mean2.shape or not cov1.shape == cov2.shape == mean1.shape * 2:
        shapes = [list(a.shape) for a in (mean1, cov1, mean2, cov2)]
        raise ValueError(f"the arguments must be [D], [D, D], [D], [D, D], got {shapes}")
    if not all(np.isfinite(a).all() for a in (mean1, cov1, mean2, cov2)):
        raise FloatingPointError("Fréchet distance of a mean or covariance that is not finite")

    traces = float(np.trace(cov1) + np.trace(cov2))
    definite = _definite_trace_of_root(cov1, cov2)
    rounding = max(_rounding(mean1), _rounding(mean2))
    trace_of_root, result = definite or _semidefinite_trace_of_root(cov1, cov2, rounding)
    apart = float((mean1 - mean2) @ (mean1 - mean2))
    value = apart + traces - 2 * trace_of_root
    if not np.isfinite(value) or value < -ROUNDING * traces:
        raise FloatingPointError(f"Fréchet distance came out as {value} (traces {traces}); not a rounding error")
    return FrechetResult(max(value, 0.0), apart, trace_of_root, *result, by_factors=definite is None)


def spectrum(cov: np.ndarray, rounding: float = 0.0) -> Spectrum:
    """Return the rank and the smallest eigenvalue of a symmetric matrix [D, D] whose entries are rounded so."""
    eigenvalues = np.linalg.eigvalsh(cov)
    rank = int((eigenvalues > max(_resolution(eigenvalues), rounding)).sum())
    clipped, trace = int((eigenvalues < 0).sum()), float(np.trace(cov))
    return Spectrum(rank, float(eigenvalues[0]), clipped, rank < len(cov), trace)


def _definite_trace_of_root(cov1: np.ndarray, cov2: np.ndarray) -> tuple[float, tuple[float, int, bool]] | None:
    """Return tr (C1 C2)^(1/2) from the eigenvalues of C1 C2, or None if rounding hides the smallest of them.

    type=2 is the problem C1 C2 v = w v: with C2 = L L^T (Cholesky) LAPACK reduces it to the symmetric
    L^T C1 L, which costs half of the two products, and driver "gv" is its fastest for eigenvalues alone.
    The transposes are the same symmetric matrices in the memory order LAPACK wants: no copy to reorder.
    """
    import scipy.linalg  # imported here, because it is slow to import

    try:
        eigenvalues = scipy.linalg.eigh(cov1.T, cov2.T, type=2, eigvals_only=True, driver="gv", check_finite=False)
    except np.linalg.LinAlgError:  # cov2 is not positive definite
        return None
    if eigenvalues[0] <= _resolution(eigenvalues):
        return None
    return float(np.sqrt(eigenvalues).sum()), (float(eigenvalues[0]), 0, False)


def _semidefinite_trace_of_root(
    cov1: np.ndarray, cov2: np.ndarray, rounding: float
) -> tuple[float, tuple[float, int, bool]]:
    """Return tr (C1 C2)^(1/2) as the sum of singular values of F1^T F2, for any C = F F^T.

    Four times slower than eigenvalues, but nothing is squared, so that small ones keep their digits; F has
    one column per resolved eigenvalue, so that the null space adds no noise.
    """
    (factor1, clipped1), (factor2, clipped2) = _factor(cov1, rounding), _factor(cov2, rounding)
    rank_deficient = min(factor1.shape[1], factor2.shape[1]) < len(cov1)
    product = factor1.T @ factor2
    singular = np.linalg.svd(product, compute_uv=False) if product.size else np.zeros(1)
    smallest = 0.0 if rank_deficient else float(singular[-1]) ** 2
    return float(singular.sum()), (smallest, clipped1 + clipped2, rank_deficient)


def _factor(cov: np.ndarray, rounding: float) -> tuple[np.ndarray, int]:
    """Return F [D, rank] with cov = F F^T up to rounding, and the number of negative eigenvalues left out.

    `rounding` is that of the features' squares, to which a covariance reduces if all images are equal.
    """
    eigenvalues, vectors = np.linalg.eigh(cov)
    if eigenvalues[0] < -ROUNDING * np.abs(eigenvalues).sum() - rounding:
        raise FloatingPointError(f"not a covariance matrix: it has an eigenvalue {eigenvalues[0]}")
    kept = eigenvalues > max(_resolution(eigenvalues), rounding)
    return vectors[:, kept] * np.sqrt(eigenvalues[kept]), int((eigenvalues < 0).sum())


def _rounding(mean: np.ndarray) -> float:
    """Return the rounding of the squares of features with this mean [D]: less is no variance."""
    return float(np.finfo(np.float64).eps * (mean @ mean))


def _resolution(eigenvalues: np.ndarray) -> float:
    """Return the size below which a computed eigenvalue may be zero; the eigenvalues ascend."""
    return len(eigenvalues) * np.finfo(np.float64).eps * abs(float(eigenvalues[-1]))


class FrechetDistance(Metric):
    """The Fréchet distance in the protocol's features; it is FID only if their network is Inception."""

    reference: Reference

    @classmethod
    def known_answers(cls, info: MetricInfo) -> Sequence[KnownAnswer]:  # noqa: ARG003
        """Return Gaussians with distances in closed form, for each of the two ways to the trace of the root."""
        turned, flat = turned_gaussians(), flat_gaussians()
        return (
            KnownAnswer.of_features("covariances that do not commute", turned.distance, *turned[:2]),
            KnownAnswer.of_features("covariances without full rank", flat.distance, *flat[:2]),
            KnownAnswer.of_features("the same images", 0.0, turned.real, turned.real),
        )

    @classmethod
    def contradictions(cls, info: MetricInfo, found: Recorded) -> Iterator[str]:  # noqa: ARG003
        """Yield whether the value is not that of its parts."""
        parts = found.numbers("mean_distance", "generated_trace", "reference_trace", "trace_of_root")
        if parts is None:
            return
        apart, generated, real, root = parts
        right = max(apart + generated + real - 2 * root, 0.0)
        if not agree(found.value, right, apart + generated + real):
            yield f"its value is {found.value:.9g}, but its parts give {right:.9g}"

    def __init__(self, reference: Reference | None, protocol: Protocol, info: MetricInfo) -> None:
        """Start the sums. Raises UserError if there is no reference."""
        super().__init__(reference, protocol, info)
        self._generated = GaussianStatistics(self.reference.dimensions)

    def check(self) -> None:
        """Raise UserError if the protocol, or the reference, has no more images than features."""
        self._require(self.protocol.samples)

    def _require(self, generated: int) -> None:
        full_rank = self.reference.dimensions + 1
        self.require(generated, "generated", defined=2, sound=full_rank)
        if self.reference.samples is not None:  # if it is unknown, the diagnostics still show the rank
            self.require(self.reference.samples, "reference", defined=2, sound=full_rank)

    def update(self, batch: Features) -> None:
        """Add the batch's features to the sums."""
        self._generated.update(batch.features)

    def result(self) -> Measured:
        """Return the distance, and the spectrum of each side's covariance.

        Raises UserError if either side has no more images than features, so that it cannot have full rank.
        """
        reference, generated = self.reference, self._generated
        self._require(generated.count)
        covariance = generated.covariance
        if self.protocol.covariance_start == "ones":
            covariance = covariance + 1 / (generated.count - 1)
        distance = frechet_distance(generated.mean, covariance, reference.mean, reference.cov)
        sides = {
            "generated": spectrum(covariance, _rounding(generated.mean)),
            "reference": reference.once("spectrum", lambda: spectrum(reference.cov, _rounding(reference.mean))),
        }
        diagnostics = {f"{side}_{key}": value for side, s in sides.items() for key, value in vars(s).items()}
        parts = {"mean_distance": distance.mean_distance, "trace_of_root": distance.trace_of_root}
        diagnostics |= {"clipped": distance.clipped, "by_factors": distance.by_factors, **parts}
        return Measured(distance.value, generated.count, diagnostics)


class PatchFrechetDistance(FrechetDistance):
    """Patch FD: the same distance over parts of the images; its diagnostics count the images without a patch."""

    def __init__(self, reference: Reference | None, protocol: Protocol, info: MetricInfo) -> None:
        super().__init__(reference, protocol, info)
        self._without: int | None = None

    @classmethod
    def contradictions(cls, info: MetricInfo, found: Recorded) -> Iterator[str]:
        """Yield what it yields of an FD, which is of patches, and whether more images lack one than there are."""
        yield from super().contradictions(info, found)
        if (without := found.number("generated_without_patch")) is not None and not 0 <= without <= found.samples:
            yield f"{without:g} of {found.samples} images have no patch"

    def update(self, batch: Features) -> None:
        """Add the batch's features to the sums, and count the images that were too small for a patch."""
        super().update(batch)
        if NO_PATCH in batch.scores:
            self._without = (self._without or 0) + int(batch.scores[NO_PATCH].sum())

    def result(self) -> Measured:
        """Return the result of FD and, if they were counted, the images of either side without a patch."""
        measured = super().result()
        reference = self.reference.fallbacks
        counts = {"generated_without_patch": self._without, "reference_without_patch": reference}
        found = {name: count for name, count in counts.items() if count is not None}
        return replace(measured, diagnostics={**measured.diagnostics, **found})
