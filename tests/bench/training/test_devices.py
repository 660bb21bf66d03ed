"""Code for GPUs on a simulated device: no tensor is left on the CPU, and the numbers are the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pretended_device import pretended_device, waits
from text_standin import CATALOGUE, choose_sdxl, declared
from torch import nn

from bench.core.progress import SilentProgress
from bench.evaluation.latency import latency_of
from bench.runs.plan import BaselineRun, Run
from bench.runs.planning import plan_run
from bench.runs.protocols.derived import sampled_in_bf16
from bench.runs.record import Record
from bench.runs.registry import Catalogue
from bench.runs.runner import Runner
from bench.task.base import PreparedTask
from bench.task.declaration import Sources
from bench.training.trainer import Trainer

pytestmark = pytest.mark.own_process  # a backward pass on a second device starts threads

TEXT_RECIPE = {
    "iterations": 2,
    "batch_size": 2,
    "precision": "fp32",
    "teacher_precision": "fp32",
    "gradient_checkpointing": False,
    "lora_rank": 4,
}


def same_numbers(one: Record, other: Record) -> None:
    """Fail unless two records have the same values, up to the rounding of other kernels."""
    for record in (one, other):
        assert record.error is None, record.error
    for metric, expected in zip(one.metrics, other.metrics, strict=True):
        assert metric.value == pytest.approx(expected.value, rel=1e-5), metric.name


def test_the_device_refuses_what_a_gpu_would() -> None:
    with pretended_device() as device:
        network = nn.Linear(3, 2).to(device)
        assert network(torch.ones(4, 3, device=device)).sum().cpu().device.type == "cpu"
        with pytest.raises(RuntimeError, match="tensors on two devices"):
            network(torch.ones(4, 3))
        with pytest.raises(RuntimeError, match="tensors on two devices"):
            torch.stack([torch.ones(2), torch.ones(2, device=device)])
        with pytest.raises(RuntimeError, match="a generator of the CPU"):
            torch.randn(2, generator=torch.Generator(), device=device)


@pytest.mark.parametrize("method", ["dmd", "dmd2-ema", "dmd2-4step"])
def test_a_run_is_that_of_the_cpu(
    method: str, plan: Callable[..., Run], catalogue: Catalogue, cache: Path, tiny: PreparedTask, tmp_path: Path
) -> None:
    expected = Runner(catalogue, tiny, SilentProgress()).run(plan(method, iterations=6))
    with pretended_device():
        prepared = catalogue.tasks.get("tiny").prepare(Sources(cache), SilentProgress())
        run = plan(method, root=tmp_path / "elsewhere", iterations=6)
        same_numbers(Runner(catalogue, prepared, SilentProgress()).run(run), expected)


@pytest.mark.parametrize("method", ["dmd", "dmd2", "dmd2-4step", "rectified"])
def test_a_training_step_never_waits_for_the_device(
    method: str, plan: Callable[..., Run], catalogue: Catalogue, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures of an iteration leave the device together, when it is over."""
    found: list[list[str]] = []
    step = Trainer.step

    def watched(self: Trainer, iteration: int) -> dict[str, torch.Tensor]:
        waits.clear()
        figures = step(self, iteration)
        found.append([*waits])
        return figures

    monkeypatch.setattr(Trainer, "step", watched)
    with pretended_device():
        prepared = catalogue.tasks.get("tiny").prepare(Sources(cache), SilentProgress())
        record = Runner(catalogue, prepared, SilentProgress()).run(plan(method, iterations=4))
    assert record.error is None, record.error
    assert found == [[]] * 4
    assert "aten::_to_copy" in waits, "what leaves the device afterwards is seen"


def test_prompts_are_looked_up_without_waiting_for_the_device(tmp_path: Path) -> None:
    """A batch has the conditions of prompts and the captions of images, which were encoded before."""
    cache = choose_sdxl(tmp_path)
    with pretended_device() as device:
        prepared = declared(cache).prepare(Sources(cache), SilentProgress())
        positions = torch.tensor([0, 1, 0])
        expected = prepared.training_condition(positions.to(device)), prepared.real_batch(positions, device)[1]
        waits.clear()
        found = prepared.training_condition_on(positions, device), prepared.real_batch(positions, device)[1]
        assert not waits
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one.cpu(), other.cpu())


@pytest.mark.parametrize("values", [{}, {"one_base": True, "critic_lora_rank": 4}], ids=["a base each", "one"])
def test_text_to_image_is_that_of_the_cpu(values: dict[str, Any], tmp_path: Path) -> None:
    """Run latents, new and cached conditions, a guided teacher, a LoRA, CLIP and a sampler of the teacher."""

    def records_in(root: Path) -> list[Record]:
        root.mkdir()
        cache = choose_sdxl(root)
        task = declared(cache)
        runner = Runner(CATALOGUE, task.prepare(Sources(cache), SilentProgress()), SilentProgress())
        run = plan_run(CATALOGUE, "dmd2-4step-lora", task, TEXT_RECIPE | values, 0, root / "runs")
        return [runner.run(run), runner.baseline(BaselineRun(task, root / "runs", task.baselines["teacher"]))]

    expected = records_in(tmp_path / "cpu")
    with pretended_device():
        found = records_in(tmp_path / "elsewhere")
    for one, other in zip(found, expected, strict=True):
        same_numbers(one, other)


@pytest.mark.parametrize("made", [lambda task: task, sampled_in_bf16], ids=["float32", "bf16"])
def test_latency_is_timed_there(made: Callable[[Any], Any], tmp_path: Path) -> None:
    cache = choose_sdxl(tmp_path)
    with pretended_device():
        task = made(declared(cache))
        prepared = task.prepare(Sources(cache), SilentProgress())
        found = latency_of(prepared.sampled(task.baselines["teacher"]), repetitions=1, warm_up=0)
    assert found.denoising.median > 0
