"""A DMD method on the tiny task, and the same iterations by hand, straight from the papers' formulas."""

from __future__ import annotations

import copy
from typing import Any

import torch
from tiny_task_context import BATCH, NETWORK, PAIRS, make_batch, make_context, normal
from torch import Tensor, nn

from bench.runs.registry import load_catalogue
from bench.training.distiller import Batch, TrainingContext
from bench.training.step_rng import StepRNG
from methods.dmd import DMD

UNCHECKED = {"loss/dm", "loss/ca", "cosine/dm-ca", "pixel_mean", "pixel_std", "gradient/generator"} | {
    "pixel_diversity",
    "logits/real",
    "logits/fake",
}
"""Figures that a step has and the calculation by hand has not, or has with another value (surrogate losses)."""

SMALL: dict[str, Any] = {
    "batch_size": BATCH,
    "lr": 1e-4,
    "critic_lr": 2e-4,
    "clip_norm": 0.5,  # less than the gradients' norms: clipping is part of the step
    "pairs": len(PAIRS.noise),
    "dm_weight": 0.7,
    "gan_generator_weight": 0.2,
    "gan_critic_weight": 0.5,
    "regression_weight": 0.3,
}
CATALOGUE = load_catalogue()

# EDM's grid (Eq. 5) written out: 1,000 noise levels, sigma = 0.002 ... 80, rho = 7.
SIGMAS = torch.tensor(
    [(0.002 ** (1 / 7) + i / 999 * (80 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7 for i in range(1000)]
)


def make(name: str = "dmd2", context: TrainingContext | None = None, **values: Any) -> DMD:
    """A method on the tiny world, its networks moved off the teacher as if training had begun.

    At the start critic and teacher are equal, and distribution matching has nothing to say. Decoupled methods have
    a guided teacher, whose null condition is the last class.
    """
    if CATALOGUE.methods.get(name).recipe("tiny", "paper", values).model_dump()["decoupled"] and context is None:
        context, values = make_context(null_condition=torch.tensor([2])), {"guidance_scale": 3.0, **values}
    recipe = CATALOGUE.methods.get(name).recipe("tiny", "paper", {**SMALL, **values})
    torch.manual_seed(0)
    method = DMD(recipe, context or make_context())
    with torch.no_grad():
        for seed, model in enumerate(method.models.values()):
            for p in model.network.parameters():
                p += 0.05 * normal(seed, *p.shape)
    return method


class ByHand:
    """The same iterations straight from the paper, on copies of a method's networks: one plain loss each."""

    def __init__(self, method: DMD) -> None:
        self.recipe = r = method.recipe
        self.start = SIGMAS[999 if r.student_start == 1 else 500].item()
        self.teacher = copy.deepcopy(method.teacher)
        self.null = method.context.null_condition
        self.generator = copy.deepcopy(method.generator.network)
        self.critic = copy.deepcopy(method.models["critic"].network)
        options = {"betas": (0.9, 0.999), "weight_decay": 0.01, "foreach": False}
        self.optimizers = {
            "generator": torch.optim.AdamW(self.generator.parameters(), lr=r.lr, **options),
            "critic": torch.optim.AdamW(self.critic.parameters(), lr=r.critic_lr, **options),
        }

    def noised(self, x: Tensor, condition: Tensor, low: int, high: int) -> tuple[Tensor, Tensor, Tensor]:
        """x + sigma eps, sigma from grid positions low ... high, both included."""
        sigma = SIGMAS[self.rng.integers(low, high + 1, len(x))]
        return x + sigma[:, None, None, None] * self.rng.normal(x), sigma, condition

    def real(self, x_t: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
        conditional = self.teacher(x_t, sigma, condition)
        if self.null is None:
            return conditional
        unconditional = self.teacher(x_t, sigma, self.null.expand(len(x_t)))
        return unconditional + self.recipe.guidance_scale * (conditional - unconditional)

    def classify(self, x_t: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
        reader = self.teacher if self.recipe.discriminator_features == "teacher" else self.critic.denoiser
        return self.critic.heads[0](reader.features(x_t, sigma, condition)[0]).flatten()

    def student_input(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Pure noise, or what backward simulation leaves at a shared step of four."""
        z = self.rng.normal(batch.real)
        sigma = torch.full((len(z),), self.start)
        if self.recipe.student_steps == 1:
            return self.start * z, sigma, batch.condition
        levels = SIGMAS[[999, 749, 499, 249]]
        step = self.rng.integer(0, 4)
        if step == 0:
            return 80 * z, sigma, batch.condition
        x_t, x0 = 80 * self.rng.normal(z), z
        with torch.no_grad():
            for k in range(step):
                if k > 0:
                    x_t = x0 + levels[k] * self.rng.normal(z)
                x0 = self.generator(x_t, levels[k].expand(len(z)), batch.condition)
        return x0 + levels[step] * z, levels[step].expand(len(z)), batch.condition

    def matching_noised(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.recipe.dm_times == "uniform":
            return self.noised(x, condition, 20, 980)
        positions = (1000 / (1 + (-self.rng.normal(x[:, 0, 0, 0])).exp())).floor().long().clamp(20, 980)
        sigma = SIGMAS[positions]
        return x + sigma[:, None, None, None] * self.rng.normal(x), sigma, condition

    def divided(self, direction: Tensor, x: Tensor, real: Tensor) -> Tensor:
        """Each sample's direction by the mean of |x - real| over its pixels, or by another divisor; 0 / 0 is 0."""
        by_pixel = {"teacher": x - real, "clamped": x - real, "own": direction}[self.recipe.dm_divisor].abs()
        size = by_pixel.mean(dim=(1, 2, 3), keepdim=True)
        size = size.clamp(min=0.1) if self.recipe.dm_divisor == "clamped" else size
        return torch.where(size == 0, 0, direction / size)

    def augmentation_gradient(self, x: Tensor, condition: Tensor, student_sigma: Tensor) -> Tensor:
        """-factor (r_c - r_u), divided, at positions that `ca_times` allows."""
        r = self.recipe
        own = int((SIGMAS - student_sigma[0]).abs().argmin())
        last = min(max(own - 5 if r.ca_times == "gap" else own, 20), 980)
        first = 0 if r.ca_times == "capped" else 20
        u = self.rng.integers(0, 2**24, len(x)) / 2**24
        positions = (first + (u.double() * (last - first + 1)).floor()).long().clamp(min=20)
        sigma = SIGMAS[positions]
        x_t = x + sigma[:, None, None, None] * self.rng.normal(x)
        conditional = self.teacher(x_t, sigma, condition)
        unconditional = self.teacher(x_t, sigma, self.null.expand(len(x_t)))
        direction = unconditional - conditional
        return (r.guidance_scale - (r.ca_factor == "w-1")) * self.divided(direction, x, conditional)

    def generator_losses(self, x: Tensor, condition: Tensor, student_sigma: Tensor) -> dict[str, Tensor]:
        r, losses = self.recipe, {}
        if r.distribution_matching:
            noised = self.matching_noised(x.detach(), condition)
            with torch.no_grad():
                real = self.teacher(*noised) if r.decoupled else self.real(*noised)
                fake = self.critic.denoiser(*noised)
                grad = self.divided(fake - real, x, real)
                if r.divergence == "js":
                    ratio = self.classify(*noised).exp().clamp(0.1, 20)
                    h = ratio / (1 + ratio)
                    grad = grad * (h / h.mean())[:, None, None, None]
            # A loss whose gradient in x is grad / numel; the method's is half a square with the same one.
            losses["dm"] = r.dm_weight * (grad * x).mean()
        if r.decoupled:
            with torch.no_grad():
                grad = self.augmentation_gradient(x.detach(), condition, student_sigma)
            losses["ca"] = r.dm_weight * (grad * x).mean()
        if r.gan:
            logits = self.classify(*self.noised(x, condition, 0, 999))
            losses["gan"] = r.gan_generator_weight * -torch.sigmoid(logits).log().mean()
        if r.regression:
            chosen = self.rng.integers(0, len(PAIRS.noise), len(x))
            z, y, c = PAIRS.noise[chosen], PAIRS.image[chosen], PAIRS.condition[chosen]
            made = self.generator(self.start * z, torch.full((len(z),), self.start), c)
            losses["regression"] = r.regression_weight * ((made - y) ** 2).mean()
        return losses

    def critic_losses(self, x: Tensor, condition: Tensor, batch: Batch) -> dict[str, Tensor]:
        r, losses = self.recipe, {}
        if r.critic_denoising:
            x_t, sigma, condition = self.noised(x, condition, 0, 999)
            squares = ((self.critic.denoiser(x_t, sigma, condition) - x) ** 2).mean(dim=(1, 2, 3))
            losses["denoising"] = ((1 / sigma**2 + 1 / NETWORK.sigma_data**2) * squares).mean()
        if r.gan:
            real_t, sigma_real, _ = self.noised(batch.real, batch.real_condition, 0, 999)
            real = self.classify(real_t, sigma_real, batch.real_condition)
            if r.gan_same_noise:
                noised = (x + real_t - batch.real, sigma_real, condition)
            else:
                noised = (x_t, sigma, condition) if r.shared_critic_draws else self.noised(x, condition, 0, 999)
            fake = self.classify(*noised)
            losses["discriminator"] = -(torch.sigmoid(real).log().mean() + torch.sigmoid(-fake).log().mean())
            if r.r1_weight:
                more = r.r1_noise * self.rng.normal(x)
                perturbed = self.classify(real_t + more, sigma_real, batch.real_condition)
                losses["r1"] = r.r1_weight * ((real - perturbed) ** 2).mean()
        return losses

    def backward_and_step(self, name: str, network: nn.Module, loss: Tensor) -> Tensor:
        parameters = [p for p in network.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        norm = torch.cat([g.flatten() for g in gradients if g is not None]).norm()
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = None if g is None else g * min(1.0, self.recipe.clip_norm / float(norm))
        self.optimizers[name].step()
        return norm

    def step(self, batch: Batch) -> dict[str, Tensor]:
        self.rng = StepRNG(seed=0, iteration=batch.iteration)
        start = self.student_input(batch)
        x, condition = self.generator(*start), start[2]
        figures: dict[str, Tensor] = {}
        if batch.iteration % self.recipe.critic_updates_per_generator_update == 0:
            losses = self.generator_losses(x, condition, start[1])
            for term in {"dm", "ca", "gan"} & set(losses):
                gradient = torch.autograd.grad(losses[term], x, retain_graph=True)[0]
                figures[f"image_gradient/{term}"] = (gradient**2).sum().sqrt()
            figures["gradient/generator"] = self.backward_and_step(
                "generator", self.generator, sum(losses.values())
            )
            figures |= {f"loss/{term}": losses[term] for term in {"gan", "regression"} & set(losses)}
            with torch.no_grad():
                for p, q in zip(self.critic.denoiser.parameters(), self.generator.parameters(), strict=True):
                    p.copy_((1 - self.recipe.ida_share) * p + self.recipe.ida_share * q)
        losses = self.critic_losses(x.detach(), condition, batch)
        figures |= {f"loss/{term}": loss for term, loss in losses.items()}
        for term in {"discriminator", "r1"} & set(losses):
            losses[term] = self.recipe.gan_critic_weight * losses[term]
        figures["gradient/critic"] = self.backward_and_step("critic", self.critic, sum(losses.values()))
        return figures


def assert_close(actual: nn.Module, expected: nn.Module) -> None:
    """All weights equal to 1e-5, of steps of 1e-4 and 2e-4.

    Not the attention keys' bias: the softmax cancels it, its gradient is rounding that Adam makes large.
    """
    for (name, p), q in zip(actual.named_parameters(), expected.parameters(), strict=True):
        if name.endswith("to_k.bias"):
            continue
        torch.testing.assert_close(p, q, rtol=0, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


def compare(method: DMD) -> None:
    """Three iterations of a method and by hand: the same figures, and the same weights."""
    reference = ByHand(method)
    for iteration in range(3):
        figures = method.training_step(make_batch(iteration))
        for name, model in method.models.items():
            if model.gradient_norm is not None:
                figures[f"gradient/{name}"] = model.gradient_norm
        expected = reference.step(make_batch(iteration))
        for name, value in expected.items():
            torch.testing.assert_close(figures[name], value.detach(), rtol=2e-4, atol=1e-7)
        assert set(figures) - set(expected) <= UNCHECKED
        assert_close(method.generator.network, reference.generator)
        assert_close(method.models["critic"].network, reference.critic)
