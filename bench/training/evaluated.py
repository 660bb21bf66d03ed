"""The student that is evaluated: with the EMA of its weights, or with the last ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.models.denoiser import Denoiser
from bench.task.base import PreparedTask
from bench.training.distiller import Distiller
from bench.training.one_base import OwnState
from bench.training.sharding import shares_of, whole
from bench.training.trained_model import move_average


class EvaluatedStudent:
    """The weights of a distiller's student that would be evaluated now: the EMA if the recipe has one."""

    def __init__(self, distiller: Distiller[Any], prepared: PreparedTask) -> None:
        self.distiller = distiller
        self.prepared = prepared
        self.average: dict[str, Tensor] | None = None
        """The EMA of the generator's state; None without one, and before the first update."""

    @torch.no_grad()
    def follow(self) -> None:
        """Update the EMA after an update of the generator; its horizon grows at the start."""
        most, generator = self.distiller.recipe.ema_decay, self.distiller.generator
        if most is None:
            return
        current = generator.state_dict()
        if self.average is None:
            self.average = {name: value.clone() for name, value in current.items()}
            return
        decay = min(most, generator.updates / (generator.updates + 10))
        move_average(self.average, current, decay)

    def restore(self, average: Mapping[str, Tensor] | None, device: torch.device) -> None:
        """Take the EMA of a checkpoint, whole and on the CPU, or None."""
        shares = None if average is None else shares_of(average, self.distiller.generator.network)
        self.average = shares and {name: value.to(device) for name, value in shares.items()}

    def copy(self) -> Denoiser:
        """Return a copy of the student with these weights, in evaluation mode."""
        student, trained = self.distiller.build_student(self._base()), self.distiller.generator
        own = OwnState(student, {name: name for name in trained.not_own})
        own.load_state_dict(whole(self.average or trained.state_dict()))
        return student.eval().requires_grad_(False)

    def _base(self) -> Denoiser:
        """Return the teacher whose weights a student gets, by a copy or as its base."""
        teacher = self.prepared.teacher
        if not self.distiller.recipe.one_base:
            return teacher
        # A sampler moves its student to the device, and with it the base. So this is the one that is there
        # already; shards are not whole, and the task's own teacher must stay where it is.
        return copy.deepcopy(teacher) if self.distiller.sharded else self.distiller.teacher
