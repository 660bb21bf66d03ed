"""Latency with stages that take as long as they say, by a clock that they set."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.evaluation.latency import Latency, device_name, latency, latency_of, spread
from bench.models.samplers import SampleNoise
from bench.task.base import PreparedTask, Sampled

CPU = torch.device("cpu")


class ScriptedStages:
    """A clock, and three stages that move it on: text 1 s, denoising 4 s, decoding 0.5 s, at first ten times."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slowness = 10.0
        self.calls: list[str] = []

    def clock(self) -> float:
        return self.now

    def work(self, seconds: float, call: str) -> str:
        self.now += seconds * self.slowness
        self.calls.append(call)
        return call

    def encode(self, prompt: str) -> str:
        return self.work(1.0, f"text({prompt})")

    def denoise(self, text: str) -> str:
        return self.work(4.0, f"latent({text})")

    def decode(self, latent: str) -> str:
        image = self.work(0.5, f"image({latent})")
        self.slowness = max(1.0, self.slowness / 10)  # warm after the first image
        return image

    def measure(self, prompts: list[str], warm_up: int = 1) -> Latency:
        return latency(self.encode, self.denoise, self.decode, prompts, CPU, warm_up=warm_up, clock=self.clock)


def test_each_stage_takes_its_time_and_warming_up_is_not_counted() -> None:
    found = ScriptedStages().measure(["a", "b", "c"])
    assert (found.text.median, found.denoising.median, found.decoding.median) == (1.0, 4.0, 0.5)
    assert (found.together.median, found.together.slowest) == (5.5, 5.5)
    assert (found.warm_up, found.repetitions) == (1, 3)
    cold = ScriptedStages().measure(["a", "b", "c"], warm_up=0)
    assert (cold.text.slowest, cold.text.median) == (10.0, 1.0)


def test_every_prompt_passes_through_all_stages_twice_alone_and_together() -> None:
    stages_by_clock = ScriptedStages()
    stages_by_clock.measure(["a", "b"], warm_up=2)
    ways = [call for prompt in "aaab" for call in stages(prompt) * 2]
    assert stages_by_clock.calls == ways


def stages(prompt: str) -> list[str]:
    return [f"text({prompt})", f"latent(text({prompt}))", f"image(latent(text({prompt})))"]


def test_the_device_is_waited_for_before_the_clock_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU is asked at once and works on its own: unless it is waited for, its time falls out of the count."""
    stages_by_clock, queue = ScriptedStages(), []
    stages_by_clock.slowness = 1.0

    def finish(_device: torch.device) -> None:
        stages_by_clock.now += sum(queue)
        queue.clear()

    def asked(seconds: float) -> None:
        queue.append(seconds)

    monkeypatch.setattr(torch.cuda, "synchronize", finish)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "a GPU")
    found = latency(
        lambda _: asked(1.0), lambda _: asked(4.0), lambda _: asked(0.5), ["a"], torch.device("cuda"),
        clock=stages_by_clock.clock,
    )  # fmt: skip
    assert (found.text.median, found.denoising.median, found.decoding.median) == (1.0, 4.0, 0.5)
    assert (found.together.median, found.device) == (5.5, "a GPU")


def test_the_spread_has_numpys_quartiles() -> None:
    seconds = np.random.default_rng(0).random(11).tolist()
    found = spread(seconds)
    quartiles = np.quantile(seconds, [0.25, 0.5, 0.75])
    np.testing.assert_allclose([found.low, found.median, found.high], quartiles)
    assert (found.fastest, found.slowest) == (min(seconds), max(seconds))
    assert spread([2.0]) == spread([2.0, 2.0, 2.0])


def test_no_gradient_is_recorded_and_the_device_is_named() -> None:
    weights = torch.ones(1, requires_grad=True)
    found = latency(lambda _: weights, lambda text: text * 2, lambda x: x.numpy(), ["a"], CPU)
    assert found.device == device_name(CPU) and found.device.endswith("thread")
    assert json.loads(json.dumps(found.as_dict()))["text"]["median"] == found.text.median


def test_no_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one prompt"):
        ScriptedStages().measure([])


@pytest.mark.parametrize("allowed", [True, False])
def test_a_student_is_timed_with_the_tf32_that_it_is_evaluated_with(tiny: PreparedTask, allowed: bool) -> None:
    found: list[bool] = []

    def sampler(noise: SampleNoise, condition: Tensor) -> Tensor:  # noqa: ARG001 (any class)
        found.append(torch.backends.cuda.matmul.allow_tf32)
        return noise.draw()

    protocol = replace(tiny.task.protocol, tf32=allowed)
    prepared = copy.copy(tiny)
    prepared.task = replace(tiny.task, protocol=protocol)
    latency_of(Sampled(prepared, sampler, ""), 1, 1)
    assert set(found) == {allowed}
