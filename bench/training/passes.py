"""Counts the forward and backward passes of a distiller's networks while it trains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from bench.models.denoiser import Denoiser
from bench.training.cost import ENCODER, NO_PASSES, Passes
from bench.training.distiller import STUDENT, Distiller


class PassCounter:
    """Passes of single images through each network, by the names of `Cost.passes`.

    Counted are all denoisers among the distiller's models, targets and teacher: a call of the network, and a call
    of `features`, which runs its encoder alone. A backward pass counts when a gradient reaches a call's output,
    whether it goes on to the weights or only to the input. A call that computes a forward-mode derivative counts
    twice. Modules without a denoiser, such as the heads of a discriminator, are not counted.
    """

    def __init__(self, distiller: Distiller[Any]) -> None:
        """Watch the networks of a distiller. Copies of them that are made later are not watched."""
        self.counts: dict[str, Passes] = {}
        """Passes of this process since it began, and those that it was given to continue from."""
        networks = {"teacher": distiller.teacher, **{name: one.network for name, one in distiller.models.items()}}
        networks |= {name: target.network for name, target in distiller.targets.items()}
        for name, network in networks.items():
            self._watch("student" if name == STUDENT else name, network)

    def _watch(self, name: str, network: nn.Module) -> None:
        denoisers = [module for module in network.modules() if isinstance(module, Denoiser)]
        for denoiser in denoisers:
            if sum(isinstance(module, Denoiser) for module in denoiser.modules()) > 1:
                continue  # the call of the denoiser within it is the one that counts
            denoiser.register_forward_hook(self._hook(denoiser, name))
            denoiser.register_features_hook(self._hook(denoiser, name + ENCODER))

    def _hook(self, watched: nn.Module, name: str) -> Callable[..., None]:
        """Return a hook for calls of one network.

        A deep copy of the network has the hook too, and is not counted: it may be a student that is validated.
        """
        counts = self.counts

        def count(forward: int, backward: int) -> None:
            _add(counts, name, Passes(forward, backward))

        @torch.compiler.disable
        def hook(module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
            if module is not watched:
                return
            last = output if isinstance(output, Tensor) else output[-1]
            images = len(last)
            if forward_ad.unpack_dual(last).tangent is not None:
                count(2 * images, 0)
                return
            count(images, 0)
            if last.requires_grad:
                last.register_hook(lambda _: count(0, images))

        return hook

    def restore(self, counts: Mapping[str, tuple[int, int]]) -> None:
        """Continue from the counts of a checkpoint."""
        self.counts.clear()
        self.counts.update({name: Passes(*passes) for name, passes in counts.items()})


def total_passes(counts: Iterable[Mapping[str, Passes]]) -> dict[str, Passes]:
    """Return the sum of several processes' counts, by network."""
    total: dict[str, Passes] = {}
    for one in counts:
        for name, passes in one.items():
            _add(total, name, passes)
    return dict(sorted(total.items()))


def _add(counts: dict[str, Passes], name: str, passes: Passes) -> None:
    before = counts.get(name, NO_PASSES)
    counts[name] = Passes(before.forward + passes.forward, before.backward + passes.backward)
