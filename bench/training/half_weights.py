"""Weights in bf16 for the passes of a network, and their float32 masters, which the optimiser moves."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from bench.models.backbones.base import BackboneFamily
from bench.models.bf16 import backbones_of, refusing_mixed_types, to_bf16
from bench.training.recipe import Recipe


class HalfWeights:
    """A network whose backbones run in bf16, and its master: the same network, with trained weights in float32.

    The gradient of a bf16 weight is added to its master's in float32 as soon as it is known, so it is never kept
    in bf16, and micro-batches add up in float32. Heads and other modules outside the backbones stay float32. So do
    the sums in normalisations and matrix products, whose kernels round only their results. Frozen weights have no
    master: they are there once, in bf16.
    """

    def __init__(self, network: nn.Module, teacher: nn.Module) -> None:
        """Convert the backbones in a network to bf16, in place. What the network has of the teacher is left alone.

        Raises UserError for a denoiser that is not of a backbone family.
        """
        backbones = backbones_of(network, "precision=bf16-weights", "--set precision=bf16")
        families = [part for part in network.modules() if isinstance(part, BackboneFamily)]
        with_master = {id(weight) for one in backbones for weight in one.parameters() if weight.requires_grad}
        kept = [weight for weight in network.parameters() if id(weight) not in with_master]
        self.master = copy.deepcopy(network, {id(teacher): teacher} | {id(weight): weight for weight in kept})
        """It is never called."""
        adapted = [weight for one in families if one.adapters() for weight in one.network.parameters()]
        base = {id(weight) for weight in adapted if not weight.requires_grad}
        self.base = frozenset(name for name, weight in network.named_parameters() if id(weight) in base)
        """Names of the weights under adapters. They are the teacher's, rounded, and no part of the state."""
        for backbone in backbones:
            to_bf16(backbone)
        own, of_master = ([*one.parameters(), *one.buffers()] for one in (network, self.master))
        pairs = [(half, full) for half, full in zip(own, of_master, strict=True) if half is not full]
        self._halves, self._masters = [half for half, _ in pairs], [full for _, full in pairs]
        for half, full in pairs:
            if half.requires_grad:
                half.register_post_accumulate_grad_hook(_moved_to(full))

    @torch.no_grad()
    def refresh(self) -> None:
        """Round the masters to bf16 into the network that runs."""
        if self._halves:
            torch._foreach_copy_(self._halves, self._masters)


def refusing_bf16(recipe: Recipe, teacher: nn.Module) -> AbstractContextManager[None]:
    """Return what to train within: a network that cannot run in the recipe's precision raises UserError."""
    asked = {"precision": ("bf16-weights", "bf16"), "teacher_precision": ("bf16", "fp32")}
    given = {key: values for key, values in asked.items() if getattr(recipe, key) == values[0]}
    if not given:
        return contextlib.nullcontext()
    option = " and ".join(f"{key}={half}" for key, (half, _) in given.items())
    fix = " ".join(f"--set {key}={other}" for key, (_, other) in given.items())
    return refusing_mixed_types(teacher, option, fix)


def _moved_to(master: Tensor) -> Callable[[Tensor], None]:
    """Return a hook that adds a weight's gradient to its master's."""

    def move(half: Tensor) -> None:
        assert half.grad is not None
        gradient, half.grad = half.grad.to(master.dtype), None
        master.grad = gradient if master.grad is None else master.grad.add_(gradient)

    return move
