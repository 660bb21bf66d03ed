"""Training of a micro task's feature network on its real training images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.core.numerics import tf32
from bench.core.progress import Progress
from tasks.micro.networks import FeatureClassifier
from tasks.micro.task import ClassifierRecipe


@tf32(False)
def train_classifier(
    images: Tensor,
    labels: Tensor,
    classes: int,
    recipe: ClassifierRecipe,
    progress: Progress,
    loss_of: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> FeatureClassifier:
    """Train the feature classifier on images [N, C, H, W] in [-1, 1] with labels [N, ...]; return it frozen.

    The optimiser is AdamW with a one-cycle rate. `loss_of` takes `classes` logits of each image and its label;
    the default is the cross-entropy. Training is seeded: the same images, recipe, thread count and machine
    give the same weights.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    image_shape = (images.shape[1], images.shape[2], images.shape[3])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = FeatureClassifier(image_shape, classes, recipe.width, recipe.features)
    steps = recipe.epochs * (len(images) // recipe.batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.lr, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=steps)
    with progress.bar("feature network", steps) as bar:
        for _ in range(recipe.epochs):
            order = torch.randperm(len(images), generator=generator)
            for indices in order[: steps // recipe.epochs * recipe.batch_size].split(recipe.batch_size):
                loss = loss_of(network(images[indices]).logits, labels[indices])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.advance(loss=loss.item())
    return network.eval().requires_grad_(False)


@torch.no_grad()
def accuracy(network: FeatureClassifier, images: Tensor, labels: Tensor) -> float:
    """Return the fraction of images whose most probable class is their label."""
    correct = [
        (network(x).logits.argmax(1) == y).sum().item()
        for x, y in zip(images.split(1000), labels.split(1000), strict=True)
    ]
    return sum(correct) / len(images)
