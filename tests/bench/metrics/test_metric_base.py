"""The base class of metrics: the reference's statistics, checks of features, and the minimum of samples."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.core.errors import UserError
from bench.features.batch import ImageBatch, features_by
from bench.features.views import Features, checked_rows
from bench.metrics.base import Metric, Reference, make_metric
from bench.metrics.catalogue import ACCURACY, FD, KID, PRECISION, RECALL
from bench.metrics.info import MetricInfo
from bench.task.protocol import Protocol

METRICS: list[MetricInfo] = [FD, KID, PRECISION, RECALL, ACCURACY]
AsReference = Callable[[np.ndarray], Reference]
Feed = Callable[..., Metric]


def test_reference_mean_and_covariance_are_numpys_in_float64(as_reference: AsReference) -> None:
    features = np.random.default_rng(0).normal(5.0, 1.0, (9000, 7)).astype(np.float32)
    reference = as_reference(features)
    np.testing.assert_allclose(reference.mean, features.astype(np.float64).mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(reference.cov, np.cov(features.astype(np.float64).T), rtol=1e-11, atol=1e-14)
    assert reference.cov is reference.cov


def test_what_a_reference_derives_is_computed_once(as_reference: AsReference) -> None:
    reference = as_reference(np.zeros((2, 1)))
    assert reference.once("answer", lambda: 42) == 42
    assert reference.once("answer", lambda: 43) == 42


def test_a_diverged_student_is_an_error_and_not_a_number() -> None:
    features = np.array([[0.0, np.nan]])
    with pytest.raises(UserError, match="generated images are not all finite"):
        Features(features)


@pytest.mark.parametrize("size", [1e-200, 1e-60, 1e60, 1e200])
def test_sizes_that_float32_does_not_have_are_refused(size: float, as_reference: AsReference) -> None:
    """Without this the KID of features of 1e200 would be 0, and of 1e-200 every precision 1."""
    features = np.array([[size, 0.0], [-size, size / 2]])
    with pytest.raises(UserError, match="features of the generated images are of the size"):
        Features(features)
    with pytest.raises(UserError, match=r"features of the reference .* are of the size"):
        as_reference(features)
    assert len(Features(np.zeros((2, 3)))) == len(Features(np.full((2, 3), 3e38))) == 2


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (np.zeros((3, 2)), "returned ndarray; fix: return a Features"),
        (Features(np.zeros((2, 2))), "returned 2 rows for 3 images; fix: return one for each image"),
        (Features(np.zeros((4, 2))), "returned 4 rows for 3 images"),
    ],
)
def test_an_extractor_with_other_rows_is_refused_by_name(found: object, said: str) -> None:
    with pytest.raises(UserError, match=f"feature extractor 'mine' {said}"):
        checked_rows("mine", found, 3)
    patches = Features(np.zeros((6, 2)))
    assert checked_rows("mine", patches, 3) is patches


def test_features_logits_and_scores_must_match() -> None:
    with pytest.raises(ValueError, match="logits of 2 images"):
        Features(np.zeros((2, 3)), logits=np.zeros((1, 10)))
    with pytest.raises(ValueError, match="scores 'clip' of 2 images must be at most 2"):
        Features(np.zeros((2, 3)), scores={"clip": np.zeros(3)})
    with pytest.raises(ValueError, match="float32 or float64"):
        Features(np.zeros((2, 3), int))
    for odd in (torch.zeros(2), [0.0, 0.0], np.array(["a", "b"])):
        with pytest.raises(ValueError, match="scores 'clip' must be an array of NumPy's numbers, got "):
            Features(np.zeros((2, 3)), scores={"clip": odd})


@pytest.mark.parametrize(
    "implementation", ["no_such_module:Mean", "bench.metrics.scores:Mean", "math:pi", "builtins:dict"]
)
def test_a_metric_without_a_class_is_refused_by_name(implementation: str, protocol: Protocol) -> None:
    info = replace(ACCURACY, implementation=implementation)
    with pytest.raises(
        UserError, match=f"metric 'accuracy' is implemented by '{implementation}', .*; fix: name a"
    ):
        make_metric(info, None, protocol)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda images: images.zero_(), "changed the batch's images.*; fix: let it work on a copy"),
        (lambda images: images.numpy().fill(0), "changed the batch's images"),
        (lambda images: images.float().zero_(), None),
    ],
)
def test_an_extractor_that_writes_into_the_images_is_refused_since_others_read_them(
    change: Callable[[torch.Tensor], object], said: str | None
) -> None:
    """It changed the FD that another extractor's features gave."""

    def extract(batch: ImageBatch) -> Features:
        change(batch.images)
        return Features(np.zeros((len(batch), 2)))

    batch = ImageBatch(torch.full((3, 1, 2, 2), 7, dtype=torch.uint8))
    if said is None:
        assert len(features_by("mine", extract, batch)) == 3
        return
    with pytest.raises(UserError, match=f"feature extractor 'mine' {said}"):
        features_by("mine", extract, batch)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda n: Features(np.zeros((n, 2), np.float16)), r"features .* \[n, D\], got float16 \[3, 2\]"),
        (lambda n: Features(np.zeros((n, 2), int)), r"features .* got int64 \[3, 2\]"),
        (lambda n: Features(np.zeros((n, 2, 1))), r"features .* got float64 \[3, 2, 1\]"),
        (lambda n: Features(torch.zeros(n, 2)), "features .* got Tensor"),  # type: ignore[arg-type]
        (lambda n: Features(np.zeros((n, 2)), np.zeros((n, 5), np.float16)), r"logits .* got float16 \[3, 5\]"),
        (lambda n: Features(np.zeros((n, 0)), scores={"mine": np.zeros((n, 1))}), r"scores .* got \[3, 1\]"),
    ],
)
def test_an_extractor_with_arrays_of_another_form_is_refused_by_name(
    make: Callable[[int], Features], said: str
) -> None:
    """Float16 among them: a network in half precision is another one, whose features have three digits."""
    batch = ImageBatch(torch.zeros(3, 1, 2, 2, dtype=torch.uint8))
    with pytest.raises(UserError, match=rf"^feature extractor 'mine': {said}.*; fix: .*values\.float\(\)"):
        features_by("mine", lambda batch: make(len(batch)), batch)


def test_an_extractor_that_loads_nothing_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"'mine' was loaded as NoneType; fix: let its load\(\) return a function"):
        features_by("mine", None, ImageBatch(torch.zeros(1, 1, 2, 2, dtype=torch.uint8)))


@pytest.mark.parametrize("metric", [FD, KID, PRECISION, RECALL])
def test_features_of_another_dimension_than_the_reference_are_refused(
    metric: MetricInfo, as_reference: AsReference, protocol: Protocol, feed: Feed
) -> None:
    with pytest.raises(ValueError, match="3"):
        feed(make_metric(metric, as_reference(np.zeros((5, 4))), protocol), np.zeros((5, 3)))


@pytest.mark.parametrize("metric", METRICS)
def test_too_few_images_are_refused_unless_the_protocol_is_a_smoke_test(
    metric: MetricInfo, as_reference: AsReference, protocol: Protocol, smoke: Protocol, feed: Feed
) -> None:
    rng = np.random.default_rng(0)
    reference, few = (
        as_reference(rng.normal(size=(1500, 3))),
        rng.normal(size=(metric.min_samples - 1, 3)),
    )
    with pytest.raises(UserError, match=rf"{metric.name}.*at least {metric.min_samples} generated"):
        feed(make_metric(metric, reference, protocol), few).result()
    measured = feed(make_metric(metric, reference, smoke), few).result()
    assert measured.samples == len(few) and np.isfinite(measured.value)


@pytest.mark.parametrize("metric", METRICS)
def test_no_images_at_all_are_refused_even_by_a_smoke_protocol(
    metric: MetricInfo, as_reference: AsReference, smoke: Protocol
) -> None:
    with pytest.raises(UserError, match="got 0"):
        make_metric(metric, as_reference(np.ones((9, 2))), smoke).result()


@pytest.mark.parametrize("metric", METRICS)
def test_the_value_does_not_depend_on_how_the_stream_is_cut(
    metric: MetricInfo, as_reference: AsReference, smoke: Protocol, feed: Feed
) -> None:
    rng = np.random.default_rng(1)
    reference, generated = as_reference(rng.normal(size=(60, 3))), rng.normal(0.3, 1.2, size=(50, 3))
    whole = feed(make_metric(metric, reference, smoke), generated).result()
    cut = feed(make_metric(metric, reference, smoke), generated, 1, 17, 0, 30).result()
    assert cut.value == pytest.approx(whole.value, rel=1e-10)
    assert cut.samples == whole.samples == 50


def test_metrics_can_be_listed_without_torch() -> None:
    modules = ", ".join(sorted({metric.implementation.partition(":")[0] for metric in METRICS}))
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
