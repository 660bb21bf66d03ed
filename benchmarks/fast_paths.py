"""Compare the options that make training faster with plain float32: gradients, losses and CPU seconds.

    python benchmarks/fast_paths.py --task fashion --cache CACHE     # after bench prepare --cache CACHE
    python benchmarks/fast_paths.py                                  # a small network of EDM's kind, random images

Each variant trains `dmd2` from the same weights with the same random numbers. Gradients are those of the first
iteration, as relative errors (the norm of the difference over the norm). A loss curve has ten points, each a mean
over a tenth of training; the figure is the root mean square of the relative differences of two curves. Another
seed is the yardstick.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from imagenet_training import BLOCKS, HALF
from plain_loop import RandomTask, new_accelerator
from torch import Tensor, nn

from bench.core.cpu import compute_on_cpu
from bench.core.progress import SilentProgress
from bench.models.backbones.edm import EDMDenoiser
from bench.models.schedules import EDMSchedule
from bench.models.weights.edm_unet import EDMNetwork, edm_unet
from bench.runs.registry import load_catalogue
from bench.task.declaration import Sources
from bench.training.compiling import compiling
from bench.training.distiller import TrainingContext
from bench.training.trained_model import TrainedModel
from bench.training.trainer import Trainer
from tasks.class_conditional import PreparedClassTask
from tasks.imagenet64 import TASK as IMAGENET64

NETWORK = EDMNetwork(16, 128, (1, 1), 1, frozenset((8,)), classes=10)
SHAPE = (3, 16, 16)
ANOTHER = "another seed"
POINTS = 10
"""Points of a loss curve, each the mean over as many updates."""
TURN = 5
"""Iterations of one update of the generator."""
VARIANTS: dict[str, dict[str, Any]] = {
    "float32": {},
    ANOTHER: {},
    "precision=bf16": {"precision": "bf16"},
    "precision=bf16-weights": HALF,
    "compiled blocks": BLOCKS,
    "compiled blocks, bf16-weights": {**BLOCKS, **HALF},
    "compiled networks": {"compile_backend": "inductor"},
    "shared draws": {"shared_critic_draws": True, "critic_range": (0.1, 0.55), "gan_range": (0.1, 0.55)},
}


class Measured(NamedTuple):
    """What a training shows."""

    gradients: dict[str, Tensor]
    """Of the first iteration, by network."""
    curves: dict[str, list[float]]
    """Loss curves."""
    seconds: float
    """CPU seconds of an iteration, the median after the first ten."""
    compiled: str


def measure(prepared: PreparedClassTask, name: str, values: dict[str, Any], iterations: int) -> Measured:
    """Train a variant on a prepared task."""
    method, task = load_catalogue().methods.get("dmd2"), prepared.task
    recipe = method.recipe(task.name, task.scale, {"iterations": iterations, **values})
    accelerator = new_accelerator(recipe, cpu=True)
    torch.manual_seed(0)
    context = TrainingContext(accelerator, copy.deepcopy(prepared.teacher), None, prepared.pairs)
    distiller = method.load()(recipe, context)
    losses, seconds, gradients = dict[str, list[float]](), list[float](), dict[str, Tensor]()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(distiller, prepared, int(name == ANOTHER), Path(folder), accelerator)
        with compiling(recipe, trainer.compiled):
            for iteration in range(iterations):
                # Gradients are freed after a step, but for those that are compared.
                kept = patch.object(TrainedModel, "release_gradients") if iteration == 0 else nullcontext()
                begun = time.process_time()
                with kept:
                    figures = trainer.step(iteration)
                seconds.append(time.process_time() - begun)
                for loss, value in figures.items():
                    if loss.startswith("loss/"):
                        losses.setdefault(loss, []).append(float(value))
                if iteration == 0:
                    gradients = {
                        network: flat_gradient(model.master) for network, model in distiller.models.items()
                    }
    curves = {loss: points(values) for loss, values in losses.items()}
    return Measured(gradients, curves, statistics.median(seconds[10:]), str(trainer.compiled))


def points(values: list[float]) -> list[float]:
    """Return the means of equal parts of a list; the last few values are left out if they fill no part."""
    part = len(values) // POINTS
    return [statistics.mean(values[k * part : (k + 1) * part]) for k in range(POINTS)]


def flat_gradient(network: nn.Module) -> Tensor:
    """Return all gradients of a network as one vector."""
    return torch.cat([one.grad.flatten() for one in network.parameters() if one.grad is not None])


def distance(curve: list[float], other: list[float]) -> float:
    """Return the root mean square of the relative differences of two curves."""
    return statistics.mean((a / b - 1) ** 2 for a, b in zip(curve, other, strict=True)) ** 0.5


def row(name: str, found: Measured, plain: Measured) -> str:
    """Return a variant's line of the table."""
    apart = "draws" in name or name == ANOTHER
    gradients = [
        "" if apart else f"{float((found.gradients[network] - gradient).norm() / gradient.norm()):.1e}"
        for network, gradient in plain.gradients.items()
    ]
    losses = [f"{distance(found.curves[loss], curve):.1e}" for loss, curve in plain.curves.items()]
    ratio = f"{found.seconds / plain.seconds:.2f}"
    return " | ".join([name, *gradients, *losses, ratio, found.compiled if "compiled" in name else ""])


def task_of(name: str | None, cache: Path | None) -> PreparedClassTask:
    """Return a prepared task by name, or a random one with a network of EDM's kind."""
    if name is None:
        return RandomTask(
            replace(IMAGENET64, image_shape=SHAPE), EDMDenoiser(edm_unet(NETWORK), EDMSchedule()), 10, 512
        )
    prepared = load_catalogue().tasks.get(name).prepare(Sources(cache or Path("cache")), SilentProgress())
    assert isinstance(prepared, PreparedClassTask)
    return prepared


def main() -> None:
    """Print the table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", help="a prepared micro task with a network of EDM's kind")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument(
        "--variants", default=",".join(str(n) for n in range(len(VARIANTS))), help="numbers from 0"
    )
    options = parser.parse_args()
    least = 2 * POINTS * TURN  # the first loss of distribution matching is 0, so no point may be that alone
    if options.iterations < least:
        parser.error(f"a curve of {POINTS} points takes {least} iterations, not {options.iterations}")
    compute_on_cpu(1)
    torch.manual_seed(0)
    prepared = task_of(options.task, options.cache)
    base: dict[str, Any] = {"precision": "fp32", "teacher_precision": "fp32"}
    if not options.task:  # the recipe of ImageNet-64 has small rates
        base |= {"batch_size": 4, "lr": 1e-4, "critic_lr": 1e-4, "warmup": 0}
    plain: Measured | None = None
    for number in sorted({0, *map(int, options.variants.split(","))}):
        name, values = list(VARIANTS.items())[number]
        torch._dynamo.reset()
        found = measure(prepared, name, {**base, **values}, options.iterations)
        if plain is None:
            plain = found
            columns = [f"gradient, {network}" for network in found.gradients]
            columns += [*found.curves, "CPU seconds", "compiled"]
            print(f"| variant | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
        print(f"| {row(name, found, plain)} |", flush=True)
    print(f"\n{plain.seconds * 1000:.0f} ms an iteration in float32, torch {torch.__version__}" if plain else "")


if __name__ == "__main__":
    main()
