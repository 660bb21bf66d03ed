"""Measure an iteration of four-step DMD2 on SDXL and SD1.5, each way to save memory, and the students' speed.

    python benchmarks/text_training.py                      # SDXL, batch 4 and 8: one GPU of 141 GB
    python benchmarks/text_training.py --lora               # the student a LoRA: one of 80 GB
    python benchmarks/text_training.py --network sd15 --batches 8,32
    python benchmarks/text_training.py --tiny               # the same code on a CPU

Random weights of the published sizes, the recipe of `coco10k`; prompts are encoded in each iteration, as in
training. A block is five iterations: five critic turns, one of them the generator's, too. Variants follow each
other, each with the memory that the one before has released. A variant that does not fit is listed as out of
memory. TF32 is as the recipe and the protocol say.

The speed of a LoRA student is that of training and validation, with the LoRA beside its layers. Evaluations merge
it into the weights, and then the student is as fast as a full one.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from attempts import Attempts
from compile_watch import ToldClock
from imagenet_training import BLOCKS
from plain_loop import new_accelerator
from random_text import NETWORKS, RandomText
from rows import show

from bench.core.device import this_device
from bench.core.errors import UserError
from bench.core.numerics import tf32
from bench.core.progress import SilentProgress
from bench.evaluation.latency import device_name, latency_of
from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.samplers import SampleNoise
from bench.runs.protocols.derived import sampled_in_bf16
from bench.runs.provenance import peak_memory
from bench.runs.registry import load_catalogue
from bench.runs.runner import computing_as
from bench.task.base import Sampled
from bench.training.cadence import Cadence
from bench.training.compiling import CompileClock, compiling
from bench.training.distiller import Pairs, TrainingContext
from bench.training.student_sampler import few_step_sampler
from bench.training.trainer import Trainer

BLOCK = 5
WARM_UP = 2
"""Iterations that warm up: one with both turns, one with the critic's. Each takes seconds."""
LORA = "dmd2-4step-lora"
STEPS = {1: [399], 4: [999, 749, 499, 249]}
SAVINGS: dict[str, dict[str, Any]] = {
    "the recipe: bf16, bf16 teacher, checkpointing": {},
    "teacher in float32": {"teacher_precision": "fp32"},
    "no gradient checkpointing": {"gradient_checkpointing": False},
    "shared passes of the critic": {"shared_critic_draws": True},
    "bf16 weights": {"precision": "bf16-weights"},
    "bf16 weights, compiled blocks": {"precision": "bf16-weights", **BLOCKS},
    "torch.compile": {"compile_backend": "inductor"},
    "torch.compile, no checkpointing": {"compile_backend": "inductor", "gradient_checkpointing": False},
}


@dataclass(frozen=True)
class Cost:
    """The cost of an iteration, averaged over a block."""

    seconds: float
    peak: int
    """Peak memory in bytes."""


def no_pairs(count: int) -> Pairs:
    """Raise AssertionError, since DMD2 has no regression."""
    raise AssertionError(f"{count} pairs requested")


def iteration_cost(
    prepared: RandomText, method: str, batch: int, blocks: int, values: dict[str, Any], clock: CompileClock
) -> Cost:
    """Time one variant of the recipe as the median over blocks, after two iterations that warm up.

    The clock notes what is compiled.
    """
    entry = load_catalogue().methods.get(method)
    recipe = entry.recipe("coco10k", "paper", {"batch_size": batch, **values})
    accelerator = new_accelerator(recipe)
    device = accelerator.device
    never = Cadence(checkpoint_every=10**9, validate_every=0)
    seconds = []
    with tempfile.TemporaryDirectory() as folder, computing_as(recipe):
        teacher = prepared.new_teacher().to(device)
        context = TrainingContext(accelerator, teacher, prepared.null_condition, no_pairs)
        trainer = Trainer(entry.load()(recipe, context), prepared, 0, Path(folder), accelerator)
        del teacher, context
        trainer.compiled = clock
        trainer.begin()
        for block in range(blocks + 1):
            begun = now(device)
            for iteration in range(block * BLOCK, (block + 1) * BLOCK if block else WARM_UP):
                with compiling(recipe, trainer.compiled):
                    trainer.advance(iteration, never, SilentProgress(), lambda _: {})
            if block:
                seconds.append((now(device) - begun) / BLOCK)
    return Cost(statistics.median(seconds), peak_memory())


def now(device: torch.device) -> float:
    """Return the clock's time after the device has finished its queue."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def show_costs(
    prepared: RandomText, method: str, batch: int, blocks: int, variants: list[str], attempts: Attempts
) -> None:
    """Show a line of the table for each variant. Without a GPU the memory is the process's peak so far."""
    first: Cost | None = None
    for name in variants:
        with attempts.of(f"{name}, batch {batch}"):
            clock = ToldClock()
            found = iteration_cost(prepared, method, batch, blocks, SAVINGS[name], clock)
            first = found if name == variants[0] else first
            ratio, more = (found.seconds / first.seconds, found.peak - first.peak) if first else (None, None)
            apart = f"{ratio:.2f}" if ratio else "", "" if more is None else f"{more / 2**30:+.1f}"
            size = found.peak / 2**30
            label = f"{name} (limit of graphs met: partly uncompiled)" if clock.reached else name
            show(
                f"| {label} | {batch} | {found.seconds:.3f} | {apart[0]} | {size:.1f} | {apart[1]} |",
                variant=label,
                batch=batch,
                seconds=found.seconds,
                ratio=ratio,
                gib=size,
            )


def student_of(prepared: RandomText, lora: bool) -> StableDiffusionDenoiser:
    """Return an untrained student, a LoRA beside its layers if it is one."""
    student = prepared.new_teacher()
    if lora:
        recipe = load_catalogue().methods.get(LORA).recipe("coco10k", "paper", {})
        student.add_adapters(recipe.lora_rank, recipe.lora_alpha)
    return student.eval().requires_grad_(False)


def show_speed(prepared: RandomText, steps: int, batch: int, repetitions: int, lora: bool) -> None:
    """Show the latency by stage and the throughput of a student in bf16."""
    prepared = copy.copy(prepared)
    prepared.task = sampled_in_bf16(prepared.task)
    student = prepared.as_sampled(student_of(prepared, lora))
    subject = Sampled(prepared, few_step_sampler(student, STEPS[steps]), "")
    device, times = this_device(), []
    with tf32(prepared.task.protocol.tf32):
        found = latency_of(subject, repetitions, warm_up=1)
        condition = prepared.conditions(torch.arange(batch, device=device))
        with torch.no_grad():
            for _ in range(repetitions + 1):
                begun = now(device)
                noise = SampleNoise(range(batch), prepared.sample_shape, device)
                prepared.decode(subject.sampler(noise, condition))
                times.append(now(device) - begun)
    stages = {
        "text": found.text.median,
        "denoising": found.denoising.median,
        "decoding": found.decoding.median,
        "together": found.together.median,
    }
    rate, label = batch / statistics.median(times[1:]), f"{steps}{', LoRA' * lora}"
    cells = " | ".join(f"{seconds:.4f}" for seconds in stages.values())
    show(f"| {label} | {cells} | {rate:.2f} |", variant=f"student, {label}", **stages, images_per_second=rate)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=("sdxl", "sd15"), default="sdxl")
    parser.add_argument("--batches", default="4,8")
    parser.add_argument("--blocks", type=int, default=3, help="timed, after one that warms up")
    parser.add_argument("--lora", action="store_true", help="the student is a LoRA of rank 64")
    parser.add_argument("--repetitions", type=int, default=10, help="images of the speed table")
    parser.add_argument("--no-speeds", action="store_true", help="without the students' speed")
    parser.add_argument("--variants", default="all", help="numbers from 0, with commas: " + "; ".join(SAVINGS))
    parser.add_argument("--tiny", action="store_true", help="networks of a few channels, nothing compiled")
    options = parser.parse_args()
    batches = [int(batch) for batch in options.batches.split(",")]
    names = list(SAVINGS)
    variants = names if options.variants == "all" else [names[int(n)] for n in options.variants.split(",")]
    if options.tiny:
        batches, options.blocks, options.repetitions = [2], 1, 2
        variants = [name for name in variants if "compile_backend" not in SAVINGS[name]]  # that takes minutes
    elif not torch.cuda.is_available():
        raise UserError("networks of the published sizes require a GPU; fix: --tiny")
    torch.manual_seed(0)
    prepared = RandomText(NETWORKS[f"tiny-{options.network}" if options.tiny else options.network])
    method = LORA if options.lora else "dmd2-4step"
    millions = sum(parameter.numel() for parameter in prepared.teacher.parameters()) / 1e6
    size = f"{'tiny ' if options.tiny else ''}{options.network}, {millions:.1f} million parameters"
    print(f"{method} on {size}; {device_name(this_device())}, torch {torch.__version__}", flush=True)
    attempts = Attempts()
    print("\n| variant | batch | seconds an iteration | of the recipe's | peak GiB | more than the recipe's |")
    print("|---|---|---|---|---|---|")
    for batch in batches:
        show_costs(prepared, method, batch, options.blocks, variants, attempts)
    if options.no_speeds:
        attempts.end()
        return
    print("\n| student's steps | text s | denoising s | decoding s | together s | images/s in batches |")
    print("|---|---|---|---|---|---|", flush=True)
    for steps in (4,) if options.lora else STEPS:
        with attempts.of(f"student, {steps}"):
            show_speed(prepared, steps, batches[-1], options.repetitions, options.lora)
    attempts.end()


if __name__ == "__main__":
    main()
