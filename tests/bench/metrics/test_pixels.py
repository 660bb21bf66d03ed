"""The gaps of saturation, sharpness and contrast between generated and real images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from bench.metrics.base import Metric, Reference, make_metric
from bench.metrics.catalogue_images import CONTRAST, SATURATION, SHARPNESS
from bench.metrics.pixels import transport_distance
from bench.task.protocol import Protocol


def test_the_distance_is_scipys() -> None:
    rng = np.random.default_rng(0)
    for n, m in ((1, 1), (7, 3), (40, 61)):
        x, y = rng.normal(size=n), rng.normal(0.5, 2, size=m).round(1)
        assert transport_distance(x, y) == pytest.approx(wasserstein_distance(x, y), rel=1e-12)
    assert transport_distance(x, x[::-1]) == 0


def test_each_metric_reads_its_own_column_and_says_both_means(
    smoke: Protocol, as_reference: Callable[[np.ndarray], Reference], feed: Callable[..., Metric]
) -> None:
    """Generated images with .2 more saturation, half the sharpness and the same contrast as the real ones."""
    real = np.random.default_rng(1).uniform(0.1, 0.6, size=(30, 3))
    generated = real[::-1] * np.array([1, 0.5, 1]) + np.array([0.2, 0, 0])
    found = {
        info.name: feed(make_metric(info, as_reference(real), smoke), generated, 11).result()
        for info in (SATURATION, SHARPNESS, CONTRAST)
    }
    assert found["saturation"].value == pytest.approx(0.2)
    assert found["sharpness"].value == pytest.approx(real[:, 1].mean() / 2)
    assert found["contrast"].value == pytest.approx(0, abs=1e-15)
    about = found["saturation"].diagnostics
    assert about["generated_mean"] - about["reference_mean"] == pytest.approx(0.2)
    assert about["reference_std"] == pytest.approx(real[:, 0].std()) and about["reference_samples"] == 30
