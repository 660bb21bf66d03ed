"""DMD2 written directly from the formulas, without a harness. The benchmarks compare the package with it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.nn import functional as F

from bench.models.backbones.edm import EDMDenoiser
from bench.models.schedules import per_sample
from bench.task.base import Task
from bench.training.accelerator import accelerator_of
from bench.training.recipe import Recipe
from methods.critic import discriminator_head
from methods.recipes import DMDRecipe
from tasks.class_conditional import PreparedClassTask


class RandomTask(PreparedClassTask):
    """A prepared task with random images and untrained networks, since speed does not depend on weights.

    Its teacher may be on the device `meta`, if what trains is given another one.
    """

    def __init__(self, task: Task, teacher: EDMDenoiser, classes: int, images: int = 6000) -> None:
        self.task = task
        self.classes = classes
        self.teacher = teacher.eval().requires_grad_(False)
        self.teacher_sha256 = ""
        self.real_images = torch.randint(0, 256, (images, *task.image_shape), dtype=torch.uint8)
        self.real_conditions = torch.randint(0, classes, (images,))


def new_accelerator(recipe: Recipe, cpu: bool = False) -> Accelerator:
    """Return an accelerator in a recipe's precision; those of before must not be used again.

    A process has one precision, and variants with several follow each other in one.
    """
    AcceleratorState._reset_state()
    return accelerator_of(recipe, cpu)


def run_in_bf16(network: nn.Module) -> None:
    """Let a network of EDM's kind run in bf16 on float32 weights, as the official one does on a GPU.

    Each layer casts its weights whenever it runs, and normalisations run in bf16; the embedding of the time and of
    the class is float32.
    """
    for name, part in network.named_modules():
        if "embedding" in name:
            continue
        if isinstance(part, nn.Conv2d | nn.Linear | nn.GroupNorm):
            part.forward = _casting(part)  # type: ignore[method-assign]


def _casting(part: Any) -> Any:
    """Return the forward of a layer that casts its input and its weights to bf16."""

    def forward(x: Tensor) -> Tensor:
        x, weight = x.bfloat16(), part.weight.bfloat16()
        bias = None if part.bias is None else part.bias.bfloat16()
        if isinstance(part, nn.Conv2d):
            return part._conv_forward(x, weight, bias)
        if isinstance(part, nn.Linear):
            return F.linear(x, weight, bias)
        return F.group_norm(x, part.num_groups, weight, bias, part.eps)

    return forward


class PlainLoop:
    """DMD2 in the official order, with separate forwards for each term, without logging and checkpoints.

    In a recipe's precision bf16 it runs as the official code does (`run_in_bf16`), and where it differs it is the
    faster one: attention never keeps its weights, which the official network has in float32, AdamW is fused, and
    the student's average is one call for all weights.
    """

    def __init__(self, prepared: RandomTask, teacher: EDMDenoiser, recipe: DMDRecipe) -> None:
        """`teacher` is its own from now on, and so is the teacher's device."""
        device = next(teacher.parameters()).device
        self.recipe, self.device, self.done = recipe, device, 0
        self.classes, self.shape = prepared.classes, prepared.task.image_shape
        self.teacher = teacher
        self.G, self.C = (copy.deepcopy(self.teacher).requires_grad_(True) for _ in range(2))
        if recipe.precision == "bf16":
            for one in (self.teacher, self.G, self.C):
                run_in_bf16(one.network)
        self.head = discriminator_head(*self.C.feature_shapes).to(device)
        self.critic_parameters = [*self.C.parameters(), *self.head.parameters()]
        settings: dict[str, Any] = {"betas": recipe.betas, "weight_decay": recipe.weight_decay, "fused": True}
        self.g_optimizer = torch.optim.AdamW(self.G.parameters(), lr=recipe.lr, **settings)
        self.c_optimizer = torch.optim.AdamW(self.critic_parameters, lr=recipe.critic_lr, **settings)
        self.average = [p.detach().clone() for p in self.G.parameters()]
        self.images = prepared.real_images.float() / 127.5 - 1
        self.labels = prepared.real_conditions
        self.grid = self.G.schedule.grid.float().to(device)

    def noised(self, x: Tensor, span: tuple[float, float]) -> tuple[Tensor, Tensor]:
        low, high = (round(end * 1000) for end in span)
        sigma = self.grid[torch.randint(low, min(high + 1, 1000), (len(x),), device=self.device)]
        return x + per_sample(sigma, x) * torch.randn_like(x), sigma

    def classify(self, x: Tensor, y: Tensor) -> Tensor:
        x_t, sigma = self.noised(x, self.recipe.gan_range)
        return self.head(self.C.features(x_t, sigma, y)[0]).flatten()

    def step(self) -> None:
        """Train one iteration: the generator every few iterations, the critic in each one."""
        recipe, size = self.recipe, self.recipe.batch_size
        turn = self.done % recipe.critic_updates_per_generator_update == 0
        y = torch.randint(0, self.classes, (size,), device=self.device)
        positions = torch.randint(0, len(self.images), (size,))
        real, real_y = self.images[positions].to(self.device), self.labels[positions].to(self.device)
        last = torch.full((size,), 80.0, device=self.device)
        with torch.set_grad_enabled(turn):
            fake = self.G(80 * torch.randn(size, *self.shape, device=self.device), last, y)
        if turn:
            x_t, sigma = self.noised(fake.detach(), recipe.dm_range)
            with torch.no_grad():
                mu_real, mu_fake = self.teacher(x_t, sigma, y), self.C(x_t, sigma, y)
                scale = (fake - mu_real).abs().mean((1, 2, 3), keepdim=True)
                target = fake - ((mu_fake - mu_real) / scale).nan_to_num()
            for parameter in self.critic_parameters:
                parameter.requires_grad_(False)
            gan = F.softplus(-self.classify(fake, y)).mean()
            loss = 0.5 * F.mse_loss(fake, target) + recipe.gan_generator_weight * gan
            self.g_optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.G.parameters(), recipe.clip_norm)
            self.g_optimizer.step()
            for parameter in self.critic_parameters:
                parameter.requires_grad_(True)
            if recipe.ema_decay is not None:
                with torch.no_grad():
                    torch._foreach_lerp_(self.average, list(self.G.parameters()), 1 - recipe.ema_decay)
        fake = fake.detach()
        x_t, sigma = self.noised(fake, recipe.critic_range)
        weight = per_sample(sigma**-2 + self.G.schedule.sigma_data**-2, fake)
        loss = (weight * (self.C(x_t, sigma, y) - fake) ** 2).mean()
        gan = F.softplus(-self.classify(real, real_y)).mean() + F.softplus(self.classify(fake, y)).mean()
        loss = loss + recipe.gan_critic_weight * gan
        self.c_optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.critic_parameters, recipe.clip_norm)
        self.c_optimizer.step()
        self.done += 1
