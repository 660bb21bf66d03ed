"""Networks in bf16: what training with bf16 weights and sampling in bf16 have in common."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from bench.core.errors import UserError
from bench.models.backbones.base import BackboneFamily
from bench.models.denoiser import Denoiser

Network = TypeVar("Network", bound=nn.Module)


def backbones_of(network: nn.Module, option: str, fix: str) -> list[nn.Module]:
    """Return the networks of all backbone families in a network; they are what can be converted.

    Raises UserError, which names the option that asks for it and ends with `fix`, for a denoiser that is not of a
    backbone family: nothing is known of how it computes.
    """
    denoisers = [part for part in network.modules() if isinstance(part, Denoiser)]
    found = [part.network for part in denoisers if isinstance(part, BackboneFamily)]
    if denoisers and not found:
        raise UserError(
            f"{option} converts the networks of backbone families, and {type(denoisers[-1]).__name__} is of none; "
            f"fix: {fix}"
        )
    return found


def to_bf16(backbone: nn.Module) -> None:
    """Convert the weights of a network to bf16, in place.

    Sums in normalisations and matrix products stay float32: their kernels round only their results.
    """
    nn.Module.to(backbone, torch.bfloat16)  # diffusers' own `to` warns of a list of exceptions even if it is empty


def copy_in_bf16(backbone: Network) -> Network:
    """Return a copy of a network whose weights are in bf16."""
    copied = copy.deepcopy(backbone)
    to_bf16(copied)
    return copied
