"""Compare DMD2 on ImageNet-64 with a transcription of the formulas: separate forwards in the official order.

    python benchmarks/imagenet_training.py [--blocks 5] [--batch 2]                      # CPU, a small network
    python benchmarks/imagenet_training.py --full --batch 40 --precision bf16            # one GPU, EDM's network

Random weights in EDM's format. A block is five iterations: five critic turns, one of them the generator's, too.
All variants take turns in one process, block by block; the figure is the median ratio of their seconds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from plain_loop import PlainLoop, RandomTask

from bench.core.progress import SilentProgress
from bench.models.backbones.edm import EDMDenoiser
from bench.models.schedules import EDMSchedule
from bench.models.weights.edm_unet import IMAGENET64, EDMNetwork, edm_unet
from bench.runs.registry import load_catalogue
from bench.training.distiller import TrainingContext
from bench.training.trainer import Cadence, Trainer
from methods.recipes import DMDRecipe
from tasks.imagenet64 import TASK

SMALL = EDMNetwork(64, 128, (1, 1, 1, 1), 1, frozenset((8,)), classes=10)
BLOCK = 5
VARIANTS: dict[str, dict[str, Any]] = {
    "independent draws": {},
    "shared draws": {"shared_critic_draws": True},
    "checkpointing": {"gradient_checkpointing": True},
    "compiled": {"compile_backend": "inductor"},
}


def recipe_of(batch: int, precision: str, **values: Any) -> DMDRecipe:
    """Return the paper's recipe with another batch size."""
    method = load_catalogue().methods.get("dmd2")
    recipe = method.recipe(TASK.name, TASK.scale, {"batch_size": batch, "precision": precision, **values})
    assert isinstance(recipe, DMDRecipe)
    return recipe


def harness(prepared: RandomTask, recipe: DMDRecipe, folder: Path) -> Callable[[int], None]:
    """Return the training step of the package as a function of the iteration."""
    folder.mkdir()
    accelerator = Accelerator(mixed_precision="bf16" if recipe.precision == "bf16" else "no")
    teacher = prepared.teacher.to(accelerator.device)
    distiller = (
        load_catalogue()
        .methods.get("dmd2")
        .load()(recipe, TrainingContext(accelerator, teacher, None, prepared.pairs))
    )
    trainer = Trainer(distiller, prepared, 0, folder, accelerator)
    trainer.begin()

    never = Cadence(checkpoint_every=10**9, validate_every=10**9)
    return lambda iteration: trainer.advance(iteration, never, SilentProgress(), lambda _: {})


def transcription(prepared: RandomTask, recipe: DMDRecipe) -> Callable[[int], None]:
    """Return the training step of the plain loop as a function of the iteration."""
    loop = PlainLoop(prepared, recipe, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return lambda _: loop.step()


def timed(step: Callable[[int], None], begin: int) -> float:
    """Return the seconds per iteration of one block."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    begun = time.perf_counter()
    for iteration in range(begin, begin + BLOCK):
        step(iteration)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - begun) / BLOCK


def main() -> None:
    """Time all variants in turn, and print each one's ratio to the transcription."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--full", action="store_true", help="EDM's network of 295.9 million parameters")
    parser.add_argument("--variants", default="independent draws,shared draws", help=f"of {', '.join(VARIANTS)}")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network = IMAGENET64 if options.full else SMALL
    prepared = RandomTask(TASK, EDMDenoiser(edm_unet(network), EDMSchedule()), network.classes, images=512)
    with tempfile.TemporaryDirectory() as folder:
        steps = {"transcription": transcription(prepared, recipe_of(options.batch, options.precision))}
        for name in options.variants.split(","):
            recipe = recipe_of(options.batch, options.precision, **VARIANTS[name])
            steps[name] = harness(prepared, recipe, Path(folder) / name)
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for block in range(options.blocks + 1):
            for name, step in steps.items():
                took = timed(step, block * BLOCK)
                if block:  # the first warms up
                    seconds[name].append(took)
    for name, times in seconds.items():
        ratio = statistics.median(p / t for p, t in zip(seconds["transcription"], times, strict=True))
        print(f"{name:<20}{1 / statistics.median(times):9.4f} iterations/s   {ratio:.3f} times as fast")
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated() / 2**30
        print(f"{torch.cuda.get_device_name()}, peak {peak:.1f} GiB of all variants together")
    print(f"batch {options.batch}, {options.precision}, {options.threads} thread(s), torch {torch.__version__}")


if __name__ == "__main__":
    main()
