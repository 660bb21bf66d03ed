"""The Vendi score against the authors' package, and where it is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bench.core.errors import UserError
from bench.metrics.base import Metric, make_metric
from bench.metrics.catalogue_images import VENDI
from bench.metrics.prompt_diversity import mean_cosine_distance
from bench.metrics.titles import title_of
from bench.metrics.vendi import vendi_score
from bench.task.protocol import Protocol


@pytest.mark.parametrize("shape", [(40, 6), (6, 40), (20, 20), (1, 5)])
def test_equals_the_authors_package(shape: tuple[int, int]) -> None:
    """Of the kernel matrix, and of the smaller dual one: ours takes whichever is smaller."""
    vendi = pytest.importorskip("vendi_score.vendi")
    features = np.random.default_rng(0).normal(0.3, 1, size=shape)
    assert vendi_score(features) == pytest.approx(vendi.score_X(features), rel=1e-6)
    assert vendi_score(features) == pytest.approx(vendi.score_dual(features), rel=1e-6)


def test_counts_different_images() -> None:
    """Three directions in unequal parts are worth exp of the entropy of the parts; lengths do not count."""
    parts = np.array([5, 3, 2])
    features = np.repeat(np.eye(4)[:3], parts, axis=0) * np.arange(1, 11)[:, None]
    shares = parts / 10
    assert vendi_score(features) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-12)
    assert vendi_score(np.ones((7, 3))) == pytest.approx(1)
    assert vendi_score(np.eye(9)) == pytest.approx(9)


@pytest.mark.parametrize("size", [1e-300, 1e-170, 1e-30, 1e30, 1e160, 1e300])
def test_the_size_of_the_features_has_no_effect(size: float) -> None:
    """Their squares overflow above 1e154, and are lost below 1e-154."""
    features = np.random.default_rng(3).normal(0.3, 1, size=(20, 6))
    assert vendi_score(features * size) == pytest.approx(vendi_score(features), rel=1e-12)
    assert mean_cosine_distance(features * size) == pytest.approx(mean_cosine_distance(features), rel=1e-12)


@pytest.mark.parametrize("shape", [(50, 6), (6, 50)])
def test_the_metric_is_the_score_of_all_batches(
    shape: tuple[int, int], smoke: Protocol, feed: Callable[..., Metric]
) -> None:
    features = np.random.default_rng(1).normal(0.3, 1, size=shape).astype(np.float32)
    found = feed(make_metric(VENDI, None, smoke), features, 1, 0, 2).result()
    assert found.value == pytest.approx(vendi_score(features), rel=1e-12)
    assert found.diagnostics["share_of_images"] == pytest.approx(found.value / shape[0])


def test_the_memory_of_the_metric_is_that_of_one_matrix(smoke: Protocol, feed: Callable[..., Metric]) -> None:
    metric = feed(make_metric(VENDI, None, smoke), np.random.default_rng(2).normal(size=(500, 4)), *[50] * 9)
    arrays = [value for value in vars(metric).values() if isinstance(value, np.ndarray)]
    assert [array.shape for array in arrays] == [(4, 4)]


def test_features_without_a_direction_are_refused(smoke: Protocol, feed: Callable[..., Metric]) -> None:
    with pytest.raises(UserError, match=r"metric 'vendi': an image's features are all zero.*; fix: take another"):
        feed(make_metric(VENDI, None, smoke), np.zeros((2, 3)))
    with pytest.raises(UserError, match="'vendi' requires at least 1 generated images, got 0"):
        make_metric(VENDI, None, smoke).result()


def test_the_heading_names_the_features() -> None:
    assert title_of(VENDI, "digits-cnn32") == "Vendi (digits-cnn32)"
