"""Compare DMD2 on ImageNet-64 with a transcription of the formulas: separate forwards in the official order.

    python benchmarks/imagenet_training.py [--blocks 5] [--batch 2]                      # CPU, a small network
    python benchmarks/imagenet_training.py --full --batch 40 --precision bf16            # one GPU, EDM's network

Random weights in EDM's format. A block is five iterations: five critic turns, one of them the generator's, too.
Variants follow each other in one process, each with the memory that the one before has released; the figure is the
median of their blocks. In bf16 the transcription runs as the official code does, with normalisations in bf16.
"""

from __future__ import annotations

import argparse
import copy
import gc
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from plain_loop import PlainLoop, RandomTask, new_accelerator

from bench.core.progress import SilentProgress
from bench.models.backbones.edm import EDMDenoiser
from bench.models.schedules import EDMSchedule
from bench.models.weights.edm_unet import IMAGENET64, EDMNetwork, edm_unet
from bench.runs.registry import load_catalogue
from bench.training.compiling import compiling
from bench.training.distiller import TrainingContext
from bench.training.trainer import Cadence, Trainer
from methods.recipes import DMDRecipe
from tasks.imagenet64 import TASK

SMALL = EDMNetwork(64, 128, (1, 1, 1, 1), 1, frozenset((8,)), classes=10)
BLOCK = 5
HALF = {"precision": "bf16-weights", "teacher_precision": "bf16"}
BLOCKS = {"compile_backend": "inductor", "compile_units": "blocks"}
VARIANTS: dict[str, dict[str, Any]] = {
    "independent draws": {},
    "shared draws": {"shared_critic_draws": True},
    "checkpointing": {"gradient_checkpointing": True},
    "compiled": {"compile_backend": "inductor"},
    "bf16 weights": HALF,
    "bf16 weights, shared draws": {**HALF, "shared_critic_draws": True},
    "bf16 weights, shared draws, compiled blocks": {**HALF, **BLOCKS, "shared_critic_draws": True},
}


def recipe_of(batch: int, precision: str, values: dict[str, Any]) -> DMDRecipe:
    """Return the paper's recipe with another batch size."""
    method = load_catalogue().methods.get("dmd2")
    recipe = method.recipe(TASK.name, TASK.scale, {"batch_size": batch, "precision": precision} | values)
    assert isinstance(recipe, DMDRecipe)
    return recipe


def harness(prepared: RandomTask, recipe: DMDRecipe, folder: Path) -> Callable[[int], None]:
    """Return the training step of the package as a function of the iteration."""
    accelerator = new_accelerator(recipe)
    teacher = copy.deepcopy(prepared.teacher).to(accelerator.device)
    distiller = (
        load_catalogue()
        .methods.get("dmd2")
        .load()(recipe, TrainingContext(accelerator, teacher, None, prepared.pairs))
    )
    trainer = Trainer(distiller, prepared, 0, folder, accelerator)
    trainer.begin()

    never = Cadence(checkpoint_every=10**9, validate_every=10**9)

    def step(iteration: int) -> None:
        with compiling(recipe, trainer.compiled):
            before = trainer.compiled.graphs
            trainer.advance(iteration, never, SilentProgress(), lambda _: {})
            if trainer.compiled.graphs > before:
                print(f"  {trainer.compiled}", flush=True)

    return step


def transcription(prepared: RandomTask, recipe: DMDRecipe) -> Callable[[int], None]:
    """Return the training step of the plain loop as a function of the iteration."""
    loop = PlainLoop(prepared, recipe, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return lambda _: loop.step()


@dataclass(frozen=True)
class Cost:
    """The cost of an iteration."""

    seconds: float
    peak: float
    """GiB of a GPU's memory; 0 without one."""


def cost_of(step: Callable[[int], None], blocks: int) -> Cost:
    """Measure some blocks of iterations after one that warms up."""
    seconds = list[float]()
    for block in range(blocks + 1):
        begun = now()
        for iteration in range(block * BLOCK, (block + 1) * BLOCK):
            step(iteration)
        if block:
            seconds.append((now() - begun) / BLOCK)
    peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0
    return Cost(statistics.median(seconds), peak)


def now() -> float:
    """Return the clock's time after a GPU has finished its queue."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Time all variants, and print each one's ratio to the transcription."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--full", action="store_true", help="EDM's network of 295.9 million parameters")
    parser.add_argument("--variants", default="independent draws;shared draws", help=f"of {'; '.join(VARIANTS)}")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network = IMAGENET64 if options.full else SMALL
    prepared = RandomTask(TASK, EDMDenoiser(edm_unet(network), EDMSchedule()), network.classes, images=512)
    first: Cost | None = None
    for name in ("transcription", *options.variants.split(";")):
        recipe = recipe_of(options.batch, options.precision, VARIANTS.get(name, {}))
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        with tempfile.TemporaryDirectory() as folder:
            step = transcription(prepared, recipe) if first is None else harness(prepared, recipe, Path(folder))
            found = cost_of(step, options.blocks)
        del step
        gc.collect()
        torch.cuda.empty_cache()
        first = first or found
        ratio = first.seconds / found.seconds
        print(
            f"{name:<45}{found.seconds:9.4f} s an iteration  {ratio:.3f} times as fast  {found.peak:.1f} GiB",
            flush=True,
        )
    device = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    )
    print(f"{device}, batch {options.batch}, {options.precision}, {options.threads} thread(s)")
    print(f"torch {torch.__version__}")


if __name__ == "__main__":
    main()
