"""Several networks on one base: each has modules and adapters of its own, and all have the same frozen weights.

What tells the networks apart (adapter, hooks, gradient checkpointing) is in their modules. So nothing is switched
before a call, and a backward pass that runs a forward again meets the adapter of that forward, whatever was called
in between.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from bench.training.half_weights import HalfWeights

N = TypeVar("N", bound=nn.Module)


def copy_on(base: N) -> N:
    """Return a copy of a frozen network with new modules, whose weights and buffers are the network's own."""
    tensors = [*base.parameters(), *base.buffers()]
    return copy.deepcopy(base, {id(tensor): tensor for tensor in tensors})


def shared_names(network: nn.Module, base: nn.Module) -> dict[str, str]:
    """Return the names in a network of the tensors that are a base's own, each with its name in the base."""
    names = {id(tensor): name for name, tensor in _named(base).items()}
    return {name: names[id(tensor)] for name, tensor in _named(network).items() if id(tensor) in names}


def _named(network: nn.Module) -> dict[str, Tensor]:
    parameters = network.named_parameters(remove_duplicate=False)
    return dict(parameters) | dict(network.named_buffers(remove_duplicate=False))


def not_synchronised(network: nn.Module, shared: Mapping[str, str]) -> None:
    """Let DDP leave alone what a network shares: it writes buffers that a backward pass may need."""
    names = set(shared)
    nn.parallel.DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(network, names)


class Misfit(NamedTuple):
    """Names that a state lacks, and those that it has for nothing, as `nn.Module.load_state_dict` returns them."""

    missing: list[str]
    unexpected: list[str]


class OwnState:
    """The state of a network, without the tensors that belong to a base."""

    def __init__(
        self, network: nn.Module, shared: Mapping[str, str] | None = None, half: HalfWeights | None = None
    ) -> None:
        """`shared`: see `shared_names`; none: the network shares nothing. `half`: if the network runs in bf16."""
        self.network = network
        self.shared = shared or {}
        self.half = half

    @property
    def master(self) -> nn.Module:
        """The network whose weights are trained and saved: the network itself, unless that runs in bf16."""
        return self.half.master if self.half else self.network

    def refresh(self) -> None:
        """Let the network that runs follow its master, after the weights of the master have changed."""
        if self.half:
            self.half.refresh()

    @property
    def not_own(self) -> frozenset[str]:
        """Names of the tensors that are no part of the state: those of a base, shared or rounded."""
        return frozenset(self.shared) | (self.half.base if self.half else frozenset())

    def state_dict(self) -> dict[str, Tensor]:
        """Return the own tensors of the network's master by name."""
        left_out = self.not_own
        return {name: value for name, value in self.master.state_dict().items() if name not in left_out}

    def load_state_dict(self, state: Mapping[str, Tensor], strict: bool = True) -> Misfit:
        """Load the network's own tensors; a state with shared ones does not fit.

        Raises RuntimeError for a tensor of another shape and, if strict, for names that do not fit.
        """
        left_out = self.not_own
        own = {name: value for name, value in state.items() if name not in left_out}
        found = self.master.load_state_dict(own, strict=False)
        self.refresh()
        missing = [name for name in found.missing_keys if name not in left_out]
        unexpected = [*found.unexpected_keys, *(name for name in state if name in left_out)]
        if strict and (missing or unexpected):
            raise RuntimeError(f"missing: {', '.join(missing)}; unexpected: {', '.join(unexpected)}")
        return Misfit(missing, unexpected)


@torch.no_grad()
def share_shards(network: nn.Module, base: nn.Module, shared: Mapping[str, str]) -> None:
    """Let a sharded network have the very shards of a sharded base, in place. Neither may have run yet.

    A weight whose rows are not a multiple of the number of processes is padded, and stays a copy.
    """
    state = base.state_dict()
    shards = {name: state[of_base] for name, of_base in shared.items() if of_base in state}
    network.load_state_dict(shards, strict=False, assign=True)
