"""The package's LPIPS 0.1, on a trunk whose tensors are read from torchvision's file."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any, Literal

from accelerate import init_empty_weights
from torch import nn

from bench.core.errors import UserError
from bench.core.extras import optional_module
from bench.models.weights.compare import differences, without_prefixes
from bench.models.weights.state_dicts import read_state_dict

FEATURES, CLASSIFIER = "features.", "classifier."
"""Prefixes of the names of torchvision's layers; LPIPS does not use the second."""


def lpips_network(net: Literal["alex", "vgg"], trunk: Path, pooling: Literal["max", "average"] = "max") -> Any:
    """Build the package's LPIPS, frozen, in evaluation mode, on the CPU; its linear layers are in the package.

    It takes images [B, 3, H, W] in [-1, 1] twice, and returns distances [B, 1, 1, 1] (arXiv:1801.03924, Eq. 1).
    `pooling`: VGG's own max pooling, or average pooling in its place, as piq's `replace_pooling` does.
    Raises UserError if the package is missing, or `trunk` is damaged or another network.
    """
    lpips = optional_module("lpips", "LPIPS", "text")
    with warnings.catch_warnings(), init_empty_weights():
        warnings.simplefilter("ignore")  # the package calls an old interface of torchvision
        model = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
    state = read_state_dict(trunk)
    # The package cuts torchvision's `features` into slices, and keeps the numbers of the layers.
    expected = model.net.state_dict()
    names = {name: f"features.{name.partition('.')[2]}" for name in expected}
    state = without_prefixes(state, lambda name: name.startswith((FEATURES, CLASSIFIER)))
    trunk_alone = {name: value for name, value in state.items() if not name.startswith(CLASSIFIER)}
    if wrong := differences({given: expected[name] for name, given in names.items()}, trunk_alone):
        raise UserError(f"{trunk} is not torchvision's {net}: {wrong}; fix: download it again")
    linear = read_state_dict(Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth")
    model.net.load_state_dict({name: state[given].float() for name, given in names.items()}, assign=True)
    # The same layers appear as `lins`, too.
    layers = {name: value for name, value in model.state_dict().items() if re.match(r"lin\d", name)}
    if wrong := differences(layers, linear):
        raise UserError(f"the package lpips does not fit its weights of {net}: {wrong}; fix: install lpips 0.1.4")
    model.load_state_dict(linear, strict=False, assign=True)
    if pooling == "average":
        for part in list(model.net.modules()):
            for name, layer in part.named_children():
                if isinstance(layer, nn.MaxPool2d):
                    setattr(part, name, nn.AvgPool2d(layer.kernel_size, layer.stride))
    return model.eval().requires_grad_(False)
