"""What a training step takes, counted on torch's fake tensors, which have shapes and no numbers.

Counted are all tensors that are alive at once (not the kernels' workspaces, nor what an allocator loses).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from bench.training.distiller import Distiller
from bench.training.step_rng import StepRNG

aten = torch.ops.aten

ATTENTION_OF_CPU = {
    aten._scaled_dot_product_flash_attention_for_cpu: aten._scaled_dot_product_flash_attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: aten._scaled_dot_product_flash_attention_backward,
}
"""Attention on a CPU, which torch's registry lacks, and on a GPU, with the same operands first."""


class Alive(TorchDispatchMode):
    """A counter of the bytes of all live tensors, and of their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self._counted: dict[int, int] = {}

    def add(self, tensor: Tensor) -> None:
        """Count a tensor until its storage is freed; views share one."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._counted:
            self._counted[key] = storage.nbytes()
            self.bytes += storage.nbytes()
            self.peak = max(self.peak, self.bytes)
            weakref.finalize(storage, self._freed, key)

    def _freed(self, key: int) -> None:
        self.bytes -= self._counted.pop(key)

    def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for part in tree_leaves(made):
            if isinstance(part, Tensor):
                self.add(part)
        return made


class LongestSimulation(StepRNG):
    """Random numbers whose common integer is the highest, since fake tensors have no values."""

    def integer(self, low: int, high: int) -> int:
        assert low < high
        return high - 1


def replace_tensors(module: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """Replace Module._apply, which swaps parameters in place; fake tensors cannot be swapped."""
    assert recurse
    for child in module.children():
        child._apply(change)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            with torch.no_grad():
                module._parameters[name] = nn.Parameter(change(parameter), parameter.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = change(buffer)
    return module


def lasting_tensors(distiller: Distiller[Any]) -> Iterator[Tensor]:
    """Yield the tensors that last from one iteration to the next: weights, gradients, moments."""
    yield from (parameter.data for parameter in distiller.teacher.parameters())
    for model in distiller.models.values():
        for parameter in model.network.parameters():
            yield parameter.data
            if parameter.grad is not None:
                yield parameter.grad
        for moments in model.optimizer.state.values():
            yield from moments.values()


def lasting_bytes(distiller: Distiller[Any]) -> Alive:
    """Return a counter that starts with the tensors that last."""
    alive = Alive()
    for tensor in lasting_tensors(distiller):
        alive.add(tensor)
    return alive


class Operations(TorchDispatchMode):
    """A counter of the operations of matrix products, convolutions and attention, which keeps no tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        packet = function.overloadpacket
        count = flop_registry.get(ATTENTION_OF_CPU.get(packet, packet))
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=made)
        return made
