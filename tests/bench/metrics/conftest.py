"""Small stand-ins for the inputs of a metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bench.features.views import Features
from bench.metrics.base import Metric, Reference
from bench.task.protocol import Protocol


@pytest.fixture
def protocol() -> Protocol:
    return Protocol(
        name="test",
        samples=1000,
        repetitions=1,
        first_seed=0,
        labels="balanced",
        uint8="round",
        reference="synthetic",
        features="none",
        metrics=("fd", "kid", "precision", "recall", "accuracy"),
    )


@pytest.fixture
def smoke(protocol: Protocol) -> Protocol:
    return replace(protocol, smoke=True)


@pytest.fixture
def as_reference() -> Callable[[np.ndarray], Reference]:
    return lambda features: Reference.of(features, name="synthetic", sha256="0" * 64)


@pytest.fixture
def feed() -> Callable[..., Metric]:
    """Give a metric the features in batches of the sizes asked for (the last takes what is left)."""

    def feed(metric: Metric, features: np.ndarray, *sizes: int) -> Metric:
        for part in np.split(features, np.cumsum(sizes)):
            metric.update(Features(part, scores={"accuracy": np.ones(len(part), bool)}))
        return metric

    return feed
