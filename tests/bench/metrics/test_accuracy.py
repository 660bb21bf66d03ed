"""Accuracy: predictions against the labels asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.features.views import Features
from bench.metrics.base import Reference, make_metric
from bench.metrics.catalogue import ACCURACY
from bench.task.protocol import Protocol


def test_accuracy_is_the_fraction_that_shows_the_class_asked_for(
    smoke: Protocol, as_reference: Callable[[np.ndarray], Reference]
) -> None:
    metric = make_metric(ACCURACY, as_reference(np.zeros((2, 3))), smoke)
    for predicted, labels in (([0, 1, 2], [0, 1, 1]), ([9], [9])):
        correct = np.array(predicted) == np.array(labels)
        metric.update(Features(np.zeros((len(labels), 3)), scores={"accuracy": correct}))
    measured = metric.result()
    assert (measured.value, measured.samples) == (0.75, 4)
    assert measured.diagnostics == {"correct": 3}
