"""Iterations per second of dmd2 on `fashion` against a plain loop written straight from the formulas.

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
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from bench.registry import load_catalogue
from bench.training import Schedule, Trainer
from methods.base import Setting
from methods.critic import discriminator_head
from methods.recipes import DMDRecipe
from tasks.fashion import TASK
from tasks.prepared import Features, Prepared, PreparedAsset
from tasks.progress import SilentProgress
from tasks.schedules import per_sample
from tasks.teacher import build_denoiser


class RandomWorld(Prepared):
    """Random images and untrained networks of the sizes of `fashion`."""

    def __init__(self) -> None:
        self.task = TASK
        self.classes = len(TASK.class_names)
        self.teacher = build_denoiser(TASK.network, TASK.image_shape, self.classes).eval().requires_grad_(False)
        self.teacher_sha256 = ""
        self.null_condition = None
        self.real_images = torch.randint(0, 256, (6000, *TASK.image_shape), dtype=torch.uint8)
        self.real_conditions = torch.randint(0, self.classes, (6000,))

    def _absent(self, *_: Any) -> Any:
        raise AssertionError("not part of training")

    save_student = load_student = conditions = pairs = _absent

    def extract(self, images: Tensor) -> Features:
        return Features(np.zeros((len(images), 1), np.float32), np.zeros(len(images), np.int64))

    def asset_of_pairs(self, count: int) -> PreparedAsset:
        return PreparedAsset("", None, "", count)


class PlainLoop:
    """DMD2 without a harness: one function, no logging, no checkpoints."""

    def __init__(self, world: RandomWorld, recipe: DMDRecipe) -> None:
        self.world, self.recipe, self.done = world, recipe, 0
        self.G, self.C = (copy.deepcopy(world.teacher).requires_grad_(True) for _ in range(2))
        self.head = discriminator_head(*self.C.bottleneck_shape)
        self.critic_parameters = [*self.C.parameters(), *self.head.parameters()]
        settings = {"betas": recipe.betas, "weight_decay": recipe.weight_decay, "fused": True}
        self.g_optimizer = torch.optim.AdamW(self.G.parameters(), lr=recipe.lr, **settings)
        self.c_optimizer = torch.optim.AdamW(self.critic_parameters, lr=recipe.critic_lr, **settings)
        self.average = [p.detach().clone() for p in self.G.parameters()]
        self.images = world.real_images.float() / 127.5 - 1

    def noised(self, x: Tensor, span: tuple[float, float]) -> tuple[Tensor, Tensor]:
        low, high = (round(end * 1000) for end in span)
        sigma = self.G.schedule.grid.float()[torch.randint(low, min(high + 1, 1000), (len(x),))]
        return x + per_sample(sigma, x) * torch.randn_like(x), sigma

    def judge(self, x: Tensor, sigma: Tensor, y: Tensor) -> Tensor:
        return self.head(self.C.features(x, sigma, y)).flatten()

    def step(self) -> None:
        recipe, size = self.recipe, self.recipe.batch_size
        turn = self.done % recipe.critic_updates_per_generator_update == 0
        y = torch.randint(0, 10, (size,))
        chosen = torch.randint(0, len(self.images), (size,))
        real, real_y = self.images[chosen], self.world.real_conditions[chosen]
        last = torch.full((size,), 80.0)
        with torch.set_grad_enabled(turn):
            fake = self.G(80 * torch.randn(size, *TASK.image_shape), last, y)
        if turn:
            x_t, sigma = self.noised(fake.detach(), recipe.dm_range)
            with torch.no_grad():
                mu_real, mu_fake = self.world.teacher(x_t, sigma, y), self.C(x_t, sigma, y)
                scale = (fake - mu_real).abs().mean((1, 2, 3), keepdim=True)
                target = fake - ((mu_fake - mu_real) / scale).nan_to_num()
            loss = 0.5 * F.mse_loss(fake, target)
            for parameter in self.critic_parameters:
                parameter.requires_grad_(False)
            loss = (
                loss
                + recipe.gan_generator_weight
                * F.softplus(-self.judge(*self.noised(fake, recipe.gan_range), y)).mean()
            )
            self.g_optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.G.parameters(), recipe.clip_norm)
            self.g_optimizer.step()
            for parameter in self.critic_parameters:
                parameter.requires_grad_(True)
            with torch.no_grad():
                torch._foreach_lerp_(self.average, list(self.G.parameters()), 0.02)
        fake = fake.detach()
        x_t, sigma = self.noised(fake, recipe.critic_range)
        weight = per_sample(sigma**-2 + self.G.schedule.sigma_data**-2, fake)
        loss = (weight * (self.C(x_t, sigma, y) - fake) ** 2).mean()
        (real_t, real_sigma), (fake_t, fake_sigma) = (self.noised(x, recipe.gan_range) for x in (real, fake))
        logits = self.judge(
            torch.cat([real_t, fake_t]), torch.cat([real_sigma, fake_sigma]), torch.cat([real_y, y])
        )
        loss = loss + recipe.gan_critic_weight * (F.softplus(-logits[:size]) + F.softplus(logits[size:])).mean()
        self.c_optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.critic_parameters, recipe.clip_norm)
        self.c_optimizer.step()
        self.done += 1


def main() -> None:
    """Time blocks of both, in turn, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--iterations", type=int, default=25, help="per block; a multiple of 5")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    world = RandomWorld()
    method = load_catalogue().methods.get("dmd2")
    total = options.blocks * options.iterations + 10
    recipe = method.recipe(TASK.name, TASK.scale, {"iterations": total})
    assert isinstance(recipe, DMDRecipe)
    plain = PlainLoop(world, recipe)
    accelerator = Accelerator(mixed_precision="no")
    with tempfile.TemporaryDirectory() as folder:
        distiller = method.load()(recipe, Setting(accelerator, world.teacher, None, world.pairs))
        trainer = Trainer(distiller, world, 0, Path(folder), accelerator)
        trainer.begin()
        # As in a run of 6,000 iterations: a log line every 10, a checkpoint every 300; FD progress is evaluation.
        schedule = Schedule(checkpoint_every=300, progress_every=10**9)
        seconds: dict[str, list[float]] = {"plain loop": [], "harness": []}
        iteration = 0
        for block in range(options.blocks + 1):
            count = options.iterations if block else 10  # the first block warms up
            for name in seconds:
                begun = time.perf_counter()
                for k in range(count):
                    if name == "harness":
                        trainer.advance(iteration + k, schedule, SilentProgress(), lambda _: {})
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
