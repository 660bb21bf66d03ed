"""Known answers of the built-in metrics: they are right, and a real fault changes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from bench.core.imports import load_class
from bench.features import statistics
from bench.metrics import catalogue, frechet, inception_score, kernel, precision_recall
from bench.metrics.info import MetricInfo
from bench.metrics.known import KnownAnswer
from bench.metrics.known_sets import certain_logits, flat_gaussians, turned_gaussians
from bench.metrics.scores import MeanScore
from bench.runs.installation.metrics import measured_on
from bench.runs.registry import load_catalogue

INFOS = [entry.load() for entry in load_catalogue().metrics]


def answers(info: MetricInfo) -> list[KnownAnswer]:
    return list(load_class(info.implementation).known_answers(info))


def wrong(info: MetricInfo) -> list[str]:
    """The cases of a metric that come out wrong."""
    return [one.case for one in answers(info) if not abs(measured_on(one, info) - one.expected) <= one.tolerance]


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
def test_every_built_in_metric_has_known_answers_and_gives_them(info: MetricInfo) -> None:
    assert answers(info) and wrong(info) == []


def test_the_closed_forms_agree_with_a_matrix_square_root() -> None:
    for known in (turned_gaussians(4), flat_gaussians(6)):
        means = [rows.mean(axis=0) for rows in known[:2]]
        covs = [np.cov(rows, rowvar=False) for rows in known[:2]]
        roots = np.trace(sqrtm(covs[0] @ covs[1] + 1e-14 * np.eye(len(covs[0]))).real)
        apart = float(((means[0] - means[1]) ** 2).sum())
        assert known.distance == pytest.approx(apart + np.trace(sum(covs)) - 2 * roots, abs=1e-5)


def test_the_inception_score_is_torch_fidelitys() -> None:
    metric = pytest.importorskip("torch_fidelity.metric_isc")
    logits = torch.from_numpy(certain_logits())
    found = metric.isc_features_to_metric(logits, splits=10, shuffle=True, rng_seed=2020)
    assert found["inception_score_mean"] == pytest.approx(inception_score.TEN_CLASSES, abs=1e-12)


def roots_of_each(cov1: np.ndarray, cov2: np.ndarray) -> Any:
    """The trace of C1^(1/2) C2^(1/2): equal to that of (C1 C2)^(1/2) only where the two commute."""
    roots = [
        (vectors * np.sqrt(values.clip(0))) @ vectors.T for values, vectors in map(np.linalg.eigh, (cov1, cov2))
    ]
    return float(np.trace(roots[0] @ roots[1])), (1.0, 0, False)


def in_float32(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that reads its arrays in float32."""
    return lambda *given: function(*(a.astype(np.float32) if isinstance(a, np.ndarray) else a for a in given))


class Float32Sums(statistics.GaussianStatistics):
    """Sums in float32."""

    def update(self, rows: np.ndarray) -> None:
        super().update(rows.astype(np.float32))
        self._outer = self._outer.astype(np.float32)


def test_a_wrong_square_root_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frechet, "_definite_trace_of_root", roots_of_each)
    assert "covariances that do not commute" in wrong(catalogue.FD)


def test_a_float32_covariance_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frechet, "GaussianStatistics", Float32Sums)
    assert "covariances that do not commute" in wrong(catalogue.FD)


def test_float32_eigenvalues_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frechet, "_factor", in_float32(frechet._factor))
    assert "covariances without full rank" in wrong(catalogue.FD)


def test_a_float32_kernel_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def kernel32(x: np.ndarray, y: np.ndarray, scale: float) -> np.ndarray:
        unit = np.float32(x.shape[1] * scale**2)
        cube: np.ndarray = (x.astype(np.float32) @ y.astype(np.float32).T / unit + 1) ** 3
        return cube

    monkeypatch.setattr(kernel, "_cube", kernel32)
    assert len(wrong(catalogue.KID)) == 2


def test_a_kernel_distance_with_the_diagonal_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "sums_within", lambda x, of_pairs: of_pairs(x, x).sum(axis=1))
    assert len(wrong(catalogue.KID)) == 2


@pytest.mark.parametrize("info", [catalogue.PRECISION, catalogue.RECALL], ids=lambda info: info.name)
def test_another_neighbour_is_noticed(info: MetricInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    right = precision_recall.squared_radii
    monkeypatch.setattr(precision_recall, "squared_radii", lambda features, k: right(features, k + 1))
    assert "half inside the third neighbours' balls" in wrong(info)


def test_another_order_of_random_numbers_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inception_score, "SHUFFLE_SEED", 2021)
    assert wrong(catalogue.INCEPTION_SCORE) == ["certain of ten classes, as torch-fidelity"]


def test_float32_scores_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = MeanScore.update
    monkeypatch.setattr(
        MeanScore,
        "update",
        lambda self, batch: right(
            self, type(batch)(batch.features, scores={k: v.astype(np.float32) for k, v in batch.scores.items()})
        ),
    )
    assert wrong(catalogue.CLIP) == ["the mean of two prompts"]
