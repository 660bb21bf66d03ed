"""FSDP2: every process has a shard of a network's weights, gradients and Adam moments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from bench.models.backbones.base import BackboneFamily
from bench.models.denoiser import Denoiser


def shard(network: nn.Module, device: torch.device, processes: int, bf16: bool) -> None:
    """Shard a network's parameters over all processes, in place. All must call this, with equal weights.

    The units that a backbone's family names are gathered one after the other, when they run. With `bf16`, weights
    are sent and computed with in bf16, under autocast; shards keep their type, and gradients are averaged in
    float32.
    """
    mesh = init_device_mesh(device.type, (processes,))
    # Inputs are not cast: bf16 cannot represent t = 999, and x0 is computed from x_t.
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if bf16 else None, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    backbones = [part for part in network.modules() if isinstance(part, BackboneFamily)]
    for unit in [*(unit for one in backbones for unit in one.shard_units()), network]:
        fully_shard(unit, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
    if isinstance(network, Denoiser):  # a frozen teacher gives its features outside another module's forward
        for name in ("features", "deep_features"):
            register_fsdp_forward_method(network, name)


def settle(network: nn.Module) -> None:
    """Let a sharded network read the types of its weights now, from those that train. It shall not have run yet.

    FSDP2 reads them when a network first runs, and a critic first runs frozen. Its float32 adapters on a bf16 base
    then seem to have no type in common, and torch 2.14 makes their gradients bf16 and fails.
    """
    assert isinstance(network, FSDPModule)
    network._get_fsdp_state()._lazy_init()


def whole(value: Any, keep: bool = True) -> Any:
    """Return nested data in which each shard of a tensor is replaced by the whole tensor, on the CPU.

    All processes must call this together. With `keep` false a process gets empty tensors. Data without shards is
    returned unchanged.
    """
    if isinstance(value, DTensor):
        gathered = value.full_tensor()
        return gathered.cpu() if keep else torch.empty(0)
    if isinstance(value, Mapping):
        return {key: whole(part, keep) for key, part in value.items()}
    return value


def share_of(value: Tensor, like: Tensor) -> Tensor:
    """Return this process's shard of a whole tensor if `like` is a shard, otherwise the tensor itself."""
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    # Each process cuts its shard out of a file that all read: a lost connection cannot look like a damaged file.
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def shares_of(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return a network's whole state as this process's shards, for `load_state_dict`; unknown names are kept."""
    own = network.state_dict()
    return {name: share_of(value, own.get(name, value)) for name, value in state.items()}


def optimizer_shares(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return an optimiser's whole state as this process's shards, for `load_state_dict`."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = {
        index: {name: share_of(value, parameters[index]) for name, value in of_one.items()}
        for index, of_one in state["state"].items()
    }
    return {**state, "state": moments}
