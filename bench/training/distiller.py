"""The base class of distillers. A distiller is one class with a training step."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.core.transfers import constant_on
from bench.models.denoiser import Denoiser, GuidedDenoiser
from bench.models.grid import grid_index, student_indices
from bench.training.compiling import compile_network
from bench.training.context import Batch, MicroBatch, Noised, Pairs, TrainingContext
from bench.training.figures import check_loss, diversity
from bench.training.half_weights import HalfWeights
from bench.training.one_base import copy_on, not_synchronised, share_shards, shared_names
from bench.training.recipe import Recipe
from bench.training.sharding import settle, shard, whole
from bench.training.simulation import backward_simulation, ode_step
from bench.training.student_sampler import StudentSampler, few_step_sampler
from bench.training.trained_model import TargetNetwork, TrainedModel, frozen

__all__ = ["Batch", "Distiller", "Noised", "Pairs", "Recipe", "TrainedModel", "TrainingContext", "frozen"]
"""The names that a distiller's file imports from this module."""

STUDENT = "generator"
"""The name of the network that is evaluated."""

FIX = "fix: make it of what the model returns with gradients enabled, and do not detach that"

R = TypeVar("R", bound=Recipe)


class Distiller(ABC, Generic[R]):
    """A method that trains a few-step student from a teacher.

    A subclass adds its networks in `__init__` (the student with `add_student`) and implements `training_step`. It
    may also override how the student is built (`build_student`), sampled (`sampler`) and optimised
    (`build_optimizer`). The engine does the rest: data, checkpoints, logging, evaluation.
    """

    name: ClassVar[str] = ""
    """The name of the method on the command line, for a class in a plug-in file."""
    recipe_model: ClassVar[type[Recipe]] = Recipe
    """The class of the method's recipe, R: `Recipe`, or a subclass with the method's own values."""
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Recipe values by task name, by scale ("micro", "paper") or for all ("*"); the most specific one wins."""
    fresh_weights: ClassVar[tuple[str, ...]] = ()
    """Prefixes of the names of weights that may be missing in a run given by `init_from`; they start at random."""

    def __init__(self, recipe: R, context: TrainingContext) -> None:
        self.recipe = recipe
        self.context = context
        self.accelerator = context.accelerator
        self.teacher = context.teacher
        self.schedule = context.teacher.schedule
        self.indices = student_indices(recipe.student_steps, len(self.schedule.grid), recipe.student_start)
        """Grid positions of the student's steps, descending."""
        self.models: dict[str, TrainedModel] = {}
        self.targets: dict[str, TargetNetwork] = {}
        self.state: dict[str, Tensor] = {}
        self.micro_batch = MicroBatch()
        """The current micro-batch, which the engine sets before each training step."""
        if recipe.one_base:  # copies have the teacher's weights, so these get their precision before
            self._convert_teacher()
        compile_network(self.teacher, recipe)

    @abstractmethod
    def training_step(self, batch: Batch) -> dict[str, Tensor]:
        """Train on one batch. Return figures to log: 0-dimensional tensors by name, losses under `loss/...`."""

    def build_student(self, teacher: Denoiser) -> Denoiser:
        """Build a student from a teacher, which is not changed: a trainable copy, or a LoRA on a frozen one."""
        return self.trainable_copy(teacher, self.recipe.lora_rank, self.recipe.lora_alpha)

    @classmethod
    def sampler(cls, recipe: R, student: Denoiser) -> StudentSampler:
        """Return the sampler that evaluates the student: few-step sampling at the recipe's steps."""
        grid = len(student.schedule.grid)
        return few_step_sampler(student, student_indices(recipe.student_steps, grid, recipe.student_start))

    def build_optimizer(self, network: nn.Module, lr: float) -> torch.optim.Optimizer:
        """Build the optimiser of a network: AdamW with the recipe's betas and weight decay, fused."""
        recipe, weights = self.recipe, list(network.parameters())
        if recipe.one_base:  # a base is not the optimiser's, which would keep its shards
            weights = [weight for weight in weights if weight.requires_grad]
        return torch.optim.AdamW(weights, lr=lr, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True)

    def trainable_copy(self, teacher: Denoiser, lora_rank: int = 0, lora_alpha: float = 8.0) -> Denoiser:
        """Return a trainable copy of a teacher, as the initial student or critic.

        With a rank, a LoRA alone is trained, on a frozen copy of the teacher or, with `one_base`, on the teacher's
        own weights. Raises UserError if networks are to share a base and this one has no rank.
        """
        if self.recipe.one_base and not lora_rank:
            raise UserError(
                f"one_base=true is for networks that are LoRAs, and {type(self).__name__} trains a whole copy of "
                "the teacher; fix: --set one_base=false, or give trainable_copy() a lora_rank"
            )
        network = copy_on(teacher) if self.recipe.one_base else copy.deepcopy(teacher).requires_grad_(True)
        network.train()
        if self.recipe.gradient_checkpointing:
            network.checkpoint_gradients()
        if lora_rank:
            network.add_adapters(lora_rank, lora_alpha)
        return network

    def add_student(self) -> TrainedModel:
        """Build the student from the teacher and register it with the recipe's learning rate."""
        return self.add_model(STUDENT, self.build_student(self.teacher), self.recipe.lr)

    def add_model(self, name: str, network: nn.Module, lr: float) -> TrainedModel:
        """Register a network to train at a rate; checkpoints contain both.

        Raises UserError for a taken name, and for weights of the teacher, which stays as it is.
        """
        self._refuse_taken(name, self.models)
        if self._trains_teacher(network):
            raise UserError(
                f"{type(self).__name__} adds model {name!r} with the teacher's own weights, which would be "
                "trained; fix: give it self.trainable_copy(self.teacher)"
            )
        shared, half = self._place(network)
        wrapped = network if self.sharded or half else self.accelerator.prepare_model(network)
        optimizer = self.accelerator.prepare_optimizer(self.build_optimizer(half.master if half else network, lr))
        self.models[name] = TrainedModel(network, wrapped, optimizer, lr, shared, half)
        return self.models[name]

    def add_target(self, name: str, model: TrainedModel, network: nn.Module, decay: float) -> TargetNetwork:
        """Register a target network: an average of a model's weights that `update_target` moves.

        `network` has the same shape as the model's network; its weights are replaced. Checkpoints contain it.
        """
        followed = dict(model.network.named_parameters())
        for weight_name, weight in network.named_parameters():
            if weight_name in followed:  # a weight that is trained has a float32 master, and so has its average
                weight.requires_grad_(followed[weight_name].requires_grad)
        shared, half = self._place(network)
        self.targets[name] = TargetNetwork(network, model, decay, shared, half)
        return self.targets[name]

    def add_state(self, name: str, value: Tensor) -> Tensor:
        """Register a tensor that is no weight, such as a queue; return it, on the device, to be changed in place.

        Checkpoints contain it as the first process has it. Raises UserError for a taken name.
        """
        self._refuse_taken(name, self.state)
        self.state[name] = value.detach().clone().to(self.accelerator.device)
        return self.state[name]

    def update_target(self, target: TargetNetwork) -> None:
        """Move a target towards its model. Call this after the model's step; it acts once in each iteration."""
        if self.micro_batch.is_last:
            target.update()

    def release_teacher(self) -> None:
        """Convert the teacher to its precision and shard it. The trainer calls this after all copies are made."""
        self._convert_teacher()
        if self.sharded:
            self._shard(self.teacher)
            for one in (*self.models.values(), *self.targets.values()):
                share_shards(one.network, self.teacher, one.shared)
            for model in self.models.values():
                settle(model.network)

    def backward_and_step(self, model: TrainedModel, loss: Tensor) -> None:
        """Step a model on a scalar loss, a mean over the batch. Its `gradient_norm` is kept for the log."""
        check_loss(loss, self._name_of(model))
        self.backward_from_gradients(model, [loss], [torch.ones_like(loss)])

    def backward_from_gradients(
        self, model: TrainedModel, outputs: Sequence[Tensor], gradients: Sequence[Tensor]
    ) -> None:
        """Step a model, given the gradients of the loss with respect to some outputs of its graph.

        Gradients add up over an iteration's micro-batches; the optimiser steps after the last one.
        """
        if model.micro_batch is self.micro_batch and self.micro_batch.count > 1:
            raise UserError(
                f"{self._name_of(model)} has two steps in one iteration, which micro-batches cannot divide; "
                "fix: --set gradient_accumulation=1, or add its losses and step once"
            )
        model.micro_batch = self.micro_batch
        if self.micro_batch.index == 0:
            model.release_gradients()  # of a backward pass without a step
        if not any(output.requires_grad for output in outputs):
            raise ValueError(f"the loss of {self._name_of(model)} does not depend on any trained network; {FIX}")
        torch.autograd.backward(outputs, [gradient / self.micro_batch.count for gradient in gradients])
        if self.micro_batch.is_last:
            weights = [weight for weight in model.master.parameters() if weight.grad is not None]
            if not weights:
                raise ValueError(f"the loss of {self._name_of(model)} does not depend on its network; {FIX}")
            if model.half and self.accelerator.num_processes > 1:  # DDP would average in bf16
                for weight in weights:
                    weight.grad = self.accelerator.reduce(weight.grad, "mean")
            norm = self.accelerator.clip_grad_norm_(weights, self.recipe.clip_norm)
            model.gradient_norm = whole(torch.as_tensor(norm))
            model.step()

    def set_rates(self, iteration: int) -> None:
        """Set every learning rate for an iteration. The rates are functions of the iteration alone."""
        factor = self.recipe.rate_at(iteration)
        for model in self.models.values():
            model.set_rate(factor)

    @property
    def generator(self) -> TrainedModel:
        """The student, G_theta."""
        if STUDENT not in self.models:
            raise UserError(f"{type(self).__name__} has no student; fix: call self.add_student() in __init__")
        return self.models[STUDENT]

    @property
    def sharded(self) -> bool:
        """True if the networks are sharded over several processes."""
        return self.recipe.sharding == "fsdp2" and self.accelerator.num_processes > 1

    def guided_teacher(self, scale: float) -> Denoiser:
        """Return the teacher with classifier-free guidance; at scale 1 it is the teacher itself.

        Raises UserError if the teacher has no null condition.
        """
        if scale == 1:
            return self.teacher
        if self.context.null_condition is None:
            raise UserError(
                f"guidance_scale is {scale}, but this task's teacher was trained without a null condition; "
                "fix: --set guidance_scale=1"
            )
        return GuidedDenoiser(self.teacher, self.context.null_condition.to(self.accelerator.device), scale)

    def teacher_step(self, noised: Noised, s: Tensor) -> Noised:
        """Follow the teacher's ODE from noised images to the times s [B] in one DDIM step."""
        return ode_step(self.teacher, self.schedule, noised, s)

    def noised(self, x: Tensor, condition: Tensor, batch: Batch, span: tuple[float, float]) -> Noised:
        """Add noise to images [B, C, H, W], at times drawn from a part of the noise grid."""
        t = self.times(batch, span, len(x))
        return Noised(self.schedule.add_noise(x, batch.rng.normal(x), t), t, condition)

    def simulate(self, batch: Batch) -> Noised:
        """Generate the student's input at a step drawn for the batch, by backward simulation."""
        return backward_simulation(self.generator, self.schedule, self.step_times, batch)

    def times(self, batch: Batch, span: tuple[float, float], count: int) -> Tensor:
        """Draw `count` times uniformly from a part of the noise grid, both ends included."""
        low, high = (grid_index(end, len(self.schedule.grid)) for end in span)
        positions = batch.rng.integers(low, high + 1, count)
        return constant_on(self.schedule.grid, positions.device, torch.float32)[positions]

    @property
    def step_times(self) -> Tensor:
        """The times [N] of the student's steps, descending."""
        grid = constant_on(self.schedule.grid, self.accelerator.device, torch.float32)
        return torch.stack([grid[index] for index in self.indices])  # a list of indices would be copied

    def step_time(self, step: int, count: int) -> Tensor:
        """Return the time of one student step, repeated for `count` samples."""
        return self.step_times[step].expand(count)

    def statistics(self, made: Tensor) -> dict[str, Tensor]:
        """Return mean, standard deviation, diversity and colour cast of the student's output as figures to log.

        For images [B, C, H, W] the mean is the brightness of Figure 8: the range [-1, 1] becomes [0, 1], clamped
        as in the official code. Latents have no brightness; theirs are logged unscaled, under another name. The
        trainer adds the same figures of the batch's real images, with which alarms compare them.
        """
        made = made.detach().float()
        kind, levels = ("latent", made) if self.context.latent else ("pixel", (made * 0.5 + 0.5).clamp(0, 1))
        found = {f"{kind}_mean": levels.mean(), f"{kind}_std": levels.std()}
        if len(levels) > 1:
            found[f"{kind}_diversity"] = diversity(levels)
        if levels.shape[1] > 1:
            found[f"{kind}_cast"] = levels.mean((0, 2, 3)).std()
        return found

    def _convert_teacher(self) -> None:
        if self.recipe.teacher_precision == "bf16":
            self.teacher.to(torch.bfloat16)

    def _place(self, network: nn.Module) -> tuple[dict[str, str], HalfWeights | None]:
        """Compile, shard and halve a network as the recipe says.

        Return the names of what it shares with the teacher, and its master's weights if it now runs in bf16.
        """
        shared = shared_names(network, self.teacher) if self.recipe.one_base else {}
        if shared:
            not_synchronised(network, shared)
        compile_network(network, self.recipe)
        if self.sharded:
            self._shard(network)
        if self.recipe.precision == "bf16-weights":
            return shared, HalfWeights(network.to(self.accelerator.device), self.teacher)
        return shared, None

    def _shard(self, network: nn.Module) -> None:
        accelerator = self.accelerator
        shard(network, accelerator.device, accelerator.num_processes, self.recipe.precision == "bf16")

    def _refuse_taken(self, name: str, taken: Mapping[str, object]) -> None:
        if name in taken:
            raise UserError(f"{type(self).__name__} adds {name!r} twice; fix: give each its own name")

    def _trains_teacher(self, network: nn.Module) -> bool:
        own = {id(weight) for weight in self.teacher.parameters()}
        return any(weight.requires_grad and id(weight) in own for weight in network.parameters())

    def _name_of(self, model: TrainedModel) -> str:
        return next((f"model {name!r}" for name, one in self.models.items() if one is model), "a model")
