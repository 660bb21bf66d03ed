"""FSDP2: every process keeps its share of a network's weights, gradients and Adam moments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from bench.models.backbones.base import BackboneFamily


def shard(network: nn.Module, device: torch.device, processes: int, bf16: bool) -> None:
    """Share a network's parameters out over all processes, in place; all must do so, from equal weights.

    The units that a backbone's family names are gathered one after the other, when they run. `bf16`: weights
    travel and compute in bf16, under autocast; shares stay as they are, and gradients are averaged in float32.
    """
    mesh = init_device_mesh(device.type, (processes,))
    # Inputs are not cast: bf16 has no t = 999, and x_t is what x0 is computed from.
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if bf16 else None, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    backbones = [part for part in network.modules() if isinstance(part, BackboneFamily)]
    for unit in [*(unit for one in backbones for unit in one.shard_units()), network]:
        fully_shard(unit, mesh=mesh, mp_policy=policy, reshard_after_forward=True)


def whole(value: Any, keep: bool = True) -> Any:
    """Return nested data with the whole tensor, on the CPU, where this process has a share of one.

    All processes must ask at once; those that need nothing of it say so by `keep`, and get empty tensors. Data
    without shares is returned as it is.
    """
    if isinstance(value, DTensor):
        gathered = value.full_tensor()
        return gathered.cpu() if keep else torch.empty(0)
    if isinstance(value, Mapping):
        return {key: whole(part, keep) for key, part in value.items()}
    return value


def share_of(value: Tensor, like: Tensor) -> Tensor:
    """This process's share of a whole tensor, where `like` is one; else the tensor itself."""
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    # Each cuts its share out of the file that all read: a lost connection must not pass for a damaged file.
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def shares_of(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """A network's whole state as this process's shares, for `load_state_dict`; unknown names stay as they are."""
    own = network.state_dict()
    return {name: share_of(value, own.get(name, value)) for name, value in state.items()}


def optimizer_shares(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimiser's whole state as this process's shares, for `load_state_dict`."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = {
        index: {name: share_of(value, parameters[index]) for name, value in of_one.items()}
        for index, of_one in state["state"].items()
    }
    return {**state, "state": moments}
