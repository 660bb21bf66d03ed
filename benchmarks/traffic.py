"""Count the bytes that one pass of EDM's ImageNet-64 network moves on a GPU, by kind of operation, without a GPU.

    python benchmarks/traffic.py [--batch 40] [--small]

The pass runs forward and backward on fake tensors, with the casts of CUDA's autocast. Counted
are the bytes that each operation reads and writes, as if none were fused and nothing stayed in the card's
cache; views move nothing. A card that moves 4.8 TB/s (H200) needs 0.22 s for 1 TiB.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import torch
from fake_tensors import replace_tensors
from imagenet_training import SMALL
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from bench.models.backbones.edm import EDMDenoiser
from bench.models.schedules import EDMSchedule
from bench.models.weights.edm_unet import IMAGENET64, edm_unet
from bench.training.half_weights import HalfWeights

KINDS = {
    "normalisation": ("native_group_norm", "native_layer_norm"),
    "activation": ("silu",),
    "cast": ("_to_copy",),
    "attention": ("_scaled_dot_product", "_softmax", "bmm"),
    "convolution, matrix product": ("convolution", "mm"),
}
"""Kinds of operations by how their names begin; the rest is arithmetic on whole tensors, and copies."""
REST = "sums, products, copies"


def kind_of(function: Any) -> str:
    """Return the kind of an operation."""
    name = function.overloadpacket.__name__
    for kind, names in KINDS.items():
        if name.startswith(names) or (
            kind == "convolution, matrix product" and function.overloadpacket in flop_registry
        ):
            return kind
    return REST


class Traffic(TorchDispatchMode):
    """A counter of the bytes that operations read and write, by kind."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        written = [one for one in tree_leaves(made) if isinstance(one, Tensor)]
        if written and not function.is_view and function.overloadpacket is not torch.ops.aten.empty:
            read = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
            self.bytes[kind_of(function)] += sum(one.numel() * one.element_size() for one in (*read, *written))
        return made


def as_on_a_gpu(norm: nn.GroupNorm) -> None:
    """Let a normalisation run in float32 under autocast, as CUDA's does and a CPU's does not."""
    plain = norm.forward

    def forward(x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled("cpu"):
            return plain(x)
        with torch.autocast("cpu", enabled=False):
            return plain(x.float())

    norm.forward = forward  # type: ignore[method-assign]


def traffic(precision: str, batch: int, small: bool) -> Counter[str]:
    """Count a forward and a backward pass in a recipe's precision."""
    sizes = SMALL if small else IMAGENET64
    with FakeTensorMode(allow_non_fake_inputs=True):
        network = EDMDenoiser(edm_unet(sizes), EDMSchedule())
        if precision == "bf16-weights":
            HalfWeights(network, teacher=nn.Module())
        for part in network.modules():
            if isinstance(part, nn.GroupNorm):
                as_on_a_gpu(part)
        x, sigma = torch.randn(batch, 3, 64, 64), torch.rand(batch)
        condition = torch.zeros(batch, dtype=torch.long)
        with Traffic() as counted:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                made = network(x, sigma, condition)
            made.square().mean().backward()
    return counted.bytes


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=40)
    parser.add_argument("--small", action="store_true", help="a small network of the same kind")
    options = parser.parse_args()
    nn.Module._apply = replace_tensors  # type: ignore[method-assign, assignment]
    found = {name: traffic(name, options.batch, options.small) for name in ("fp32", "bf16", "bf16-weights")}
    print(f"GiB of one forward and backward pass, batch {options.batch}, torch {torch.__version__}\n")
    print(f"| operations | {' | '.join(found)} |\n|---|{'---|' * len(found)}")
    for kind in (*KINDS, REST):
        print(f"| {kind} | {' | '.join(f'{one[kind] / 2**30:.1f}' for one in found.values())} |")
    print(f"| all | {' | '.join(f'{one.total() / 2**30:.1f}' for one in found.values())} |")


if __name__ == "__main__":
    main()
