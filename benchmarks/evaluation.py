"""Measure images per second of ImageNet-64's evaluation by stage, and the fast Inception against the plain one.

    python benchmarks/evaluation.py [--images 24]                              # CPU, a small student
    python benchmarks/evaluation.py --full --images 2000 --batch 200           # one GPU, EDM's network

Random weights: speed does not depend on them. The stage with the fewest images per second limits the stream.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from imagenet_training import SMALL
from torch import Tensor

from bench.features.inception_network import Inception
from bench.features.statistics import GaussianStatistics
from bench.models.backbones.edm import EDMDenoiser
from bench.models.samplers import SampleNoise, few_step
from bench.models.schedules import EDMSchedule
from bench.models.weights.edm_unet import IMAGENET64, edm_unet
from bench.task.images import to_uint8

SHAPE = (3, 64, 64)
ROUNDS = 5


def seconds(work: Callable[[], object], device: str) -> float:
    """Return the wall time of one call, including the device's queue."""
    if device == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


@torch.no_grad()
def main() -> None:
    """Time each stage on the same images, in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--full", action="store_true", help="EDM's network of 295.9 million parameters")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    unet = edm_unet(IMAGENET64 if options.full else SMALL)
    student = EDMDenoiser(unet, EDMSchedule()).eval().requires_grad_(False).to(device)
    plain = Inception().eval().requires_grad_(False)
    fast = copy.deepcopy(plain).faster().to(device)
    plain = plain.to(device)
    statistics_of = GaussianStatistics(np.zeros(2048))
    labels = torch.zeros(options.batch, dtype=torch.long, device=device)
    images = torch.zeros(options.batch, *SHAPE, dtype=torch.uint8)
    found = np.zeros((options.batch, 2048))

    def noise() -> SampleNoise:
        return SampleNoise(range(options.batch), SHAPE, device)

    def generated() -> Tensor:
        return to_uint8(few_step(student, noise(), labels, [999])).cpu()

    stages: dict[str, Callable[[], object]] = {
        "noise of each sample": lambda: noise().draw(),
        "noise and one-step student": generated,
        "Inception, plain": lambda: plain(images.to(device), ["pool"])["pool"].cpu(),
        "Inception, folded and channels_last": lambda: fast(images.to(device), ["pool"])["pool"].cpu(),
        "float64 statistics": lambda: statistics_of.update(found),
    }
    times: dict[str, list[float]] = {name: [] for name in stages}
    for round_ in range(max(1, options.images // options.batch) * ROUNDS + 1):
        for name, stage in stages.items():
            took = seconds(stage, device)
            if round_:  # the first warms up
                times[name].append(took)
    for name, took_each in times.items():
        print(f"{name:<38}{options.batch / statistics.median(took_each):10.1f} images/s")
    pairs = zip(times["Inception, plain"], times["Inception, folded and channels_last"], strict=True)
    print(f"folded and channels_last / plain: {statistics.median(p / f for p, f in pairs):.2f} times as fast")
    where = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {options.threads} thread(s)"
    print(f"{where}, batch {options.batch}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
