"""Evaluation is a stream: a sample's seed, noise and condition do not depend on its batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from clean_fid import clean_fid

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.evaluation.evaluator import Evaluator, measure
from bench.evaluation.feature_spaces import own_spaces
from bench.evaluation.image_source import SampledImages, generate
from bench.metrics.base import Reference
from bench.metrics.catalogue import FD
from bench.models.samplers import SampleNoise
from bench.runs.plan import Run
from bench.runs.registry import Catalogue
from bench.runs.runner import Runner, metrics_of
from bench.task.base import PreparedTask
from bench.task.images import to_uint8
from bench.task.protocol import MAIN
from bench.training.student_sampler import few_step_sampler


@pytest.mark.parametrize("indices", [[999], [999, 749, 499, 249]], ids=["one step", "four steps"])
def test_images_do_not_depend_on_the_batch_size(tiny: PreparedTask, indices: list[int]) -> None:
    sampler = few_step_sampler(tiny.teacher, indices)
    protocol = tiny.task.protocol
    images, conditions = {}, {}
    for size in (1, 7, 64):
        starts = range(0, protocol.samples, size)
        stages = [
            generate(sampler, tiny, protocol, 0, start, min(start + size, protocol.samples)) for start in starts
        ]
        images[size] = torch.cat([stage.images for stage in stages]).int()
        conditions[size] = torch.cat([stage.conditions for stage in stages])
    for size in (1, 7):
        assert torch.equal(conditions[size], conditions[64])
        difference = (images[size] - images[64]).abs()
        assert difference.max() <= 1
        assert (difference > 0).float().mean() <= 1e-4


def test_noise_is_bit_equal_for_every_batch_size() -> None:
    seeds = list(range(100, 164))
    whole = SampleNoise(seeds, (1, 8, 8))
    first, second = whole.draw(), whole.draw()
    for size in (1, 7):
        parts = [SampleNoise(seeds[i : i + size], (1, 8, 8)) for i in range(0, 64, size)]
        assert torch.equal(torch.cat([part.draw() for part in parts]), first)
        assert torch.equal(torch.cat([part.draw() for part in parts]), second)


def test_repetitions_have_seeds_of_their_own(tiny: PreparedTask) -> None:
    drawn: list[torch.Tensor] = []

    def record_noise(noise: SampleNoise, condition: torch.Tensor) -> torch.Tensor:
        drawn.append(noise.draw())
        return torch.zeros(len(condition), *tiny.task.image_shape)

    for repetition in (0, 1):
        generate(record_noise, tiny, tiny.task.protocol, repetition, 0, 10)
    first, second = drawn
    assert not torch.equal(first[0], second[0])
    assert torch.equal(second[0], SampleNoise([tiny.task.protocol.samples], tiny.task.image_shape).draw()[0])


def test_classes_are_balanced_by_global_index(tiny: PreparedTask) -> None:
    student = few_step_sampler(tiny.teacher, [999])
    conditions = generate(student, tiny, tiny.task.protocol, 0, 13, 64).conditions
    assert torch.equal(conditions, torch.arange(13, 64) % 10)


def test_random_classes_belong_to_their_sample_too(tiny: PreparedTask) -> None:
    protocol = replace(tiny.task.protocol, labels="random")
    student = few_step_sampler(tiny.teacher, [999])
    whole = generate(student, tiny, protocol, 1, 0, 40)
    part = generate(student, tiny, protocol, 1, 13, 20)
    assert torch.equal(part.conditions, whole.conditions[13:20])
    assert len(whole.conditions.unique()) > 5 and not torch.equal(whole.conditions, torch.arange(40) % 10)


def test_the_least_of_the_repetitions_is_shown_only_where_the_protocol_says_so(
    tiny: PreparedTask, catalogue: Catalogue, tmp_path: Path
) -> None:
    sampler = few_step_sampler(tiny.teacher, [999])
    evaluator = Evaluator(tiny, metrics_of(catalogue, tiny), SilentProgress())
    evaluator.protocol = replace(tiny.task.protocol, aggregate="minimum")
    found = {
        metric.name: metric for metric in evaluator.evaluate(SampledImages(sampler, tiny), tmp_path, "weights")[0]
    }
    fd = found["fd"]
    assert fd.value == min(fd.values) and fd.low is None and fd.title.endswith("min of 2")
    assert found["accuracy"].value == pytest.approx(np.mean(found["accuracy"].values))


def test_uint8_is_rounded_and_clipped() -> None:
    grey = torch.tensor([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0])
    assert to_uint8(grey).tolist() == [0, 0, 128, 191, 255, 255]  # 127.5 rounds to even; 191.25 rounds down


def test_fd_of_the_stream_is_fd_of_all_features_at_once(tiny: PreparedTask) -> None:
    fid = clean_fid()
    protocol = replace(tiny.task.protocol, samples=300)
    sampler = few_step_sampler(tiny.teacher, [999])
    batches = [generate(sampler, tiny, protocol, 0, start, start + 50) for start in range(0, 300, 50)]
    parts = [tiny.extractors[MAIN](batch).features for batch in batches]
    features = np.concatenate(parts).astype(np.float64)
    real = tiny.references[MAIN].rows.astype(np.float64)
    expected = fid.frechet_distance(
        features.mean(0), np.cov(features, rowvar=False), real.mean(0), np.cov(real, rowvar=False)
    )
    found = measure(
        SampledImages(sampler, tiny), tiny, protocol, {"fd": FD}, own_spaces(tiny), 0, SilentProgress()
    )
    assert found["fd"].value == pytest.approx(expected, rel=1e-6)


def untouched(*_: object) -> torch.Tensor:
    raise AssertionError("an image was made")


def test_too_few_samples_are_refused_unless_the_protocol_is_a_smoke_test(tiny: PreparedTask) -> None:
    honest = replace(tiny.task.protocol, smoke=False)
    with pytest.raises(UserError, match=r"at least .* generated images, got 120"):
        measure(SampledImages(untouched, tiny), tiny, honest, {"fd": FD}, own_spaces(tiny), 0, SilentProgress())


@pytest.mark.parametrize("metric", ["fd", "precision"])
def test_too_few_real_images_are_refused_before_an_image_is_made(
    tiny: PreparedTask, catalogue: Catalogue, tmp_path: Path, metric: str
) -> None:
    infos = {metric: catalogue.metrics.get(metric)}
    evaluator = Evaluator(tiny, infos, SilentProgress())
    evaluator.protocol = replace(tiny.task.protocol, smoke=False, samples=2000)
    space = evaluator.spaces[MAIN]
    real = space.reference_of(infos[metric])
    assert real is not None and real.features is not None
    few = Reference.of(real.features[:20], "few", "0" * 64)
    evaluator.spaces = {MAIN: replace(space, reference=few)}
    with pytest.raises(UserError, match=r"at least .* reference images, got 20"):
        evaluator.require()
    with pytest.raises(UserError, match=r"at least .* reference images, got 20"):
        evaluator.evaluate(SampledImages(untouched, tiny), tmp_path, "weights")


def test_a_record_has_every_generation_seed_and_its_interval(plan: Callable[..., Run], runner: Runner) -> None:
    record = runner.run(plan())
    fd = next(metric for metric in record.metrics if metric.name == "fd")
    assert len(fd.values) == runner.prepared.task.protocol.repetitions
    assert fd.value == pytest.approx(np.mean(fd.values))
    assert fd.low < fd.value < fd.high
    assert "digits-cnn32" in fd.title and "FID" not in fd.title
    assert record.checkpoint is not None and record.checkpoint.selection == "last"
    assert {asset.role for asset in record.weights} == {"teacher", "feature network"}


def test_an_evaluation_takes_over_finished_repetitions_of_the_same_weights_only(
    tiny: PreparedTask, catalogue: Catalogue, tmp_path: Path
) -> None:
    evaluator = Evaluator(tiny, metrics_of(catalogue, tiny), SilentProgress())
    sampler = tiny.sampled(tiny.task.baselines["teacher-ode"]).sampler
    first, _ = evaluator.evaluate(SampledImages(sampler, tiny), tmp_path, "weights a")

    def broken(*_: object) -> torch.Tensor:
        raise AssertionError("generated again")

    assert evaluator.evaluate(SampledImages(broken, tiny), tmp_path, "weights a")[0] == first
    with pytest.raises(AssertionError, match="generated again"):
        evaluator.evaluate(SampledImages(broken, tiny), tmp_path, "weights b")


def test_kid_of_scaled_features_has_a_name_of_its_own_and_earlier_repetitions_are_not_taken_for_it(
    tiny: PreparedTask, catalogue: Catalogue, tmp_path: Path
) -> None:
    evaluator = Evaluator(tiny, metrics_of(catalogue, tiny), SilentProgress())
    sampler = tiny.sampled(tiny.task.baselines["teacher-ode"]).sampler
    found = {
        metric.name: metric for metric in evaluator.evaluate(SampledImages(sampler, tiny), tmp_path, "weights")[0]
    }
    assert "kid" not in found and found["kid-rms"].title == "KID of digits-cnn32 / RMS"
    assert abs(found["kid-rms"].value or 0) < 10
    assert all(one["standard_error"] > 0 for one in found["kid-rms"].diagnostics)

    for path in tmp_path.glob("repetition-*.json"):
        earlier = json.loads(path.read_text())
        del earlier["made_of"]["quantities"]
        earlier["metrics"]["kid"]["value"] = 14961.0
        path.write_text(json.dumps(earlier))
    again = {
        metric.name: metric for metric in evaluator.evaluate(SampledImages(sampler, tiny), tmp_path, "weights")[0]
    }
    assert again["kid-rms"].value == found["kid-rms"].value
