"""Compare DMD2 on ImageNet-64 with a transcription of the formulas: separate forwards in the official order.

    python benchmarks/imagenet_training.py [--blocks 5] [--batch 2]                      # CPU, a small network
    python benchmarks/imagenet_training.py --full --batch 40 --precision bf16            # one GPU, EDM's network
    python benchmarks/imagenet_training.py --tiny                                        # to try the script

Random weights in EDM's format. A block is five iterations: five critic turns, one of them the generator's, too.
Variants follow each other in one process, each with the memory that the one before has released; the figure is the
median of their blocks. In bf16 the transcription runs as the official code does, with normalisations in bf16, and
rather faster than that (plain_loop.py). The official code itself took 0.441 s an iteration on one H200, with torch
2.11 and batch 40. TF32 is as the recipe says, in the transcription too.
"""

from __future__ import annotations

import argparse
import contextlib
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from attempts import Attempts
from compile_watch import ToldClock
from plain_loop import PlainLoop, RandomTask, new_accelerator
from rows import show

from bench.core.cpu import compute_on_cpu
from bench.core.progress import SilentProgress
from bench.models.backbones.edm import EDMDenoiser
from bench.models.schedules import EDMSchedule
from bench.models.weights.edm_unet import IMAGENET64, EDMNetwork, edm_unet
from bench.runs.registry import load_catalogue
from bench.runs.runner import computing_as
from bench.training.cadence import Cadence
from bench.training.compiling import CompileClock, compiling
from bench.training.distiller import TrainingContext
from bench.training.trainer import Trainer
from methods.recipes import DMDRecipe
from tasks.imagenet64 import TASK

SMALL = EDMNetwork(64, 128, (1, 1, 1, 1), 1, frozenset((8,)), classes=10)
TINY = EDMNetwork(16, 128, (1,), 1, frozenset(), classes=10)
BLOCK = 5
HALF = {"precision": "bf16-weights", "teacher_precision": "bf16"}
BLOCKS = {"compile_backend": "inductor", "compile_units": "blocks", "compile_graphs": 160}
"""EDM's network of ImageNet-64 needs 106 graphs forward and 34 backward, many of them of one piece of code."""
TRANSCRIPTION = "transcription"
OFFICIAL = "for comparison, the official code on one H200, torch 2.11, batch 40: 0.441 s an iteration, 36.7 GiB"


@dataclass(frozen=True)
class Variant:
    """What is tried: values of the recipe, and what no recipe has."""

    values: dict[str, Any] = field(default_factory=dict)
    cudnn_benchmark: bool = False
    """cuDNN tries its kernels for each new shape."""
    channels_last: bool = False
    """Weights, and so activations, in this layout."""

    @contextlib.contextmanager
    def searching(self) -> Iterator[None]:
        """Let cuDNN search, or not, within a `with` block."""
        before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, self.cudnn_benchmark
        try:
            yield
        finally:
            torch.backends.cudnn.benchmark = before


SHARED = {"shared_critic_draws": True}
VARIANTS = {
    "independent draws": Variant(),
    "shared draws": Variant(SHARED),
    "checkpointing": Variant({"gradient_checkpointing": True}),
    "compiled": Variant({"compile_backend": "inductor"}),
    "bf16 weights": Variant(HALF),
    "bf16 weights, shared draws": Variant({**HALF, **SHARED}),
    "bf16 weights, shared draws, cudnn.benchmark": Variant({**HALF, **SHARED}, cudnn_benchmark=True),
    "bf16 weights, shared draws, channels_last": Variant({**HALF, **SHARED}, channels_last=True),
    "bf16 weights, shared draws, compiled blocks": Variant({**HALF, **BLOCKS, **SHARED}),
}


def recipe_of(batch: int, precision: str, values: dict[str, Any]) -> DMDRecipe:
    """Return the paper's recipe with another batch size."""
    method = load_catalogue().methods.get("dmd2")
    recipe = method.recipe(TASK.name, TASK.scale, {"batch_size": batch, "precision": precision} | values)
    assert isinstance(recipe, DMDRecipe)
    return recipe


def new_teacher(network: EDMNetwork, device: str) -> EDMDenoiser:
    """Return an untrained network that was made on its device: on a CPU that takes seconds."""
    torch.manual_seed(0)
    with torch.device(device):
        unet = edm_unet(network)
    return EDMDenoiser(unet, EDMSchedule()).eval().requires_grad_(False)


def harness(
    prepared: RandomTask, teacher: EDMDenoiser, recipe: DMDRecipe, folder: Path, clock: CompileClock
) -> Callable[[int], None]:
    """Return the training step of the package as a function of the iteration; the teacher is its own."""
    accelerator = new_accelerator(recipe)
    distiller = (
        load_catalogue()
        .methods.get("dmd2")
        .load()(recipe, TrainingContext(accelerator, teacher, None, prepared.pairs))
    )
    trainer = Trainer(distiller, prepared, 0, folder, accelerator)
    trainer.compiled = clock
    trainer.begin()

    never = Cadence(checkpoint_every=10**9, validate_every=0)

    def step(iteration: int) -> None:
        with compiling(recipe, trainer.compiled):
            before = trainer.compiled.graphs
            trainer.advance(iteration, never, SilentProgress(), lambda _: {})
            if (made := trainer.compiled.graphs) > before:
                show(f"  {trainer.compiled} by iteration {iteration + 1}", iteration=iteration + 1, graphs=made)

    return step


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


def cost_of_variant(
    prepared: RandomTask, network: EDMNetwork, name: str, options: argparse.Namespace, clock: CompileClock
) -> Cost:
    """Measure one variant, or the transcription; the clock notes what is compiled."""
    variant = VARIANTS.get(name, Variant())
    recipe = recipe_of(options.batch, options.precision, variant.values)
    teacher = new_teacher(network, "cuda" if torch.cuda.is_available() else "cpu")
    if variant.channels_last:
        teacher.to(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as folder, computing_as(recipe), variant.searching():
        if name == TRANSCRIPTION:
            loop = PlainLoop(prepared, teacher, recipe)
            return cost_of(lambda _: loop.step(), options.blocks)
        return cost_of(harness(prepared, teacher, recipe, Path(folder), clock), options.blocks)


def main() -> None:
    """Time all variants, and print each one's ratio to the transcription."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--full", action="store_true", help="EDM's network of 295.9 million parameters")
    parser.add_argument("--tiny", action="store_true", help="a network of 16 x 16 pixels")
    parser.add_argument("--variants", default="independent draws;shared draws", help=f"of {'; '.join(VARIANTS)}")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    names = options.variants.split(";")
    if unknown := [name for name in names if name not in VARIANTS]:
        parser.error(f"no variant {unknown[0]!r}; there are {'; '.join(VARIANTS)}")
    compute_on_cpu(options.threads)
    network = IMAGENET64 if options.full else TINY if options.tiny else SMALL
    task = replace(TASK, image_shape=(3, network.resolution, network.resolution))
    prepared = RandomTask(task, new_teacher(network, "meta"), network.classes, images=512)
    device = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    )
    threads = f"{options.threads} thread(s), torch {torch.__version__}"
    print(f"{device}, batch {options.batch}, {options.precision}, {threads}", flush=True)
    if options.full:
        print(OFFICIAL, flush=True)
    attempts, first = Attempts(), None
    for name in (TRANSCRIPTION, *names):
        with attempts.of(name):
            clock = ToldClock()
            found = cost_of_variant(prepared, network, name, options, clock)
            first = found if name == TRANSCRIPTION else first
            ratio = first.seconds / found.seconds if first else None
            times = f"{ratio:.3f} times as fast" if ratio else ""
            uncompiled = f"  partly UNCOMPILED: limit of graphs met ({clock.reached})" if clock.reached else ""
            show(
                f"{name:<45}{found.seconds:9.4f} s an iteration  {times}  {found.peak:.1f} GiB{uncompiled}",
                variant=name,
                seconds=found.seconds,
                ratio=ratio,
                gib=found.peak,
                limit_met=clock.reached is not None,
            )
    attempts.end()


if __name__ == "__main__":
    main()
