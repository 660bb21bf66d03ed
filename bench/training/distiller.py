"""The plug-in point: a distiller is one class with a training step."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.models.denoiser import Denoiser
from bench.models.grid import grid_index, student_indices
from bench.training.recipe import Recipe
from bench.training.sharding import shard, whole
from bench.training.step_rng import Draws

R = TypeVar("R", bound=Recipe)


@dataclass(frozen=True)
class Pairs:
    """Teacher noise-image pairs: noise z and image y [N, C, H, W], condition [N], made by its ODE sampler."""

    noise: Tensor
    image: Tensor
    condition: Tensor

    def at(self, positions: Tensor, device: torch.device | str) -> Pairs:
        """Return the pairs at `positions`, on `device`."""
        return Pairs(*(part[positions].to(device) for part in (self.noise, self.image, self.condition)))


def _as_it_is(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True)
class Setting:
    """What a task gives a distiller to work with."""

    accelerator: Accelerator
    teacher: Denoiser
    """The frozen pretrained denoiser, mu_real."""
    null_condition: Tensor | None
    """The unconditional entry for classifier-free guidance, where the teacher knows one."""
    make_pairs: Callable[[int], Pairs]
    """Return that many teacher noise-image pairs, from the cache or made now."""
    pixels: Callable[[], Callable[[Tensor], Tensor]] = lambda: _as_it_is
    """Return how losses on pixels see what the networks make, with gradients: latents through a decoder."""
    lpips_trunk: Callable[[], Path | None] = lambda: None
    """Return the file of LPIPS's trunk that was chosen for the task, if one was."""
    latent: bool = False
    """Whether the networks make latents and not images."""


@dataclass(frozen=True)
class Batch:
    """What one training step may use, on the training device; this process's share."""

    iteration: int
    draws: Draws
    """The iteration's random numbers. Draw from here alone: then a resumed run repeats them exactly."""
    condition: Tensor
    """Conditions [B] of the images to generate."""
    real: Tensor
    """Real images [B, C, H, W] in [-1, 1]."""
    real_condition: Tensor
    """Conditions [B] of the real images."""


@dataclass
class Player:
    """One trained network with its optimiser."""

    module: nn.Module
    """The bare network: for calls without gradients for its parameters."""
    prepared: nn.Module
    """The network as accelerate wrapped it (DDP), or itself where it is sharded: for calls that train it."""
    optimizer: torch.optim.Optimizer
    lr: float
    updates: int = 0
    gradient_norm: Tensor | None = None
    """Of the last update, before clipping."""


@dataclass(frozen=True)
class MicroBatch:
    """Which of an iteration's micro-batches a training step is given: gradients are their mean."""

    index: int = 0
    count: int = 1

    @property
    def is_last(self) -> bool:
        """Whether players step after it."""
        return self.index == self.count - 1


class Distiller(ABC, Generic[R]):
    """A method: how a few-step student is trained from a teacher.

    A subclass adds its networks in `__init__` with `add_player` (the student under the name "generator")
    and implements `training_step`. The engine does the rest: data, checkpoints, logging, evaluation.
    """

    name: ClassVar[str] = ""
    """The name on the command line, where the class itself is registered."""
    recipe_model: ClassVar[type[Recipe]] = Recipe
    """The model of its recipe, R; a subclass of `Recipe` where the method has numbers of its own."""
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Recipe values by task name, by scale ("micro", "paper") or for all ("*"); the most special wins."""

    def __init__(self, recipe: R, setting: Setting) -> None:
        self.recipe = recipe
        self.setting = setting
        self.accelerator = setting.accelerator
        self.teacher = setting.teacher
        self.schedule = setting.teacher.schedule
        self.indices = student_indices(recipe.student_steps, len(self.schedule.grid), recipe.student_start)
        """Grid positions of the student's steps, descending."""
        self.players: dict[str, Player] = {}
        self.micro_batch = MicroBatch()
        """Set by the engine before each training step."""
        if recipe.compile_backend != "none":
            self.teacher.compile(backend=recipe.compile_backend)

    @abstractmethod
    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """Train on one batch; return figures to log (0-dimensional tensors), losses under `loss/...`."""

    def student_copy(self) -> Denoiser:
        """Return a trainable copy of the teacher, from which students and critics start."""
        student = copy.deepcopy(self.setting.teacher).requires_grad_(True).train()
        if self.recipe.gradient_checkpointing:
            student.checkpoint_gradients()
        return student

    def adapt(self, student: Denoiser) -> Denoiser:
        """Give a copy of the teacher what students have besides: the adapters, where a LoRA is trained."""
        if self.recipe.lora_rank:
            student.add_adapters(self.recipe.lora_rank, self.recipe.lora_alpha)
        return student

    def release_teacher(self) -> None:
        """Bring the teacher to its precision, once all copies of it are made."""
        if self.recipe.teacher_precision == "bf16":
            self.teacher.to(torch.bfloat16)
        if self.sharded:
            self._shard(self.teacher)

    def add_player(self, name: str, module: nn.Module, lr: float) -> Player:
        """Register a network to train: AdamW with the recipe's betas and weight decay, fused."""
        if self.recipe.compile_backend != "none":
            module.compile(backend=self.recipe.compile_backend)
        if self.sharded:
            self._shard(module)
        prepared = module if self.sharded else self.accelerator.prepare_model(module)
        optimizer = torch.optim.AdamW(
            module.parameters(),
            lr=lr,
            betas=self.recipe.betas,
            weight_decay=self.recipe.weight_decay,
            fused=True,
        )
        player = Player(module, prepared, self.accelerator.prepare_optimizer(optimizer), lr)
        self.players[name] = player
        return player

    def descend(self, player: Player, loss: Tensor) -> None:
        """Step a player down a scalar loss, a mean over the batch; its `gradient_norm` is kept for the log."""
        self.descend_along(player, [loss], [torch.ones_like(loss)])

    def descend_along(self, player: Player, outputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Step a player, given the gradients of the loss in some of its graph's outputs.

        Gradients add up over an iteration's micro-batches; the step follows the last.
        """
        if self.micro_batch.index == 0:
            player.optimizer.zero_grad()
        if not any(output.requires_grad for output in outputs):
            raise ValueError(f"the loss of {self._name_of(player)} depends on no network that is trained")
        torch.autograd.backward(outputs, [gradient / self.micro_batch.count for gradient in gradients])
        if self.micro_batch.is_last:
            if all(parameter.grad is None for parameter in player.module.parameters()):
                raise ValueError(f"the loss of {self._name_of(player)} does not depend on its network")
            norm = self.accelerator.clip_grad_norm_(player.module.parameters(), self.recipe.clip_norm)
            player.gradient_norm = whole(torch.as_tensor(norm))
            player.optimizer.step()
            player.updates += 1

    def _name_of(self, player: Player) -> str:
        return next((f"player {name!r}" for name, one in self.players.items() if one is player), "a player")

    @property
    def sharded(self) -> bool:
        """Whether networks are shared out over processes: one process has nobody to share with."""
        return self.recipe.sharding == "fsdp2" and self.accelerator.num_processes > 1

    def _shard(self, network: nn.Module) -> None:
        accelerator = self.accelerator
        shard(network, accelerator.device, accelerator.num_processes, self.recipe.precision == "bf16")

    def set_rates(self, iteration: int) -> None:
        """Set every learning rate for an iteration: a function of the iteration, with no state."""
        factor = self.recipe.rate_at(iteration)
        for player in self.players.values():
            for group in player.optimizer.param_groups:
                group["lr"] = player.lr * factor

    def statistics(self, made: Tensor) -> dict[str, Tensor]:
        """Return mean and standard deviation of what the student makes, to log.

        Of images [B, C, H, W] it is the brightness of Figure 8: their range [-1, 1] becomes [0, 1], clamped as in
        the official code. Latents have no brightness; theirs are logged as they are, under another name.
        """
        made = made.detach()
        if self.setting.latent:
            return {"latent_mean": made.mean(), "latent_std": made.std()}
        levels = (made * 0.5 + 0.5).clamp(0, 1)
        return {"pixel_mean": levels.mean(), "pixel_std": levels.std()}

    @property
    def generator(self) -> Player:
        """The student, G_theta."""
        if "generator" not in self.players:
            raise UserError(f'{type(self).__name__} adds no player "generator": that is the student')
        return self.players["generator"]

    def times(self, batch: Batch, span: tuple[float, float], count: int) -> Tensor:
        """Draw `count` times uniformly from a part of the noise grid, both ends included."""
        low, high = (grid_index(end, len(self.schedule.grid)) for end in span)
        chosen = batch.draws.integers(low, high + 1, count)
        return self.schedule.grid.to(chosen.device, torch.float32)[chosen]

    def step_time(self, step: int, count: int) -> Tensor:
        """Return the time of one student step, for `count` samples."""
        time = self.schedule.grid[self.indices[step]].to(self.accelerator.device, torch.float32)
        return time.expand(count)
