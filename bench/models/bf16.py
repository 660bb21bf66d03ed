"""Networks in bf16: what training with bf16 weights and sampling in bf16 have in common."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import nn

from bench.core.errors import UserError, first_line, listed
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


@contextlib.contextmanager
def refusing_mixed_types(network: nn.Module, option: str, fix: str) -> Iterator[None]:
    """Within it, torch's error that a network in bf16 mixes types is a UserError that names the network's family.

    `option` asked for bf16, and `fix` changes that. Other errors, and those of no backbone family, stay.
    """
    try:
        yield
    except RuntimeError as error:
        families = sorted({part.name for part in network.modules() if isinstance(part, BackboneFamily)})
        if "BFloat16" not in str(error) or not families:
            raise
        raise UserError(
            f"{option} runs networks in bf16, which the backbone family {listed(families)} does not "
            f"({first_line(error)}); fix: {fix}, or cast what goes into its network to the type of its weights"
        ) from error


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
