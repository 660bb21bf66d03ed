"""Compare dmd2 on `fashion` with a plain loop written directly from the formulas, in iterations per second.

    python benchmarks/training.py [--blocks 12] [--iterations 25]

Both train the same networks on the same kind of data in one process, in turn, block by block, one thread;
the ratio of the medians is what the harness costs. Nothing is prepared: speed does not depend on weights.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import tempfile
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from plain_loop import PlainLoop, RandomTask

from bench.core.cpu import compute_on_cpu
from bench.core.progress import SilentProgress
from bench.runs.registry import load_catalogue
from bench.training.cadence import Cadence
from bench.training.distiller import TrainingContext
from bench.training.trainer import Trainer
from methods.recipes import DMDRecipe
from tasks.fashion.task import TASK
from tasks.micro.teacher import build_denoiser


def main() -> None:
    """Time blocks of both, in turn, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--iterations", type=int, default=25, help="per block; a multiple of 5")
    options = parser.parse_args()
    compute_on_cpu(1)
    torch.manual_seed(0)
    classes = len(TASK.class_names)
    prepared = RandomTask(TASK, build_denoiser(TASK.network, TASK.image_shape, classes), classes)
    method = load_catalogue().methods.get("dmd2")
    total = options.blocks * options.iterations + 10
    recipe = method.recipe(TASK.name, TASK.scale, {"iterations": total})
    assert isinstance(recipe, DMDRecipe)
    plain = PlainLoop(prepared, copy.deepcopy(prepared.teacher), recipe)
    accelerator = Accelerator(mixed_precision="no")
    with tempfile.TemporaryDirectory() as folder:
        distiller = method.load()(recipe, TrainingContext(accelerator, prepared.teacher, None, prepared.pairs))
        trainer = Trainer(distiller, prepared, 0, Path(folder), accelerator)
        trainer.begin()
        # As in a run of 6,000 iterations: a log line every 10, a checkpoint every 300; FD progress is evaluation.
        cadence = Cadence(checkpoint_every=300, validate_every=0)
        seconds: dict[str, list[float]] = {"plain loop": [], "harness": []}
        iteration = 0
        for block in range(options.blocks + 1):
            count = options.iterations if block else 10  # the first block warms up
            for name in seconds:
                begun = time.perf_counter()
                for k in range(count):
                    if name == "harness":
                        trainer.advance(iteration + k, cadence, SilentProgress(), lambda _: {})
                    else:
                        plain.step()
                if block:
                    seconds[name].append((time.perf_counter() - begun) / count)
            iteration += count
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    for name, value in middle.items():
        print(f"{name:<12}{1 / value:8.2f} iterations/s")
    ratios = [h / p for h, p in zip(seconds["harness"], seconds["plain loop"], strict=True)]
    print(
        f"harness / plain loop, seconds: {statistics.median(ratios):.3f} (median of {len(ratios)} paired blocks)"
    )
    print(f"{platform.processor() or platform.machine()}, 1 thread, torch {torch.__version__}")


if __name__ == "__main__":
    main()
