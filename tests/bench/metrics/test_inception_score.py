"""Inception score: exact values that can be worked out, and torch-fidelity's on the same logits."""

from dataclasses import replace

import numpy as np
import pytest

from bench.core.errors import UserError
from bench.features.views import Features
from bench.metrics.base import Metric, make_metric
from bench.metrics.catalogue import INCEPTION_SCORE
from bench.metrics.inception_score import inception_scores
from bench.task.protocol import Protocol


def scored(logits: np.ndarray, protocol: Protocol, size: int = 16) -> Metric:
    metric = make_metric(INCEPTION_SCORE, None, protocol)
    for part in np.split(logits, range(size, len(logits), size)):
        metric.update(Features(np.zeros((len(part), 0)), logits=part))
    return metric


def test_the_same_answer_for_all_images_scores_one(smoke: Protocol) -> None:
    logits = np.tile(np.array([2.0, -1.0, 0.5]), (40, 1))
    assert scored(logits, smoke).result().value == pytest.approx(1, abs=1e-12)


def test_sure_answers_over_k_classes_score_k() -> None:
    logits = np.where(np.eye(5)[np.arange(50) % 5] > 0, 0.0, -1e3)
    assert inception_scores(logits, 1) == pytest.approx([5], rel=1e-12)
    assert inception_scores(logits, 10) == pytest.approx([5] * 10, rel=1e-12)


def test_images_sorted_by_class_do_not_lower_the_score(smoke: Protocol) -> None:
    """Split in order, each tenth would hold a tenth of the classes."""
    ordered = np.where(np.eye(10)[np.arange(400) // 40] > 0, 0.0, -1e3)
    in_order = inception_scores(ordered, 10).mean()
    assert in_order == pytest.approx(1, abs=1e-9)
    assert scored(ordered, smoke).result().value > 8


def test_it_does_not_depend_on_the_batches(smoke: Protocol) -> None:
    logits = np.random.default_rng(0).normal(size=(100, 7)).astype(np.float32)
    assert scored(logits, smoke, 1).result() == scored(logits, smoke, 33).result()


def test_it_is_torch_fidelitys_of_the_same_logits(smoke: Protocol) -> None:
    metric_isc = pytest.importorskip("torch_fidelity.metric_isc", reason="torch-fidelity is not installed")
    import torch

    logits = np.random.default_rng(0).normal(size=(200, 9)).astype(np.float32)
    expected = metric_isc.isc_features_to_metric(torch.from_numpy(logits).double(), 10, True, 2020)
    found = scored(logits, smoke).result()
    assert found.value == pytest.approx(expected[metric_isc.KEY_METRIC_ISC_MEAN], rel=1e-9)
    assert found.diagnostics["split_std"] == pytest.approx(expected[metric_isc.KEY_METRIC_ISC_STD], rel=1e-6)


def test_features_without_logits_and_too_few_images_are_refused(smoke: Protocol) -> None:
    with pytest.raises(UserError, match="reads the logits of a classifier"):
        make_metric(INCEPTION_SCORE, None, smoke).update(Features(np.zeros((2, 3))))
    with pytest.raises(UserError, match="at least 5000 generated images, got 40"):
        scored(np.zeros((40, 3)), replace(smoke, smoke=False)).result()
