"""Compute the memory and the operations of an iteration of four-step DMD2 on SDXL, without a GPU.

    python benchmarks/text_size.py [--batch 4] [--network sdxl] [--lora | --one-base] [--variants 0,2]

Nothing is computed: the same training step runs on fake tensors (fake_tensors.py). Counted are the tensors that
are alive at once, and the operations of matrix products, convolutions and attention. A turn is taken with as many
simulated steps as there are. Text encoders come on top (SDXL: 3.0 GiB). benchmarks/text_training.py measures what
this only counts.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from fake_tensors import LongestSimulation, Operations, lasting_bytes, replace_tensors
from random_text import NETWORKS
from text_training import SAVINGS, no_pairs
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.schedules import VPSchedule
from bench.models.text.layout import ConditionLayout
from bench.runs.registry import load_catalogue
from bench.training.accelerator import accelerator_of
from bench.training.distiller import Batch, Distiller, TrainingContext

TOKENS = 77


def distiller_of(network: str, method: str, batch: int, values: dict[str, Any]) -> Distiller[Any]:
    """Return a method on networks of a published size, made of fake tensors."""
    sizes = NETWORKS[network].network
    entry = load_catalogue().methods.get(method)
    recipe = entry.recipe("coco10k", "paper", {"batch_size": batch, **values})
    time_ids = 6 * sizes.get("addition_time_embed_dim", 0)
    pooled = sizes["projection_class_embeddings_input_dim"] - time_ids if time_ids else 0
    layout = ConditionLayout(TOKENS, sizes["cross_attention_dim"], pooled)
    unet = UNet2DConditionModel(**sizes)
    teacher = StableDiffusionDenoiser(unet, VPSchedule(), layout, 1024 if pooled else None).requires_grad_(False)
    accelerator = accelerator_of(recipe, cpu=True)
    distiller: Distiller[Any] = entry.load()(
        recipe, TrainingContext(accelerator, teacher, torch.zeros(1, layout.size), no_pairs)
    )
    distiller.release_teacher()
    return distiller


def turn(distiller: Distiller[Any], iteration: int) -> None:
    """Run one training step on a batch of the recipe's size."""
    batch, unet = distiller.recipe.batch_size, distiller.teacher.network
    side, condition = unet.config.sample_size, distiller.teacher.layout.size
    given = Batch(
        iteration,
        LongestSimulation(0, iteration),
        torch.randn(batch, condition),
        torch.randn(batch, 4, side, side),
        torch.randn(batch, condition),
    )
    with distiller.accelerator.autocast():
        distiller.training_step(given)


def row(name: str, distiller: Distiller[Any]) -> str:
    """Run an iteration of both networks, then one of the critic; return a line of the table."""
    cells, lasting = list[str](), 0
    for iteration in (0, 1):
        with Operations() as counted:  # by itself: Adam's moments begin
            turn(distiller, iteration)
        alive = lasting_bytes(distiller)
        lasting = alive.bytes
        with alive:
            turn(distiller, iteration)
        cells += [f"{alive.peak / 2**30:.4g}", f"{counted.total / 1e12:.4g}"]
    return f"| {name} | {distiller.recipe.batch_size} | {lasting / 2**30:.4g} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="sdxl")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--lora", action="store_true", help="the student is a LoRA of rank 64")
    parser.add_argument("--one-base", action="store_true", help="the critic too, on the teacher's weights")
    known = [name for name, values in SAVINGS.items() if "compile_backend" not in values]
    parser.add_argument("--variants", help="numbers from 0, with commas: " + "; ".join(known))
    options = parser.parse_args()
    names = [known[int(n)] for n in options.variants.split(",")] if options.variants else known
    method = "dmd2-4step-lora" if options.lora or options.one_base else "dmd2-4step"
    shared = {"one_base": True, "critic_lora_rank": 64} if options.one_base else {}
    nn.Module._apply = replace_tensors  # type: ignore[method-assign, assignment]
    print(f"{method} on {options.network}, torch {torch.__version__}; both networks' turn, then the critic's\n")
    print("| variant | batch | lasting GiB | peak GiB | TFLOP | peak GiB | TFLOP |\n|---|---|---|---|---|---|---|")
    for name in names:
        begun = time.perf_counter()
        with FakeTensorMode(allow_non_fake_inputs=True):
            line = row(name, distiller_of(options.network, method, options.batch, SAVINGS[name] | shared))
        print(line, f"<!-- {time.perf_counter() - begun:.0f} s -->", flush=True)


if __name__ == "__main__":
    main()
