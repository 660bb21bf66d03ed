"""Diversity of each prompt's images in a feature space, pair by pair and by the Vendi package."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bench.core.errors import UserError
from bench.metrics.base import Metric, make_metric
from bench.metrics.catalogue_images import DIVERSITY_DINO, VENDI_PROMPT
from bench.metrics.info import MetricInfo
from bench.metrics.prompt_diversity import mean_cosine_distance
from bench.task.protocol import Protocol

BOTH = pytest.mark.parametrize("info", [VENDI_PROMPT, DIVERSITY_DINO])


@pytest.fixture
def three(smoke: Protocol) -> Protocol:
    return replace(smoke, images_per_prompt=3)


@pytest.fixture
def features() -> np.ndarray:
    """Four prompts of three images."""
    return np.random.default_rng(0).normal(0.5, 1, size=(12, 5)).astype(np.float32)


def by_pairs(rows: np.ndarray) -> float:
    """DP-DMD's number of one prompt: 1 minus the mean cosine, one pair at a time."""
    pairs = list(itertools.combinations(rows.astype(np.float64), 2))
    return 1 - float(np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]))


def test_the_mean_cosine_is_that_of_all_pairs(features: np.ndarray) -> None:
    assert mean_cosine_distance(features) == pytest.approx(by_pairs(features), rel=1e-12)
    assert mean_cosine_distance(np.array([[1.0, 0], [-3, 0]])) == pytest.approx(2)


def test_equal_images_have_no_diversity_and_never_less() -> None:
    """The lengths of unit rows are rounded, and so the mean cosine of equal ones is above 1 as often as below."""
    rng = np.random.default_rng(0)
    found = [mean_cosine_distance(np.tile(rng.normal(size=8), (4, 1))) for _ in range(50)]
    assert min(found) == 0 and max(found) < 1e-14


@pytest.mark.parametrize("sizes", [(), (3, 6), (1, 1, 5, 4)])
def test_every_prompt_has_its_score_however_images_come(
    sizes: tuple[int, ...], three: Protocol, features: np.ndarray, feed: Callable[..., Metric]
) -> None:
    package = pytest.importorskip("vendi_score.vendi")
    prompts = features.reshape(4, 3, 5)
    expected = {
        VENDI_PROMPT: [package.score_X(rows.astype(np.float64)) for rows in prompts],
        DIVERSITY_DINO: [by_pairs(rows) for rows in prompts],
    }
    for info, scores in expected.items():
        found = feed(make_metric(info, None, three), features, *sizes).result()
        np.testing.assert_allclose(found.scores, scores, rtol=1e-6)
        assert found.value == pytest.approx(np.mean(scores))
        assert found.diagnostics["prompts"] == 4
        assert found.diagnostics["low"] <= found.value <= found.diagnostics["high"]


@BOTH
def test_one_image_for_each_prompt_is_refused(info: MetricInfo, smoke: Protocol) -> None:
    with pytest.raises(UserError, match="compares the images of one prompt, and protocol 'test' has one image"):
        make_metric(info, None, smoke)


@BOTH
def test_an_incomplete_prompt_and_features_without_direction_are_refused(
    info: MetricInfo, three: Protocol, features: np.ndarray, feed: Callable[..., Metric]
) -> None:
    with pytest.raises(ValueError, match="1 images are left of a prompt that has 3"):
        feed(make_metric(info, None, three), features[:10]).result()
    with pytest.raises(UserError, match="features are all zero"):
        feed(make_metric(info, None, three), np.zeros((3, 2)))
