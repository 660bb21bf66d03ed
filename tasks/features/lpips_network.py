"""LPIPS 0.1 as its package has it, on a trunk that is read from torchvision's file as tensors alone."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal

from accelerate import init_empty_weights
from torch import nn

from tasks.errors import UserError
from tasks.extras import optional_module
from tasks.weights.state_dicts import read_state_dict


def lpips_network(net: Literal["alex", "vgg"], trunk: Path, pooling: Literal["max", "average"] = "max") -> Any:
    """Build the package's LPIPS, frozen, in evaluation mode, on the CPU; its linear layers are in the package.

    It takes images [B, 3, H, W] in [-1, 1] twice, and returns distances [B, 1, 1, 1] (arXiv:1801.03924, Eq. 1).
    `pooling`: between VGG's layers, its own, or average in its place, as piq's `replace_pooling` has it.
    Raises UserError if the package is missing, or `trunk` is damaged or another network.
    """
    lpips = optional_module("lpips", "LPIPS", "text")
    with warnings.catch_warnings(), init_empty_weights():
        warnings.simplefilter("ignore")  # the package calls torchvision as of old
        model = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
    state = read_state_dict(trunk)
    # The package cuts torchvision's `features` into slices, and keeps the numbers of the layers.
    names = {name: f"features.{name.partition('.')[2]}" for name in model.net.state_dict()}
    missing = [name for name in names.values() if name not in state]
    if missing:
        raise UserError(f"{trunk} is not torchvision's {net}: it lacks {len(missing)} tensors, as {missing[0]}")
    linear = read_state_dict(Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth")
    try:
        model.net.load_state_dict({name: state[given].float() for name, given in names.items()}, assign=True)
    except RuntimeError:
        raise UserError(f"{trunk} is not torchvision's {net}: its layers have other sizes") from None
    model.load_state_dict(linear, strict=False, assign=True)
    if pooling == "average":
        for part in list(model.net.modules()):
            for name, layer in part.named_children():
                if isinstance(layer, nn.MaxPool2d):
                    setattr(part, name, nn.AvgPool2d(layer.kernel_size, layer.stride))
    return model.eval().requires_grad_(False)
