"""Precision and recall: which is which, against brute force, and on ties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.metrics import precision_recall
from bench.metrics.base import Metric, Reference, make_metric
from bench.metrics.catalogue import PRECISION, RECALL
from bench.metrics.precision_recall import fraction_inside, squared_radii
from bench.task.protocol import Protocol

AsReference = Callable[[np.ndarray], Reference]
Feed = Callable[..., Metric]


def brute_force_radii2(x: np.ndarray, k: int) -> np.ndarray:
    distances2 = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distances2, np.inf)
    return np.sort(distances2, axis=1)[:, k - 1]


def brute_force_inside(points: np.ndarray, centres: np.ndarray, k: int) -> float:
    distances2 = ((points[:, None] - centres[None]) ** 2).sum(axis=2)
    return float((distances2 <= brute_force_radii2(centres, k)).any(axis=1).mean())


@pytest.fixture
def modes() -> tuple[np.ndarray, np.ndarray]:
    """200 points in ten modes, and 200 in the first of them alone."""
    rng = np.random.default_rng(0)
    centres = 100 * np.arange(10)[:, None] * np.ones(4)
    return np.repeat(centres, 20, axis=0) + rng.normal(size=(200, 4)), 0.5 * rng.normal(size=(200, 4))


def test_a_collapsed_generator_is_precise_and_recalls_little(
    modes: tuple[np.ndarray, np.ndarray], smoke: Protocol, as_reference: AsReference, feed: Feed
) -> None:
    real, generated = modes
    assert feed(make_metric(PRECISION, as_reference(real), smoke), generated).result().value > 0.95
    assert feed(make_metric(RECALL, as_reference(real), smoke), generated).result().value < 0.1


def test_a_generator_that_strays_recalls_all_and_is_imprecise(
    modes: tuple[np.ndarray, np.ndarray], smoke: Protocol, as_reference: AsReference, feed: Feed
) -> None:
    generated, real = modes
    assert feed(make_metric(PRECISION, as_reference(real), smoke), generated).result().value < 0.1
    assert feed(make_metric(RECALL, as_reference(real), smoke), generated).result().value > 0.95


@pytest.mark.parametrize("block", [1, 1000, 2**21])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_equal_brute_force_whatever_the_blocks(k: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_recall, "BLOCK", block)
    rng = np.random.default_rng(k)
    real, generated = rng.normal(size=(90, 6)), rng.normal(0.5, 1.0, size=(70, 6))
    radii2 = squared_radii(real, k)
    np.testing.assert_allclose(radii2, brute_force_radii2(real, k), rtol=1e-12)
    assert fraction_inside(generated, real, radii2) == brute_force_inside(generated, real, k)


@pytest.mark.parametrize("k", [1, 3])
def test_equal_torch_fidelitys(k: int, smoke: Protocol, as_reference: AsReference, feed: Feed) -> None:
    """Exactly, on float64 features without ties; its distances are roots, ours are squares."""
    prc = pytest.importorskip("torch_fidelity.metric_prc", reason="torch-fidelity is not installed")
    rng = np.random.default_rng(7)
    real, generated = rng.normal(size=(120, 6)), rng.normal(0.4, 0.8, size=(150, 6))
    sizes = {"prc_neighborhood": k, "prc_batch_size": 50, "save_cpu_ram": True, "verbose": False}
    expected = prc.prc_features_to_metric(torch.from_numpy(generated), torch.from_numpy(real), **sizes)
    smoke = replace(smoke, neighbours=k)
    for info in (PRECISION, RECALL):
        found = feed(make_metric(info, as_reference(real), smoke), generated, 40).result().value
        assert found == pytest.approx(expected[info.name], rel=1e-6)  # it averages in float32
        assert 0.1 < found < 0.99


@pytest.mark.parametrize("seed", range(5))
def test_ties_are_inside_even_where_rounding_says_otherwise(seed: int) -> None:
    """On a grid nearly every distance is a tie, and 0.1 is not exact in binary."""
    rng = np.random.default_rng(seed)
    real = rng.integers(0, 4, size=(60, 3)).astype(float)
    generated = rng.integers(-2, 7, size=(80, 3)).astype(float)
    expected = brute_force_inside(generated, real, 3)
    real, generated = real * 0.1, generated * 0.1
    assert fraction_inside(generated, real, squared_radii(real, 3)) == expected


def test_copies_of_one_image_have_no_extent_but_contain_themselves() -> None:
    """A fully collapsed generator: radius 0, up to rounding, wherever the copies are."""
    copies = np.full((50, 8), 3.3)
    radii2 = squared_radii(copies, 3)
    assert radii2.max() < 1e-20
    assert fraction_inside(copies, copies, radii2) == 1
    assert fraction_inside(copies + 1e-5, copies, radii2) == 0


def test_the_k_th_neighbour_must_exist() -> None:
    with pytest.raises(ValueError, match="3 points have no 3-th"):
        squared_radii(np.zeros((3, 2)), 3)


def test_the_metrics_take_k_from_the_protocol_and_the_real_radii_from_the_reference(
    smoke: Protocol, as_reference: AsReference, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    real, generated = rng.normal(size=(90, 6)), rng.normal(0.5, 1.0, size=(70, 6))
    calls: list[int] = []
    compute = precision_recall.squared_radii

    def spy(features: np.ndarray, neighbours: int) -> np.ndarray:
        calls.append(len(features))
        return compute(features, neighbours)

    monkeypatch.setattr(precision_recall, "squared_radii", spy)
    reference, protocol = as_reference(real), replace(smoke, neighbours=2)
    for _ in range(2):
        precision = feed(make_metric(PRECISION, reference, protocol), generated, 33).result()
        recall = feed(make_metric(RECALL, reference, protocol), generated, 10, 11).result()
        assert precision.value == brute_force_inside(generated, real, 2)
        assert recall.value == brute_force_inside(real, generated, 2)
    assert calls == [90, 70, 70]
    assert precision.diagnostics == {"neighbours": 2, "reference_samples": 90}
