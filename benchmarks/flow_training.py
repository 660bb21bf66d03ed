"""Measure an iteration of four-step DMD2 on flow transformers; without a GPU, count what it takes.

    python benchmarks/flow_training.py                          # one GPU of 141 GB, at most eight minutes
    python benchmarks/flow_training.py --networks flux          # one of 80 GB
    python benchmarks/flow_training.py --counted                # fake tensors, on any machine
    python benchmarks/flow_training.py --tiny                   # the measurement on a CPU, on a few channels

SD3.5 Medium is trained in full (three networks), FLUX.1-dev as two LoRAs on one base. Weights are random and of
the published sizes; recipes are those of coco10k-sd35 and coco10k-flux. A block is five iterations: five critic
turns, one of them the generator's, too, each with as many simulated steps as there are. Latents and conditions are
given.

Operations are those of matrix products, convolutions and attention, with what gradient checkpointing repeats.
Without a GPU, memory is that of the tensors that are alive at once (fake_tensors.py).
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from accelerate import PartialState
from attempts import Attempts
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
from fake_tensors import LongestSimulation, Operations, lasting_bytes, replace_tensors
from plain_loop import new_accelerator
from rows import show
from text_training import no_pairs
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from bench.evaluation.latency import device_name
from bench.models.backbones.flux import SIDE, FluxDenoiser
from bench.models.backbones.flux import small_network as small_flux
from bench.models.backbones.sd3 import SD3Denoiser
from bench.models.backbones.sd3 import small_network as small_sd3
from bench.models.backbones.text import TextFamily
from bench.models.schedules import FlowSchedule, dynamic_shift
from bench.models.text.layout import ConditionLayout
from bench.runs.registry import load_catalogue
from bench.runs.runner import computing_as
from bench.training.distiller import Batch, Distiller, TrainingContext

BLOCK = 5
PEAKS = {"H100": 989, "H200": 989, "A100": 312, "B200": 2250, "L40S": 362}
"""TFLOP/s of dense products in bf16, by a part of the card's name (NVIDIA's data sheets; H100 SXM)."""


class Cells(NamedTuple):
    """What was measured of one training."""

    text: str
    """The cells of its line in the table."""
    numbers: Mapping[str, float | None]


@dataclass(frozen=True)
class Training:
    """A network, and the method and recipe that train it."""

    summary: str
    method: str
    task: str
    published: Callable[[], Any]
    """Build a network of the published size."""
    small: Callable[[], Any]
    """Build one of a few channels."""
    denoiser: Callable[[Any], TextFamily]


def sd35_medium() -> SD3Transformer2DModel:
    return SD3Transformer2DModel(
        num_layers=24,
        num_attention_heads=24,
        caption_projection_dim=1536,
        pos_embed_max_size=384,
        dual_attention_layers=tuple(range(13)),
        qk_norm="rms_norm",
    )


def sd3_denoiser(network: SD3Transformer2DModel) -> SD3Denoiser:
    """Return the denoiser with SD3.5's shift, and 77 tokens of CLIP and 256 of T5."""
    config = network.config
    layout = ConditionLayout(333, config.joint_attention_dim, config.pooled_projection_dim)
    return SD3Denoiser(network, FlowSchedule(shift=3.0), layout)


def flux_denoiser(network: FluxTransformer2DModel) -> FluxDenoiser:
    """Return the denoiser with FLUX.1-dev's shift at 1024 x 1024 pixels, and 512 tokens of T5."""
    config = network.config
    layout = ConditionLayout(512, config.joint_attention_dim, config.pooled_projection_dim)
    side = SIDE if config.guidance_embeds else 8
    return FluxDenoiser(network, FlowSchedule(dynamic_shift(4096)), layout, side)


TRAININGS = {
    "sd35": Training(
        "SD3.5 Medium in full",
        "dmd2-4step",
        "coco10k-sd35",
        published=sd35_medium,
        small=lambda: small_sd3((16, 8, 8), width=32, layers=2, heads=2, text_width=16, pooled=8),
        denoiser=sd3_denoiser,
    ),
    "flux": Training(
        "FLUX.1-dev, LoRAs on one base",
        "dmd2-4step-lora",
        "coco10k-flux",
        published=lambda: FluxTransformer2DModel(guidance_embeds=True),
        small=lambda: small_flux((16, 8, 8), width=64, layers=(1, 2), heads=2, text_width=16, pooled=8),
        denoiser=flux_denoiser,
    ),
}


def distiller_of(training: Training, tiny: bool, batch: int) -> Distiller[Any]:
    """Return the method on an untrained network."""
    entry = load_catalogue().methods.get(training.method)
    recipe = entry.recipe(training.task, "paper", {"batch_size": batch})
    accelerator = new_accelerator(recipe)
    # A base is made in its own precision: in float32 it may not fit.
    with accelerator.device, default_type(torch.bfloat16 if recipe.one_base else torch.float32):
        network = training.small() if tiny else training.published()
    teacher = training.denoiser(network).eval().requires_grad_(False)
    null = torch.randn(1, teacher.layout.size)
    distiller: Distiller[Any] = entry.load()(recipe, TrainingContext(accelerator, teacher, null, no_pairs))
    distiller.release_teacher()
    return distiller


@contextlib.contextmanager
def default_type(dtype: torch.dtype) -> Iterator[None]:
    """Within it, new tensors have this type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def train(distiller: Distiller[Any], iterations: range) -> None:
    """Train on random batches of the recipe's size."""
    teacher: Any = distiller.teacher
    count, device = distiller.recipe.batch_size, distiller.accelerator.device
    latents, condition = (count, *teacher.sample_shape), (count, teacher.layout.size)
    for iteration in iterations:
        rng = LongestSimulation(0, iteration, device)
        drawn = (torch.randn(shape, device=device) for shape in (condition, latents, condition))
        with distiller.accelerator.autocast():
            distiller.training_step(Batch(iteration, rng, *drawn))


def of_block(both: float, critic: float) -> float:
    """Return the mean of a block's iterations, given that with both turns and one with the critic's."""
    return (both + (BLOCK - 1) * critic) / BLOCK


def counted(distiller: Distiller[Any]) -> Cells:
    """Return memory that lasts, peak memory and operations, on fake tensors."""
    operations, peak, lasting = list[float](), 0, 0
    for iteration in (0, 1):
        with Operations() as done:  # by itself: Adam's moments begin
            train(distiller, range(iteration, iteration + 1))
        operations.append(done.total / 1e12)
        alive = lasting_bytes(distiller)
        lasting = alive.bytes
        with alive:
            train(distiller, range(iteration, iteration + 1))
        peak = max(peak, alive.peak)
    tera = of_block(*operations)
    found = {"lasting_gib": lasting / 2**30, "gib": peak / 2**30, "tflop": tera}
    return Cells(f"{lasting / 2**30:.1f} | {peak / 2**30:.1f} | {tera:.4g}", found)


def measured(distiller: Distiller[Any], blocks: int) -> Cells:
    """Return seconds, peak memory, operations, operations a second and their share of the card's."""
    device, seconds = distiller.accelerator.device, list[float]()
    with Operations() as done:  # the block that warms up
        train(distiller, range(BLOCK))
    for block in range(1, blocks + 1):
        begun = now(device)
        train(distiller, range(block * BLOCK, (block + 1) * BLOCK))
        seconds.append((now(device) - begun) / BLOCK)
    taken, tera = statistics.median(seconds), done.total / BLOCK / 1e12
    name = device_name(device)
    card = next((peak for part, peak in PEAKS.items() if part in name), None)
    share = f"{tera / taken / card:.0%}" if card else ""
    peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None
    size = "" if peak is None else f"{peak:.1f}"
    found = {"seconds": taken, "gib": peak, "tflop": tera, "tflops": tera / taken}
    return Cells(f"{taken:.3f} | {size} | {tera:.4g} | {tera / taken:.4g} | {share}", found)


def now(device: torch.device) -> float:
    """Return the clock's time after the device has finished its queue."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def show_row(training: Training, tiny: bool, batch: int, work: Callable[[Distiller[Any]], Cells]) -> None:
    """Show a line of the table: `work` returns the cells of a distiller, which is gone afterwards."""
    distiller = distiller_of(training, tiny, batch)
    millions = sum(parameter.numel() for parameter in distiller.teacher.parameters()) / 1e6
    with computing_as(distiller.recipe):
        cells = work(distiller)
    line = f"| {training.summary} | {millions:.1f} | {batch} | {cells.text} |"
    show(line, variant=training.summary, millions=millions, batch=batch, **cells.numbers)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(TRAININGS), help=f"of {', '.join(TRAININGS)}")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--blocks", type=int, default=3, help="timed, after one that warms up")
    parser.add_argument("--counted", action="store_true", help="count on fake tensors, as without a GPU")
    parser.add_argument("--tiny", action="store_true", help="networks of a few channels")
    options = parser.parse_args()
    device = PartialState().device
    counts = options.counted or not (options.tiny or device.type == "cuda")
    columns = "seconds an iteration | peak GiB | TFLOP an iteration | TFLOP/s | of the card's"
    if counts:
        nn.Module._apply = replace_tensors  # type: ignore[method-assign, assignment]
        columns = "lasting GiB | peak GiB | TFLOP an iteration"
    print(f"{'fake tensors' if counts else device_name(device)}, torch {torch.__version__}\n")
    print(f"| training | million parameters | batch | {columns} |")
    print("|---" * (4 + columns.count("|")) + "|")
    attempts, work = Attempts(), counted if counts else partial(measured, blocks=options.blocks)
    for key in options.networks.split(","):
        fake = FakeTensorMode(allow_non_fake_inputs=True) if counts else contextlib.nullcontext()
        with attempts.of(TRAININGS[key].summary), fake:
            show_row(TRAININGS[key], options.tiny, options.batch, work)
    attempts.end()


if __name__ == "__main__":
    main()
