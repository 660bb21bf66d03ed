"""Distances of two images in a loss: mean squared error, or the LPIPS of DMD on ImageNet and of DMD2 on SDXL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.core.errors import UserError
from bench.core.files import file_sha256
from bench.features.files import TRUNKS
from bench.features.networks.lpips_network import lpips_network
from bench.training.distiller import TrainingContext
from methods.losses import regression_loss
from methods.recipes import LPIPSRecipe, PairRecipe

Distance = Callable[[Tensor, Tensor], Tensor]
"""A function of two batches of images [B, C, H, W] in [-1, 1] that returns their mean distance, a scalar."""

VGG16 = TRUNKS["vgg"]
"""The only trunk with which the distance is that of the papers."""
SIDE = 224
"""Side in pixels of the images that the trunk was trained on. Smaller images are scaled up to it."""


def distance_of(recipe: PairRecipe, context: TrainingContext) -> Distance:
    """Return a recipe's regression distance of two batches of the networks' images [B, C, H, W], with gradients.

    Raises UserError as `lpips_of` does.
    """
    return regression_loss if recipe.regression_distance == "mse" else lpips_of(recipe, context)


def lpips_of(recipe: LPIPSRecipe, context: TrainingContext) -> Distance:
    """Return the LPIPS of two batches of the networks' images [B, C, H, W], with the recipe's trunk and pooling.

    It is computed on the task's pixels, which may be decoded latents. Raises UserError if weights are missing.
    """
    path = recipe.lpips_weights or context.lpips_trunk()
    fix = f"fix: bench prepare --weights lpips=FILE, or --set lpips_weights=FILE ({VGG16.url})"
    if path is None:
        raise UserError(f"{recipe.lpips_switch}=lpips requires torchvision's VGG16, and none is pinned; {fix}")
    if not path.is_file():
        raise UserError(
            f"lpips_weights: there is no file {path}, which should be torchvision's {VGG16.name}; {fix}"
        )
    if file_sha256(path) != VGG16.sha256:
        raise UserError(f"lpips_weights: {path} does not have the SHA-256 of torchvision's {VGG16.name}; {fix}")
    network = lpips_network("vgg", path, recipe.lpips_pooling).to(context.accelerator.device)
    pixels = context.pixels()
    return lambda x, y: lpips_distance(network, pixels(x), pixels(y))


def lpips_distance(network: Any, x: Tensor, y: Tensor) -> Tensor:
    """Return the mean LPIPS of x and y in float32; images below 224 x 224 are scaled up to it.

    DMD scales images up (arXiv:2311.18828, App. on EDM). DMD2's pretraining of SDXL uses images of 1,024 pixels
    unscaled (official code). Both use piq, whose VGG16, linear weights and scaling are those of the lpips package.
    """
    with torch.autocast(x.device.type, enabled=False):
        x, y = (_scaled_up(images.float()) for images in (x, y))
        distances: Tensor = network(x, y)
        return distances.mean()


def _scaled_up(images: Tensor) -> Tensor:
    if min(images.shape[-2:]) >= SIDE:
        return images
    return F.interpolate(images, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
