"""Training of a micro task's teacher: its backbone's own loss on real images, and an EMA of its weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from bench.core.numerics import tf32
from bench.core.progress import Progress
from bench.models.backbones import dit, edm
from bench.models.backbones.dit import SiTDenoiser
from bench.models.backbones.edm import EDMDenoiser
from bench.models.denoiser import Denoiser
from bench.models.schedules import EDMSchedule, FlowSchedule, per_sample
from tasks.class_conditional import ClassDenoiser
from tasks.micro.task import FlowTeacherRecipe, NetworkSpec, TeacherRecipe, TrainingRecipe, TransformerSpec

M = TypeVar("M", bound=nn.Module)


FAMILIES: Mapping[type[NetworkSpec | TransformerSpec], type[ClassDenoiser]] = {
    NetworkSpec: EDMDenoiser,
    TransformerSpec: SiTDenoiser,
}
"""The families of backbones, by the kind of network."""


def build_denoiser(
    network: NetworkSpec | TransformerSpec, image_shape: tuple[int, int, int], classes: int
) -> EDMDenoiser | SiTDenoiser:
    """Build an untrained micro denoiser; its weights come from torch's global generator."""
    if isinstance(network, TransformerSpec):
        transformer = dit.small_network(
            image_shape, classes, network.width, network.layers, network.heads, network.patch_size
        )
        return SiTDenoiser(transformer, FlowSchedule())  # no shift: little noise hides small images
    built = edm.small_network(
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

    For EDM w is lambda(sigma) (EDM, Eq. 2); for other networks the loss is the squared error in what they predict.
    """
    schedule = denoiser.schedule
    error = denoiser(schedule.add_noise(x, eps, t), t, condition) - x
    return (per_sample(schedule.denoising_weight(t), error) * error**2).mean()


def train_teacher(
    images: Tensor,
    labels: Tensor,
    classes: int,
    network: NetworkSpec | TransformerSpec,
    recipe: TeacherRecipe,
    progress: Progress,
) -> EDMDenoiser | SiTDenoiser:
    """Train the teacher on images [N, C, H, W] in [-1, 1].

    The noise level has ln(sigma / alpha) ~ N(p_mean, p_std^2) (EDM, Table 1); a flow's time is then logit-normal.

    Returns the EMA weights. Training is seeded: the same images, recipe, thread count and machine
    give the same weights.
    """
    image_shape = (images.shape[1], images.shape[2], images.shape[3])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        denoiser = build_denoiser(network, image_shape, classes)

    def loss_of(trained: EDMDenoiser | SiTDenoiser, generator: torch.Generator) -> Tensor:
        indices = torch.randint(len(images), (recipe.batch_size,), generator=generator)
        ln_level = recipe.p_mean + recipe.p_std * torch.randn(recipe.batch_size, generator=generator)
        t = trained.schedule.time_at(ln_level.exp())
        eps = torch.randn(recipe.batch_size, *images.shape[1:], generator=generator)
        condition = labels[indices]
        if isinstance(recipe, FlowTeacherRecipe):
            dropped = torch.rand(recipe.batch_size, generator=generator) < recipe.class_dropout
            condition = condition.masked_fill(dropped, classes)  # the null class follows the others
        return denoiser_loss(trained, images[indices], t, eps, condition)

    return train_averaged(denoiser, loss_of, recipe, progress)


@tf32(False)
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
