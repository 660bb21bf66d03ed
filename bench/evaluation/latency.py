"""Latency of a text-to-image student: the time from one prompt to one image, by stage."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from bench.core.device import this_device
from bench.core.errors import counted
from bench.core.numerics import tf32
from bench.models.samplers import SampleNoise
from bench.task.base import Sampled

Prompt = TypeVar("Prompt")
Text = TypeVar("Text")
Latent = TypeVar("Latent")


@dataclass(frozen=True)
class Spread:
    """Repeated timings of one stage, in seconds."""

    median: float
    low: float
    """Lower quartile."""
    high: float
    """Upper quartile."""
    fastest: float
    slowest: float


@dataclass(frozen=True)
class Latency:
    """Seconds from one prompt to one image."""

    text: Spread
    """From prompt to embeddings."""
    denoising: Spread
    """From embeddings to latent: all steps of the student."""
    decoding: Spread
    """From latent to image."""
    together: Spread
    """From prompt to image, without waiting for the device between the stages."""
    device: str
    warm_up: int
    repetitions: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON data."""
        return asdict(self)


def device_name(device: torch.device) -> str:
    """Return the accelerator's name, or the processor with the number of threads that torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()}, {counted(torch.get_num_threads(), 'thread')}"


def latency(
    encode: Callable[[Prompt], Text],
    denoise: Callable[[Text], Latent],
    decode: Callable[[Latent], object],
    prompts: Sequence[Prompt],
    device: torch.device,
    *,
    warm_up: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Time three stages, each on a batch of one, over `prompts`; each prompt is one repetition.

    First, `warm_up` untimed rounds with the first prompt compile kernels and reserve memory. A stage ends when the
    device has finished its work. The single stages each wait for the device; `together` waits only after the
    image, and may take less than their sum. `encode` must not cache
    text embeddings. Raises ValueError without prompts.
    """
    if not prompts:
        raise ValueError("latency takes at least one prompt, got none")

    def timed(work: Callable[[Any], Any], given: Any) -> tuple[float, Any]:
        _wait(device)
        begun = clock()
        found = work(given)
        _wait(device)
        return clock() - begun, found

    def whole(prompt: Prompt) -> object:
        return decode(denoise(encode(prompt)))

    rounds: list[tuple[float, float, float, float]] = []
    with torch.no_grad():
        for prompt in [prompts[0]] * warm_up + list(prompts):
            text_seconds, text = timed(encode, prompt)
            denoising_seconds, latent = timed(denoise, text)
            decoding_seconds, _ = timed(decode, latent)
            rounds.append((text_seconds, denoising_seconds, decoding_seconds, timed(whole, prompt)[0]))
    of_text, denoising, decoding, together = (spread(stage) for stage in zip(*rounds[warm_up:], strict=True))
    return Latency(of_text, denoising, decoding, together, device_name(device), warm_up, len(prompts))


def latency_of(subject: Sampled, repetitions: int, warm_up: int) -> Latency:
    """Time a student or a baseline on the task that it is loaded for, image by image, on this process's device.

    TF32 is allowed where the protocol allows it, as in evaluation.
    """
    prepared, device = subject.prepared, this_device()

    def denoise(condition: Tensor) -> Tensor:
        return subject.sampler(SampleNoise([0], prepared.sample_shape, device), condition)

    with tf32(prepared.task.protocol.tf32), prepared.sampling():
        return latency(
            lambda index: prepared.conditions(torch.tensor([index], device=device)).to(device),
            denoise,
            prepared.decode,
            range(repetitions),
            device,
            warm_up=warm_up,
        )


def spread(seconds: Sequence[float]) -> Spread:
    """Return the median, quartiles and extremes of at least one timing."""
    low, median, high = (
        statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else [seconds[0]] * 3
    )
    return Spread(median, low, high, min(seconds), max(seconds))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
