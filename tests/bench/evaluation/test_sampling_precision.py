"""A protocol that samples in bf16: networks round, and everything else is as in the protocol it is made from."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command import Printed
from tests_support import TINY_PLUGIN
from torch import Tensor

from bench.core.errors import UserError
from bench.core.run_folder import STUDENT
from bench.evaluation.image_source import SampledImages
from bench.evaluation.latency import latency_of
from bench.models.denoiser import Denoiser
from bench.runs.plan import Run
from bench.runs.protocols.derived import sampled_in_bf16
from bench.runs.records import read_record
from bench.runs.runner import Runner
from bench.runs.students.saved import loaded_student
from bench.task.base import PreparedTask

ON_TINY = ("--task", "tiny", "--plugin", TINY_PLUGIN)


@pytest.fixture
def half(tiny: PreparedTask) -> PreparedTask:
    """The tiny task under its protocol in bf16."""
    prepared = copy.copy(tiny)
    prepared.task = sampled_in_bf16(tiny.task)
    return prepared


def dtypes(network: Denoiser) -> set[torch.dtype]:
    return {weight.dtype for weight in network.parameters()}


def images(prepared: PreparedTask, start: int, stop: int) -> Tensor:
    sampler = prepared.sampled(prepared.task.baselines["teacher-ode"]).sampler
    return SampledImages(sampler, prepared).batch(0, start, stop).images


def test_images_are_those_of_float32_but_for_rounding(tiny: PreparedTask, half: PreparedTask) -> None:
    full, rounded = images(tiny, 0, 24).double(), images(half, 0, 24).double()
    assert 0 < (rounded - full).norm() / full.norm() < 2**-6


def test_an_image_depends_on_its_seed_and_not_on_its_batch(half: PreparedTask) -> None:
    """A batch may round otherwise by one grey level, in float32 as well as here."""
    whole, parts = images(half, 0, 12), torch.cat([images(half, 0, 5), images(half, 5, 12)])
    assert (whole.int() - parts.int()).abs().max() <= 2


def test_the_teacher_that_trains_stays_float32(tiny: PreparedTask, half: PreparedTask) -> None:
    assert dtypes(half.as_sampled(half.teacher)) == {torch.bfloat16}
    assert dtypes(half.teacher) == {torch.float32}
    assert tiny.as_sampled(tiny.teacher) is tiny.teacher


def test_a_run_under_it_is_measured_with_a_student_in_bf16_and_keeps_one_in_float32(
    half: PreparedTask, runner: Runner, plan: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures on the way are, too: the student of training stays as it is."""
    sampled: list[set[torch.dtype]] = []
    as_sampled = PreparedTask.as_sampled

    def seen(prepared: PreparedTask, denoiser: Denoiser) -> Denoiser:
        found = as_sampled(prepared, denoiser)
        sampled.append(dtypes(found))
        return found

    monkeypatch.setattr(PreparedTask, "as_sampled", seen)
    run = replace(plan(), task=half.task)
    record = Runner(runner.catalogue, half, runner.progress).run(run)
    assert record.error is None and record.protocol["sampling_precision"] == "bf16"
    assert len(sampled) > 2 and all(one == {torch.bfloat16} for one in sampled)
    student, _ = half.load_student(run.folder / STUDENT)
    assert dtypes(student) == {torch.float32}
    assert dtypes(loaded_student(half, run.folder / STUDENT)[0]) == {torch.bfloat16}


def test_a_student_that_was_measured_under_it_keeps_its_record(
    bench: Callable[..., Printed], tmp_path: Path
) -> None:
    """So a command that was killed at its end can be repeated; another result is refused, and keeps its scores."""
    assert (
        bench("run", *ON_TINY, "--method", "dmd-ttur", "--set", "iterations=1", "--set", "batch_size=4").code == 0
    )
    (run,) = (tmp_path / "runs").glob("tiny/dmd-ttur-*")
    again = ("eval", *ON_TINY, "--checkpoint", run, "--protocol", "tiny.bf16")
    assert bench(*again).code == 0
    (path,) = run.glob("protocols/*.json")
    first = path.read_text()
    assert bench(*again).code == 0 and path.read_text() == first
    record = read_record(path)
    other = record.metrics[0].model_copy(update={"values": [1.0, 2.0]})
    path.write_text(record.model_copy(update={"metrics": [other]}).model_dump_json())
    told = bench(*again)
    assert told.code == 2 and "already has another result" in told.text


def test_a_sampler_is_recorded_with_the_precision_of_its_protocol(
    bench: Callable[..., Printed], tmp_path: Path
) -> None:
    for protocol in ("tiny", "tiny.bf16"):
        assert bench("eval", *ON_TINY, "--sampler", "teacher-ode", "--protocol", protocol).code == 0
    found = {}
    for path in (tmp_path / "runs").rglob("record.json"):
        record = read_record(path)
        found[record.protocol["name"]] = record
    assert found["tiny"].provenance.precision == "fp32" and found["tiny.bf16"].provenance.precision == "bf16"
    assert "sampling_precision" not in found["tiny"].protocol
    values = [found[name].metrics[0].value or 0 for name in ("tiny", "tiny.bf16")]
    assert 0 < abs(values[0] / values[1] - 1) < 0.05
    told = bench("report", "--task", "tiny", "--no-committed")
    assert told.code == 0 and "2 generation seed(s), networks sampled in bf16" in told.text


@pytest.fixture
def of_float32(half: PreparedTask) -> PreparedTask:
    """The task with a teacher whose network casts its image to float32, whatever its weights are."""
    half.teacher = copy.deepcopy(half.teacher)
    half.teacher.network.register_forward_pre_hook(lambda _, given: (given[0].float(), *given[1:]))
    return half


REFUSED = r"runs networks in bf16, which the backbone family edm does not \(.*BFloat16.*\); fix: "


def test_a_family_that_does_not_run_in_bf16_is_refused_by_its_name(of_float32: PreparedTask) -> None:
    with pytest.raises(UserError, match=rf"protocol 'tiny\.bf16' {REFUSED}name another protocol"):
        images(of_float32, 0, 2)
    subject = of_float32.sampled(of_float32.task.baselines["teacher-ode"])
    with pytest.raises(UserError, match=REFUSED):
        latency_of(subject, 1, 0)


@pytest.mark.parametrize(
    ("asked", "fix"),
    [
        ({"precision": "bf16-weights"}, "--set precision=bf16"),
        (
            {"precision": "bf16-weights", "teacher_precision": "bf16"},
            "--set precision=bf16 --set teacher_precision",
        ),
    ],
)
def test_training_refuses_it_with_the_options_that_ask_for_it(
    of_float32: PreparedTask, runner: Runner, plan: Callable[..., Run], asked: dict[str, str], fix: str
) -> None:
    of_float32.task = replace(of_float32.task, protocol=plan().task.protocol)
    with pytest.raises(UserError, match=rf"precision=bf16-weights.* {REFUSED}{fix}"):
        Runner(runner.catalogue, of_float32, runner.progress).run(plan(**asked))


def test_a_denoiser_of_no_backbone_family_is_refused(half: PreparedTask) -> None:
    class Own(Denoiser):
        feature_shapes = ()

        def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:  # noqa: ARG002 (the interface)
            return x_t

        def features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002
            return (x_t,)

        def feature_parameters(self):  # type: ignore[no-untyped-def]
            return iter(())

        def checkpoint_gradients(self) -> None:
            """Keep everything."""

    with pytest.raises(
        UserError, match=r"'tiny\.bf16' converts .* and Own is of none; fix: name another protocol"
    ):
        half.as_sampled(Own())
