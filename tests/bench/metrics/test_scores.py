"""Means of scores and of prompts' diversities against scipy and the textbook."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bench.core.errors import UserError
from bench.core.imports import load_class
from bench.features.views import Features
from bench.metrics.base import Metric, Reference, make_metric
from bench.metrics.catalogue import ALIGNMENT, CLIP, DIVERSITY, HPS, IMAGE_REWARD, PICKSCORE
from bench.metrics.info import MetricInfo
from bench.metrics.intervals import bootstrap_interval
from bench.metrics.scores import (
    Scores,
    mean_of_groups,
)
from bench.task.protocol import Protocol


@pytest.fixture
def reference(as_reference: Callable[[np.ndarray], Reference]) -> Reference:
    return as_reference(np.ones((3, 2)))


def batch(images: int, **scores: np.ndarray) -> Features:
    return Features(np.zeros((images, 0)), scores=scores)


def fed(metric: Metric, scores: Mapping[str, np.ndarray], *cuts: int) -> Metric:
    """Give a metric scores of images, cut into batches."""
    for rows in np.split(np.arange(len(next(iter(scores.values())))), cuts):
        metric.update(batch(len(rows), **{name: values[rows] for name, values in scores.items()}))
    return metric


# Scores of images


def test_the_mean_and_its_interval_are_students(reference: Reference, smoke: Protocol) -> None:
    cosines = np.random.default_rng(0).normal(0.3, 0.05, 40).astype(np.float32)
    truncated = np.arange(40) % 10 == 0
    metric = fed(make_metric(CLIP, reference, smoke), {"clip": cosines, "clip_truncated": truncated}, 7, 7, 30)
    measured, values = metric.result(), cosines.astype(np.float64)
    assert measured.value == pytest.approx(values.mean(), rel=1e-14) and measured.samples == 40
    error = stats.sem(values)
    low, high = stats.t.interval(0.95, 39, loc=values.mean(), scale=error)
    expected = {"prompts": 40, "truncated": 4, "standard_error": error, "low": low, "high": high}
    assert measured.diagnostics == pytest.approx(expected, rel=1e-12)


def test_images_of_one_prompt_count_as_one_in_the_interval(reference: Reference, smoke: Protocol) -> None:
    """Four equal images tell no more than one: the interval is that of the prompts."""
    prompts = np.random.default_rng(1).random(20)
    once = fed(make_metric(ALIGNMENT, reference, smoke), {"alignment": prompts}).result()
    fourfold = fed(
        make_metric(ALIGNMENT, reference, replace(smoke, images_per_prompt=4)),
        {"alignment": prompts.repeat(4)},
        13,
    ).result()
    assert fourfold.diagnostics == pytest.approx(once.diagnostics, rel=1e-12)
    assert (fourfold.value, fourfold.samples) == (pytest.approx(once.value), 80)
    with pytest.raises(ValueError, match="6 values are not a multiple of 4"):
        mean_of_groups(np.zeros(6), 4)


def test_reasons_stay_with_their_scores(reference: Reference, smoke: Protocol) -> None:
    metric = make_metric(ALIGNMENT, reference, smoke)
    for scores, reasons in (([1.0, 0.0], ["", "no bag"]), ([0.5], ["a green shirt"])):
        named = {"alignment": np.array(scores)}
        metric.update(Features(np.zeros((len(scores), 0)), scores=named, reasons={"alignment": reasons}))
    assert metric.result().reasons == ["", "no bag", "a green shirt"]
    with pytest.raises(ValueError, match="1 reasons for 2 'alignment'"):
        Features(np.zeros((2, 0)), scores={"alignment": np.zeros(2)}, reasons={"alignment": ["no bag"]})


def test_one_image_has_a_score_and_no_interval(reference: Reference, smoke: Protocol) -> None:
    one = fed(make_metric(ALIGNMENT, reference, smoke), {"alignment": np.array([0.5])})
    assert one.result().diagnostics == {"prompts": 1}


@pytest.mark.parametrize("metric", [CLIP, ALIGNMENT, PICKSCORE, HPS, IMAGE_REWARD, DIVERSITY])
def test_a_task_without_the_scores_is_told_so(metric: MetricInfo, reference: Reference, smoke: Protocol) -> None:
    name, several = metric.name, replace(smoke, images_per_prompt=2)
    with pytest.raises(UserError, match=f"metric '{name}' reads the scores '{name}' .* gives aesthetics"):
        make_metric(metric, reference, several).update(batch(1, aesthetics=np.zeros(1)))


@pytest.mark.parametrize("metric", [CLIP, ALIGNMENT, PICKSCORE, HPS, IMAGE_REWARD])
def test_too_few_images_are_refused_unless_the_protocol_is_a_smoke_test(
    metric: MetricInfo, reference: Reference, protocol: Protocol, smoke: Protocol
) -> None:
    name, few = metric.name, metric.min_samples - 1
    scores = {
        name: np.ones(few),
        **{f"{name}_{mark}": np.zeros(few, bool) for mark in load_class(metric.implementation).counted},
    }
    with pytest.raises(UserError, match=f"at least {few + 1} generated images, got {few}"):
        fed(make_metric(metric, reference, protocol), scores).result()
    assert fed(make_metric(metric, reference, smoke), scores).result().value == 1
    with pytest.raises(UserError, match="got 0"):
        make_metric(metric, reference, smoke).result()


def test_scores_that_are_not_finite_are_an_error_and_not_a_number() -> None:
    with pytest.raises(UserError, match="scores 'clip' are not all finite"):
        Scores("clip").update(np.array([0.1, np.nan]))
    with pytest.raises(ValueError, match=r"must be \[n\], got \[2, 1\]"):
        Scores("clip").update(np.zeros((2, 1)))


# Diversity


def test_diversity_is_the_mean_over_prompts(reference: Reference, smoke: Protocol) -> None:
    rng = np.random.default_rng(2)
    prompts = rng.random(30)
    metric = make_metric(DIVERSITY, reference, replace(smoke, images_per_prompt=4))
    for i in range(0, 30, 10):
        metric.update(batch(40, diversity=prompts[i : i + 10]))
    measured = metric.result()
    low, high = bootstrap_interval(prompts)
    assert (measured.value, measured.samples) == (pytest.approx(prompts.mean(), rel=1e-14), 120)
    assert measured.diagnostics == pytest.approx(
        {
            "prompts": 30,
            "standard_error": stats.sem(prompts),
            "low": low,
            "high": high,
            "lowest_prompt": prompts.min(),
        }
    )
    assert low < measured.value < high


def test_diversity_of_few_prompts_is_refused(reference: Reference, protocol: Protocol, smoke: Protocol) -> None:
    metric = make_metric(DIVERSITY, reference, replace(protocol, images_per_prompt=4))
    metric.update(batch(8, diversity=np.ones(2)))
    with pytest.raises(UserError, match="at least 100 prompts' images, got 2"):
        metric.result()
    with pytest.raises(UserError, match="at least 2 prompts' images, got 0"):
        make_metric(DIVERSITY, reference, replace(smoke, images_per_prompt=4)).result()


def test_diversity_of_different_prompts_is_refused(reference: Reference, smoke: Protocol) -> None:
    """LPIPS compares four images that follow each other, whichever prompts they are of."""
    with pytest.raises(UserError, match="compares the images of one prompt, and protocol 'test' has one image"):
        make_metric(DIVERSITY, reference, smoke)
    metric = make_metric(DIVERSITY, reference, replace(smoke, images_per_prompt=2))
    with pytest.raises(
        UserError, match=r"got 2 numbers for 8 images, .* has 2 images of each.* with 4 images of each"
    ):
        metric.update(batch(8, diversity=np.ones(2)))
