"""Means of scores: whatever the batches, whatever a score is of."""

import numpy as np
import pytest

from bench.metrics.scores import Alignment, Diversity
from tasks.errors import UserError
from tasks.protocol import Protocol
from tasks.views import Features


def test_a_share_is_the_mean_over_images_however_they_are_batched(smoke: Protocol) -> None:
    right = np.array([True, False, True, True, False])
    for sizes in ([5], [2, 3], [1, 1, 1, 1, 1]):
        metric = Alignment(None, smoke)
        for part in np.split(right, np.cumsum(sizes)[:-1]):
            metric.update(Features(np.zeros((len(part), 0)), scores={"alignment": part, "kinds": ~part}))
        assert (metric.result().value, metric.result().samples) == (0.6, 5)


def test_a_score_may_belong_to_a_group_of_images(smoke: Protocol) -> None:
    metric = Diversity(None, smoke)
    metric.update(Features(np.zeros((4, 2)), scores={"diversity": np.array([0.5, 1.0])}))
    metric.update(Features(np.zeros((2, 2)), scores={"diversity": np.array([3.0])}))
    assert (metric.result().value, metric.result().samples) == (1.5, 3)


def test_few_images_make_no_number(protocol: Protocol, smoke: Protocol) -> None:
    metric = Alignment(None, protocol)
    metric.update(Features(np.zeros((99, 0)), scores={"alignment": np.ones(99, bool)}))
    with pytest.raises(UserError, match="'alignment' needs at least 100 generated images, got 99"):
        metric.result()
    with pytest.raises(UserError, match="at least 1 generated"):
        Alignment(None, smoke).result()
