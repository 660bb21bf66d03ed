"""The classifier of scenes, which reads the kind and the colour of each item, and gives the features of FD."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.core.numerics import tf32
from bench.core.progress import Progress
from bench.task.images import to_unit_range
from tasks.micro.classifier import train_classifier
from tasks.micro.networks import Extraction, FeatureClassifier
from tasks.scenes.data import COLOURS, ITEM, KINDS
from tasks.scenes.task import SceneClassifierRecipe

ITEM_ANSWERS = (len(KINDS), len(COLOURS))
"""Sizes of an item's logits: of its kind, then of its colour."""
SCENE_ANSWERS = ITEM_ANSWERS * 2
"""Sizes of a scene's logits: of the left item, then of the right item."""


class SceneClassifier(nn.Module):
    """One network for whole scenes and one for single items; images are uint8 [B, 3, H, W]."""

    def __init__(self, recipe: SceneClassifierRecipe, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels = image_shape[0]
        scene, item = recipe.scene, recipe.item
        self.scene = FeatureClassifier(image_shape, sum(SCENE_ANSWERS), scene.width, scene.features)
        self.item = FeatureClassifier((channels, ITEM, ITEM), sum(ITEM_ANSWERS), item.width, item.features)

    @torch.no_grad()
    def scene_features(self, images: Tensor) -> Tensor:
        """Return the features of whole scenes, [B, D]."""
        found: Extraction = self.scene(to_unit_range(images))
        return found.features

    @torch.no_grad()
    def read_items(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the items' features, [2B, D], the left item first, and the answers, [B, 4] as in `truths`."""
        found: Extraction = self.item(to_unit_range(item_crops(images)))
        return found.features, most_probable(found.logits, ITEM_ANSWERS).reshape(len(images), 4)

    @torch.no_grad()
    def diversity(self, images: Tensor, group: int) -> Tensor:
        """Return the mean distance between the images of each group of `group` consecutive ones: [B / group].

        This is LPIPS without its learned weights (Zhang et al. 2018, arXiv:1801.03924, eq. 1) on the three
        convolutions of the scene network: unit vectors at every place, the mean of their squared differences,
        summed over layers.
        """
        x, total = to_unit_range(images), torch.zeros(len(images) // group)
        pairs = list(itertools.combinations(range(group), 2))
        for layer in self.scene.trunk:
            if isinstance(layer, nn.Flatten):
                break
            x = layer(x)
            if not isinstance(layer, nn.Conv2d):
                unit = F.normalize(x, dim=1).unflatten(0, (-1, group))
                apart = [(unit[:, i] - unit[:, j]).square().sum(1).mean((1, 2)) for i, j in pairs]
                total += torch.stack(apart).mean(0)
        return total


@tf32(False)
def train_scene_classifier(
    images: Tensor,
    truths: Tensor,
    recipe: SceneClassifierRecipe,
    image_shape: tuple[int, int, int],
    progress: Progress,
) -> SceneClassifier:
    """Train both networks on real scenes: images [N, 3, H, W] uint8 with answers [N, 4] as in `truths`."""
    classifier = SceneClassifier(recipe, image_shape)
    classifier.scene = train_classifier(
        to_unit_range(images), truths, sum(SCENE_ANSWERS), recipe.scene, progress, answers_loss(SCENE_ANSWERS)
    )
    items, answers = to_unit_range(item_crops(images)), truths.reshape(-1, 2)
    classifier.item = train_classifier(
        items, answers, sum(ITEM_ANSWERS), recipe.item, progress, answers_loss(ITEM_ANSWERS)
    )
    return classifier.eval().requires_grad_(False)


def answers_loss(sizes: tuple[int, ...]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the cross-entropy summed over questions, of logits [B, sum of sizes] and answers [B, questions]."""

    def loss_of(logits: Tensor, answers: Tensor) -> Tensor:
        parts = zip(logits.split(sizes, 1), answers.unbind(1), strict=True)
        return torch.stack([F.cross_entropy(part, answer) for part, answer in parts]).sum()

    return loss_of


def most_probable(logits: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Return the most probable answer to each question, [B, questions], of logits [B, sum of sizes]."""
    return torch.stack([part.argmax(1) for part in logits.split(sizes, 1)], 1)


def item_crops(scenes: Tensor) -> Tensor:
    """Cut uint8 scenes [B, 3, H, W] into their items: [2B, 3, ITEM, ITEM], a scene's left item first.

    In each half, an item is in the ITEM consecutive rows with the most light; the upper rows win a tie.
    """
    both = torch.stack(scenes.split(ITEM, 3), 1).flatten(0, 1)
    light = both.sum((1, 3), dtype=torch.int64).unfold(1, ITEM, 1).sum(2)
    places = light.shape[1]
    top = (light * places - torch.arange(places)).argmax(1)  # without ties, for which argmax has no fixed order
    rows = top[:, None] + torch.arange(ITEM)
    return both.gather(2, rows[:, None, :, None].expand(-1, both.shape[1], -1, ITEM))


def agreement(read: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Return [B] booleans for answers and truth [B, 4]: whether all, the kinds, and the colours are right."""
    right = read == truth
    return {"alignment": right.all(1), "kinds": right[:, 0::2].all(1), "colours": right[:, 1::2].all(1)}
