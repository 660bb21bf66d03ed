"""Measure images per second of ImageNet-64's evaluation by stage, and the fast Inception against the plain one.

    python benchmarks/evaluation.py [--images 24]                              # CPU, a small student
    python benchmarks/evaluation.py --full --images 800 --batch 200            # one GPU, EDM's network

Random weights: speed does not depend on them. The stage with the fewest images per second limits the stream.
Images pass through the Inception in parts, as in an evaluation, and once more in one batch. TF32 is as in an
evaluation: the protocol allows it to the student, and never to the Inception.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from attempts import Attempts
from imagenet_training import SMALL
from rows import show
from torch import Tensor

from bench.core.cpu import compute_on_cpu
from bench.core.numerics import tf32
from bench.features.networks.inception import AT_ONCE, InceptionFeatures
from bench.features.networks.inception_network import Inception
from bench.features.statistics import GaussianStatistics
from bench.features.weights import FoundWeights
from bench.models.backbones.edm import EDMDenoiser
from bench.models.bf16 import to_bf16
from bench.models.samplers import SampleNoise, few_step
from bench.models.schedules import EDMSchedule
from bench.models.weights.edm_unet import IMAGENET64, edm_unet
from bench.task.images import to_uint8
from tasks.imagenet64 import TASK

SHAPE = (3, 64, 64)
ROUNDS = 5
STUDENT = "noise and one-step student"
PLAIN, FAST = "Inception, plain", "Inception, folded and channels_last"
FAST_WHOLE = f"{FAST}, one batch"
RANDOM = FoundWeights(Path("random"), "0" * 64)
Stages = dict[str, Callable[[], object]]
"""What is timed in turn, by name."""


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the wall time of one call, including the device's queue."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def timed(stages: Stages, rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Return the seconds of each stage in each round, after a round that warms up."""
    times: dict[str, list[float]] = {name: [] for name in stages}
    for round_ in range(rounds + 1):
        for name, stage in stages.items():
            took = seconds(stage, device)
            if round_:
                times[name].append(took)
    return times


@torch.no_grad()
def main() -> None:
    """Time the stages one after the other, each on the same images; the two Inceptions take turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--full", action="store_true", help="EDM's network of 295.9 million parameters")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    compute_on_cpu(options.threads)
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {options.threads} thread(s)"
    print(f"{where}, batch {options.batch}, torch {torch.__version__}", flush=True)
    images = torch.zeros(options.batch, *SHAPE, dtype=torch.uint8)

    def student() -> Stages:
        with device:
            unet = edm_unet(IMAGENET64 if options.full else SMALL)
        full = EDMDenoiser(unet, EDMSchedule()).eval().requires_grad_(False)
        half = copy.deepcopy(full)
        to_bf16(half.network)
        labels = torch.zeros(options.batch, dtype=torch.long, device=device)

        def generating(network: EDMDenoiser) -> Callable[[], Tensor]:
            def generated() -> Tensor:
                with tf32(TASK.protocol.tf32):
                    return to_uint8(few_step(network, noise(), labels, [999])).cpu()

            return generated

        return {STUDENT: generating(full), f"{STUDENT}, protocol imagenet64.bf16": generating(half)}

    def inceptions() -> Stages:
        with device:
            plain = Inception().eval().requires_grad_(False)
        fast = copy.deepcopy(plain).faster()

        def of(network: Inception, at_once: int = AT_ONCE) -> Callable[[], object]:
            extractor = InceptionFeatures(network, ("pool",), "random", RANDOM, at_once)
            return lambda: extractor(images)

        return {PLAIN: of(plain), FAST: of(fast), FAST_WHOLE: of(fast, options.batch)}

    def noise() -> SampleNoise:
        return SampleNoise(range(options.batch), SHAPE, device)

    statistics_of, found = GaussianStatistics(2048), np.zeros((options.batch, 2048))
    groups: dict[str, Callable[[], Stages]] = {
        "student": student,
        "Inceptions": inceptions,
        "noise": lambda: {"noise of each sample": lambda: noise().draw()},
        "statistics": lambda: {"float64 statistics": lambda: statistics_of.update(found)},
    }
    attempts = Attempts()
    for name, build in groups.items():
        with attempts.of(name):
            times = timed(build(), max(1, options.images // options.batch) * ROUNDS, device)
            for stage, took in times.items():
                rate = options.batch / statistics.median(took)
                show(f"{stage:<52}{rate:10.1f} images/s", variant=stage, images_per_second=rate)
            if PLAIN in times:
                ratio = statistics.median(p / f for p, f in zip(times[PLAIN], times[FAST], strict=True))
                show(f"folded and channels_last / plain: {ratio:.2f} times as fast", variant="ratio", ratio=ratio)
    attempts.end()


if __name__ == "__main__":
    main()
