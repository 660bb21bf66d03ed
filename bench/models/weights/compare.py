"""Compare the tensors of a file with those of a network: none may be missing, ignored or reinterpreted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from bench.core.errors import listed
from bench.core.escape import printable

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""Types that weights may have; types with fewer bits are quantised and have a separate scale."""
PREFIXES = ("_orig_mod.", "module.", "unet.", "transformer.", "model.diffusion_model.")
"""Prefixes that torch.compile, data parallelism, pipelines and one-file checkpoints add to a network's names."""
COMPILED = "_orig_mod."
"""The prefix that torch.compile adds to the names of a compiled part, which may lie inside a network."""


def differences(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Describe how `state` differs from the tensors `expected`: missing, unexpected and misshapen names.

    Each kind is listed with its first few names. The result is empty if nothing differs. Tensors of `expected`
    may be on the meta device.
    """
    both = [name for name in expected if name in state]
    shapes = [name for name in both if state[name].shape != expected[name].shape]
    kinds = {name: problem for name in both if (problem := not_weights(state[name], expected[name].dtype))}
    return problems(
        missing=[name for name in expected if name not in state],
        unexpected=[name for name in state if name not in expected],
        other=[f"{name} ({list(state[name].shape)} for {list(expected[name].shape)})" for name in shapes]
        + [f"{name} ({problem})" for name, problem in kinds.items()],
    )


def problems(missing: Iterable[str], unexpected: Iterable[str], other: Iterable[str] = ()) -> str:
    """List tensors that are missing, unexpected or otherwise wrong on one line; empty if there are none."""
    groups = [
        [f"{printable(name)} (missing)" for name in missing],
        [f"{printable(name)} (unexpected)" for name in unexpected],
        [printable(text) for text in other],
    ]
    return "; ".join(listed(group) for group in groups if group)


def not_weights(value: Tensor, like: torch.dtype = torch.float32) -> str:
    """Say why a tensor cannot be used for weights of the type `like`; empty if it can.

    Weights are floating-point numbers of 16 bits or more and all finite; counters are whole numbers.
    """
    if like.is_floating_point:
        if value.dtype not in FLOATS:
            return f"{_named(value.dtype)}: quantised or not weights"
        if value.numel() and not all(bool(end.isfinite()) for end in value.aminmax()):
            return "not finite"
        return ""
    return _named(value.dtype) if value.is_floating_point() or value.is_complex() else ""


def same_weights(network: nn.Module, other: nn.Module) -> bool:
    """Whether two networks hold the same float32 numbers, the second also once they were rounded to 16 bits."""
    own, others = network.state_dict(), other.state_dict()
    if own.keys() != others.keys():
        return False
    return any(
        all(torch.equal(value, others[name].to(kind).to(value.dtype)) for name, value in own.items())
        for kind in (torch.float32, torch.float16, torch.bfloat16)
    )


def without_prefixes(state: Mapping[str, Tensor], is_known: Callable[[str], bool]) -> dict[str, Tensor]:
    """Strip known prefixes one by one from names that `is_known` knows without them.

    A name that stays unknown, or whose short form is already used, is kept and later reported as unexpected.
    """
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        bare = bare_name(name, is_known)
        found[name if bare in found or (bare != name and bare in state) else bare] = value
    return found


def bare_name(name: str, is_known: Callable[[str], bool]) -> str:
    """Return a name without the prefixes of PREFIXES if `is_known` knows that, else the name itself."""
    bare = name
    while not is_known(bare):
        prefix = next((one for one in PREFIXES if bare.startswith(one)), None)
        if prefix is not None:
            bare = bare.removeprefix(prefix)
        elif f".{COMPILED}" in bare:
            bare = bare.replace(f".{COMPILED}", ".")
        else:
            return name
    return bare


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
