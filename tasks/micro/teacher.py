"""Training of a micro task's teacher: EDM's loss, noise distribution and EMA on real images."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from bench.core.progress import Progress
from bench.models.backbones.edm import EDMDenoiser, small_network
from bench.models.denoiser import Denoiser
from bench.models.schedules import EDMSchedule, per_sample
from tasks.micro.task import NetworkSpec, TeacherRecipe, TrainingRecipe

M = TypeVar("M", bound=nn.Module)


def build_denoiser(network: NetworkSpec, image_shape: tuple[int, int, int], classes: int) -> EDMDenoiser:
    """Build an untrained micro denoiser; its weights come from torch's global generator."""
    built = small_network(
        image_shape,
        classes,
        network.channels,
        network.patch_size,
        network.layers_per_block,
        network.attention_head_dim,
        network.norm_groups,
    )
    return EDMDenoiser(built, EDMSchedule(network.sigma_data), network.patch_size, taps=("mid",))


def denoiser_loss(denoiser: Denoiser, x: Tensor, t: Tensor, eps: Tensor, condition: Tensor) -> Tensor:
    """Return the backbone's own training loss, w(t) |D(x_t, t) - x|^2, the mean over all elements.

    For EDM w is lambda(sigma) (EDM, Eq. 2); for a VP network the loss is the squared error in epsilon or v.
    """
    schedule = denoiser.schedule
    error = denoiser(schedule.add_noise(x, eps, t), t, condition) - x
    return (per_sample(schedule.denoising_weight(t), error) * error**2).mean()


def train_teacher(
    images: Tensor,
    labels: Tensor,
    classes: int,
    network: NetworkSpec,
    recipe: TeacherRecipe,
    progress: Progress,
) -> EDMDenoiser:
    """Train the teacher, ln sigma ~ N(p_mean, p_std^2) (EDM, Table 1): images [N, C, H, W] in [-1, 1].

    Returns the EMA weights. Training is seeded: the same images, recipe, thread count and machine
    give the same weights.
    """
    image_shape = (images.shape[1], images.shape[2], images.shape[3])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        denoiser = build_denoiser(network, image_shape, classes)

    def loss_of(trained: EDMDenoiser, generator: torch.Generator) -> Tensor:
        indices = torch.randint(len(images), (recipe.batch_size,), generator=generator)
        ln_sigma = recipe.p_mean + recipe.p_std * torch.randn(recipe.batch_size, generator=generator)
        eps = torch.randn(recipe.batch_size, *images.shape[1:], generator=generator)
        return denoiser_loss(trained, images[indices], ln_sigma.exp(), eps, labels[indices])

    return train_averaged(denoiser, loss_of, recipe, progress)


def train_averaged(
    network: M, loss_of: Callable[[M, torch.Generator], Tensor], recipe: TrainingRecipe, progress: Progress
) -> M:
    """Minimise `loss_of` (of the network and a random generator); return the network's EMA for evaluation."""
    averaged = copy.deepcopy(network).requires_grad_(False)
    pairs = list(zip(averaged.parameters(), network.parameters(), strict=True))
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.lr, fused=True)
    generator = torch.Generator().manual_seed(recipe.seed)
    with progress.bar("teacher", recipe.iterations) as bar:
        for iteration in range(recipe.iterations):
            # Warm-up damps Adam's first steps, and cosine decay lets a short schedule converge.
            warm = min(1.0, (iteration + 1) / recipe.warmup)
            decay = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * iteration / recipe.iterations)).item())
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr * warm * decay
            loss = loss_of(network, generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            # The EMA's horizon grows at the start, so that it never averages over untrained weights.
            rate = 1 - min(recipe.ema_decay, (1 + iteration) / (10 + iteration))
            with torch.no_grad():
                for average, parameter in pairs:
                    average.lerp_(parameter, rate)
            bar.advance(loss=loss.item())
    return averaged.eval()
