"""Training of a micro task's teacher: its backbone's own loss on real images, and an EMA of its weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from bench.core.disk import DiskFullError
from bench.core.errors import UserError, first_line, listed
from bench.core.numerics import tf32
from bench.core.progress import Progress
from bench.core.temporaries import scratch_folder
from bench.models.backbones import dit, edm
from bench.models.backbones.classes import ClassFamily
from bench.models.backbones.dit import SiTDenoiser
from bench.models.backbones.edm import EDMDenoiser
from bench.models.denoiser import Denoiser
from bench.models.saved import load_denoiser, save_denoiser, saved_family
from bench.models.schedules import EDMSchedule, FlowSchedule, per_sample
from tasks.micro.task import (
    DenoiserSpec,
    FlowTeacherRecipe,
    NetworkSpec,
    TeacherRecipe,
    TrainingRecipe,
    TransformerSpec,
)

M = TypeVar("M", bound=nn.Module)


def edm_denoiser(spec: NetworkSpec, image_shape: tuple[int, int, int], classes: int) -> EDMDenoiser:
    """Build an untrained UNet under EDM's preconditioning."""
    built = edm.small_network(
        image_shape,
        classes,
        spec.channels,
        spec.patch_size,
        spec.layers_per_block,
        spec.attention_head_dim,
        spec.norm_groups,
    )
    return EDMDenoiser(built, EDMSchedule(spec.sigma_data), spec.patch_size, taps=("mid",))


def sit_denoiser(spec: TransformerSpec, image_shape: tuple[int, int, int], classes: int) -> SiTDenoiser:
    """Build an untrained transformer of a rectified flow."""
    built = dit.small_network(image_shape, classes, spec.width, spec.layers, spec.heads, spec.patch_size)
    return SiTDenoiser(built, FlowSchedule())  # no shift: little noise hides small images


def build_denoiser(network: DenoiserSpec, image_shape: tuple[int, int, int], classes: int) -> ClassFamily:
    """Build an untrained micro denoiser; its weights come from torch's global generator.

    Raises UserError if what the network's own class built is not for such images and classes.
    """
    denoiser = network.build(image_shape, classes)
    if not isinstance(denoiser, ClassFamily):
        raise UserError(
            f"{type(network).__name__}.build made a {type(denoiser).__name__}, and the teacher of a micro task is "
            "of a class-conditional family; fix: derive it from bench.models.backbones.classes.ClassFamily"
        )
    found, wanted = (denoiser.sample_shape, denoiser.classes), (image_shape, classes)
    if found != wanted:
        raise UserError(
            f"{type(network).__name__}.build made a denoiser of images {found[0]} with {found[1]} classes, and "
            f"the task has {wanted[0]} with {wanted[1]}; fix: use the arguments of build"
        )
    return denoiser


def load_teacher(folder: Path) -> ClassFamily:
    """Read a saved teacher. Raises UserError if it is damaged, or is of another kind."""
    denoiser = load_denoiser(folder, saved_family(folder)).denoiser
    if not isinstance(denoiser, ClassFamily):
        raise UserError(
            f"{folder} has a {denoiser.name!r}, which is not class-conditional; fix: name another folder"
        )
    return denoiser


def refuse_lost(denoiser: ClassFamily) -> None:
    """Raise UserError if a denoiser is not read again with the weights that its family, a plug-in's, wrote."""
    try:
        with scratch_folder() as folder:
            save_denoiser(denoiser, folder / "teacher")
            found = load_teacher(folder / "teacher").state_dict()
    except DiskFullError:
        raise
    except Exception as error:  # a plug-in's family may raise anything
        raise _unreadable(denoiser, f"{type(error).__name__}: {first_line(error)}") from error
    wanted = denoiser.state_dict()
    odd = [name for name in {**wanted, **found} if not _same(wanted.get(name), found.get(name))]
    if odd:
        raise _unreadable(denoiser, f"{listed(odd)} are other ones")


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and torch.equal(one, other)


def _unreadable(denoiser: ClassFamily, why: str) -> UserError:
    return UserError(
        f"the backbone family {denoiser.name!r} does not read the teacher that it wrote: {why}; fix: let its "
        "write_network and read_network, describe and options fit each other"
    )


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
    network: DenoiserSpec,
    recipe: TeacherRecipe,
    progress: Progress,
) -> ClassFamily:
    """Train the teacher on images [N, C, H, W] in [-1, 1].

    The noise level has ln(sigma / alpha) ~ N(p_mean, p_std^2) (EDM, Table 1); a flow's time is then logit-normal.

    Returns the EMA weights. Training is seeded: the same images, recipe, thread count and machine
    give the same weights. Raises UserError for a class dropout without a null class.
    """
    image_shape = (images.shape[1], images.shape[2], images.shape[3])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        denoiser = build_denoiser(network, image_shape, classes)
    null = denoiser.null_condition
    dropout = recipe.class_dropout if isinstance(recipe, FlowTeacherRecipe) else 0.0
    if dropout and null is None:
        raise UserError(
            f"the teacher's recipe has class_dropout={dropout:g}, and {type(denoiser).__name__} has no null "
            "class; fix: give the task a TeacherRecipe, or the denoiser a null_condition"
        )

    def loss_of(trained: ClassFamily, generator: torch.Generator) -> Tensor:
        indices = torch.randint(len(images), (recipe.batch_size,), generator=generator)
        ln_level = recipe.p_mean + recipe.p_std * torch.randn(recipe.batch_size, generator=generator)
        t = trained.schedule.time_at(ln_level.exp())
        eps = torch.randn(recipe.batch_size, *images.shape[1:], generator=generator)
        condition = labels[indices]
        if dropout and null is not None:
            dropped = torch.rand(recipe.batch_size, generator=generator) < dropout
            condition = condition.masked_fill(dropped, null.item())
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
    if odd := [name for name, value in averaged.state_dict().items() if not value.isfinite().all()]:
        raise UserError(
            f"the training of {type(network).__name__} diverged: {odd[0]} is not finite after {recipe.iterations} "
            "iterations; fix: correct the network, or give its recipe a lower lr"
        )
    return averaged.eval()
