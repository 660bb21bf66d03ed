"""A true result never contradicts itself, and one whose value was changed does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.core.imports import load_class
from bench.features.views import Features
from bench.metrics import catalogue, catalogue_images, compositional
from bench.metrics.base import Measured, Reference, binds_its_result, make_metric, metric_class
from bench.metrics.info import MetricInfo
from bench.metrics.recorded import Recorded
from bench.metrics.scores import MeanScore
from bench.runs.installation.metrics import result_on
from bench.runs.registry import load_catalogue
from bench.task.protocol import Protocol

INFOS = [entry.load() for entry in load_catalogue().metrics]
SIZE = 4
"""Images of a prompt."""
SCORE_METRICS = (catalogue.CLIP, catalogue.ALIGNMENT, catalogue_images.AESTHETIC, catalogue.HPS)


def contradictions(info: MetricInfo, measured: Measured, images_per_prompt: int = 1, **changes: Any) -> list[str]:
    """What the class of a metric finds in a result as it is recorded, with some of it changed."""
    values: Mapping[str, Any] = {"value": measured.value, "diagnostics": measured.diagnostics, **changes}
    recorded = Recorded(values["value"], measured.samples, images_per_prompt, values["diagnostics"])
    return list(metric_class(info).contradictions(info, recorded))


@pytest.mark.parametrize("info", INFOS, ids=lambda info: info.name)
def test_known_answers_do_not_contradict_themselves(info: MetricInfo) -> None:
    for answer in load_class(info.implementation).known_answers(info):
        size = int(answer.protocol.get("images_per_prompt", 1))
        assert contradictions(info, result_on(answer, info), size) == []


def of_scores(info: MetricInfo, smoke: Protocol, scores: np.ndarray) -> Measured:
    """The result of a metric on the scores of single images, of which `SIZE` are of a prompt."""
    metric = make_metric(info, None, replace(smoke, images_per_prompt=SIZE))
    marks = {f"{info.name}_truncated": np.zeros(len(scores), dtype=bool)}
    metric.update(Features(np.zeros((len(scores), 0)), scores={info.name: scores, **marks}))
    return metric.result()


@pytest.mark.parametrize("info", SCORE_METRICS, ids=lambda info: info.name)
@pytest.mark.parametrize("kind", ["uniform", "equal", "extreme", "one prompt"])
def test_means_of_scores_bind_their_intervals(info: MetricInfo, kind: str, smoke: Protocol) -> None:
    """Extreme scores have the largest error that a range allows."""
    scores = np.random.default_rng(0).uniform(0.1, 0.9, 40)
    if kind == "equal":
        scores = np.full(40, 0.3)
    elif kind == "extreme":
        scores = np.repeat([0.0, 1.0], [12, 28])
    elif kind == "one prompt":
        scores = scores[:SIZE]
    measured = of_scores(info, smoke, scores)
    assert contradictions(info, measured, SIZE) == []
    if kind != "one prompt":
        assert any("low is" in one for one in contradictions(info, measured, SIZE, value=measured.value / 2))


def test_an_error_that_the_range_does_not_allow_is_found(smoke: Protocol) -> None:
    """Value and interval are moved together, to a share that cannot vary so much."""
    measured = of_scores(catalogue.ALIGNMENT, smoke, np.repeat([0.0, 1.0], [20, 20]))
    shift = 0.98 - measured.value
    moved = measured.diagnostics | {name: measured.diagnostics[name] + shift for name in ("low", "high")}
    (line,) = contradictions(catalogue.ALIGNMENT, measured, SIZE, value=0.98, diagnostics=moved)
    assert "is larger than values around 0.98 can have" in line
    prompts = measured.diagnostics | {"prompts": 40}
    assert any(
        "it has 40 prompts" in one
        for one in contradictions(catalogue.ALIGNMENT, measured, SIZE, diagnostics=prompts)
    )


def on_features(info: MetricInfo, protocol: Protocol, generated: np.ndarray, real: np.ndarray) -> Measured:
    metric = make_metric(info, Reference.of(real, "real", "0" * 64), protocol)
    metric.update(Features(generated))
    return metric.result()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "info",
    [
        catalogue.FD,
        catalogue.PATCH_FD,
        catalogue.KID,
        catalogue.PRECISION,
        catalogue.RECALL,
        catalogue_images.CMMD,
        catalogue_images.VENDI,
        catalogue_images.SATURATION,
        catalogue_images.CONTRAST,
    ],
    ids=lambda info: info.name,
)
def test_random_features_do_not_contradict_themselves(info: MetricInfo, seed: int, smoke: Protocol) -> None:
    random = np.random.default_rng(seed)
    generated, real = random.normal(seed / 10, 1, (31, 3)), random.normal(0, 2, (47, 3))
    assert contradictions(info, on_features(info, smoke, generated, real)) == []
    assert contradictions(info, on_features(info, smoke, real[:31], real)) == []


@pytest.mark.parametrize(
    ("info", "value", "said"),
    [
        (catalogue.FD, 1.5, "but its parts give"),
        (catalogue.PATCH_FD, 1.5, "but its parts give"),
        (catalogue.KID, 1.5, "but its parts give"),
        (catalogue_images.CMMD, 15.0, "its value is 15, but its parts give"),
        (catalogue.PRECISION, 0.51, "no whole number of generated images, of which there are 31"),
        (catalogue.RECALL, 0.51, "no whole number of real images, of which there are 47"),
        (catalogue_images.CMMD, 0.0, "but the unbiased value allow"),
        (catalogue_images.VENDI, 1.5, "but its share of the images is"),
        (catalogue_images.VENDI, 31.5, "but the images allow any to 31"),
        (catalogue_images.SATURATION, 0.1, "but the statistics of both sides allow"),
        (catalogue_images.SATURATION, 9.0, "but the statistics of both sides allow"),
    ],
)
def test_a_value_that_its_diagnostics_exclude_is_found(
    info: MetricInfo, value: float, said: str, smoke: Protocol
) -> None:
    random = np.random.default_rng(0)
    measured = on_features(info, smoke, random.normal(1, 1, (31, 3)), random.normal(0, 1, (47, 3)))
    assert any(said in one for one in contradictions(info, measured, value=value))


def test_other_parts_of_a_kernel_distance_are_found(smoke: Protocol) -> None:
    """The unbiased CMMD, which its standard error is of, is bound like the value."""
    random = np.random.default_rng(0)
    measured = on_features(
        catalogue_images.CMMD, smoke, random.normal(1, 1, (31, 3)), random.normal(0, 1, (47, 3))
    )
    lower = measured.diagnostics | {"unbiased": measured.diagnostics["unbiased"] / 2}
    (line,) = contradictions(catalogue_images.CMMD, measured, diagnostics=lower)
    assert line.startswith("its unbiased value is ")
    for part in ("generated_kernel", "reference_kernel", "cross_kernel"):
        moved = measured.diagnostics | {part: measured.diagnostics[part] * 1.001}
        assert contradictions(catalogue_images.CMMD, measured, diagnostics=moved) != []


def test_no_more_images_are_without_a_patch_than_there_are() -> None:
    assert contradictions(catalogue.PATCH_FD, Measured(3.0, 8, {"generated_without_patch": 8})) == []
    assert contradictions(catalogue.PATCH_FD, Measured(3.0, 8, {"generated_without_patch": 9})) == [
        "9 of 8 images have no patch"
    ]


def test_accuracy_geneval_and_diversity_bind_their_parts() -> None:
    accuracy = Measured(0.6, 5, {"correct": 3})
    assert contradictions(catalogue.ACCURACY, accuracy) == []
    assert contradictions(catalogue.ACCURACY, accuracy, value=0.3) == [
        "its value is 0.3, but right images are 3 of 5"
    ]
    tasks = {"single_object": 0.5, "two_object": 1.0}
    assert contradictions(compositional.GENEVAL, Measured(0.75, 8, tasks)) == []
    (line,) = contradictions(compositional.GENEVAL, Measured(0.5, 8, tasks))
    assert "the mean of its tasks is 0.75" in line
    interval = {"low": 0.4, "high": 0.6, "lowest_prompt": 0.1}
    assert contradictions(catalogue.DIVERSITY, Measured(0.5, 8, interval), SIZE) == []
    assert len(contradictions(catalogue.DIVERSITY, Measured(0.05, 8, interval), SIZE)) == 2
    assert contradictions(catalogue_images.VENDI_PROMPT, Measured(4.5, 8, {}), SIZE) != []
    assert contradictions(catalogue_images.DIVERSITY_DINO, Measured(1.5, 8, {}), SIZE) != []


def test_a_subclass_with_a_result_of_its_own_is_not_bound_by_anothers() -> None:
    """Such as a plug-in's mean with an interval of another kind."""

    class Skewed(MeanScore):
        def result(self) -> Measured:
            return Measured(0.5, 8, {"standard_error": 0.1, "low": 0.2, "high": 0.9})

    class Bound(Skewed):
        @classmethod
        def contradictions(cls, info: MetricInfo, found: Recorded) -> Iterator[str]:
            yield f"{info.name} is never {found.value:g}"

    assert not binds_its_result(Skewed) and binds_its_result(Bound)
    bound = {info.name for info in INFOS if binds_its_result(metric_class(info))}
    assert {
        "fd",
        "patch-fd",
        "kid",
        "cmmd",
        "accuracy",
        "recall",
        "alignment",
        "dpg",
        "diversity",
        "vendi-prompt",
    } <= bound


@pytest.mark.parametrize("odd", [None, True, "3", float("nan"), [3]])
def test_diagnostics_of_strangers_that_are_no_numbers_bind_nothing(odd: Any) -> None:
    """Records of earlier versions have fewer diagnostics, and others' may have any."""
    names = ("correct", "prompts", "standard_error", "low", "high", "unbiased", "reference_samples")
    names += ("generated_kernel", "reference_kernel", "cross_kernel", "generated_without_patch")
    for info in INFOS:
        within = min(max(1.0, info.range[0]), info.range[1])
        found = Recorded(within, 100, 1, dict.fromkeys(names, odd))
        assert list(metric_class(info).contradictions(info, found)) == []
