"""The judge of scenes: networks that read the kind and the colour of each item, and the features of FD."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.core.progress import Progress
from bench.task.images import to_unit_range
from tasks.micro.classifier import train_classifier
from tasks.micro.networks import Extraction, FeatureClassifier
from tasks.scenes.data import COLOURS, ITEM, KINDS
from tasks.scenes.task import SceneClassifierRecipe

ITEM_ANSWERS = (len(KINDS), len(COLOURS))
"""Logits of an item: of its kind, then of its colour."""
SCENE_ANSWERS = ITEM_ANSWERS * 2
"""Of a scene: the left item's, then the right one's."""


class SceneClassifier(nn.Module):
    """One network that sees whole scenes, one that sees single items; images are uint8 [B, 3, H, W]."""

    def __init__(self, recipe: SceneClassifierRecipe, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels = image_shape[0]
        scene, item = recipe.scene, recipe.item
        self.scene = FeatureClassifier(image_shape, sum(SCENE_ANSWERS), scene.width, scene.features)
        self.item = FeatureClassifier((channels, ITEM, ITEM), sum(ITEM_ANSWERS), item.width, item.features)

    @torch.no_grad()
    def scene_features(self, images: Tensor) -> Tensor:
        """Features of whole scenes, [B, D]."""
        seen: Extraction = self.scene(to_unit_range(images))
        return seen.features

    @torch.no_grad()
    def read_items(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the items, [2B, D], a scene's left one first; what is read, [B, 4] as `truths` has it."""
        seen: Extraction = self.item(to_unit_range(item_crops(images)))
        return seen.features, most_probable(seen.logits, ITEM_ANSWERS).reshape(len(images), 4)

    @torch.no_grad()
    def diversity(self, images: Tensor, group: int) -> Tensor:
        """Mean distance of the pairs of each `group` images that follow each other: [B / group].

        LPIPS without its learned weights (Zhang et al. 2018, arXiv:1801.03924, eq. 1) on the scene network's
        three convolutions: unit vectors at every place, squared differences, their mean, added over layers.
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


def train_scene_classifier(
    images: Tensor,
    truths: Tensor,
    recipe: SceneClassifierRecipe,
    image_shape: tuple[int, int, int],
    progress: Progress,
) -> SceneClassifier:
    """Train both networks on real scenes: images [N, 3, H, W] uint8, what they show [N, 4] as `truths` has it."""
    judge = SceneClassifier(recipe, image_shape)
    judge.scene = train_classifier(
        to_unit_range(images), truths, sum(SCENE_ANSWERS), recipe.scene, progress, answers_loss(SCENE_ANSWERS)
    )
    items, answers = to_unit_range(item_crops(images)), truths.reshape(-1, 2)
    judge.item = train_classifier(
        items, answers, sum(ITEM_ANSWERS), recipe.item, progress, answers_loss(ITEM_ANSWERS)
    )
    return judge.eval().requires_grad_(False)


def answers_loss(sizes: tuple[int, ...]) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy of several questions at once: logits [B, sum of sizes], answers [B, questions]."""

    def loss_of(logits: Tensor, answers: Tensor) -> Tensor:
        parts = zip(logits.split(sizes, 1), answers.unbind(1), strict=True)
        return torch.stack([F.cross_entropy(part, answer) for part, answer in parts]).sum()

    return loss_of


def most_probable(logits: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Logits [B, sum of sizes] -> the most probable answer to each question, [B, questions]."""
    return torch.stack([part.argmax(1) for part in logits.split(sizes, 1)], 1)


def item_crops(scenes: Tensor) -> Tensor:
    """Cut uint8 scenes [B, 3, H, W] into their items: [2B, 3, ITEM, ITEM], a scene's left one first.

    In each half an item's rows are those ITEM that hold most light, the upper ones of equals.
    """
    both = torch.stack(scenes.split(ITEM, 3), 1).flatten(0, 1)
    light = both.sum((1, 3), dtype=torch.int64).unfold(1, ITEM, 1).sum(2)
    places = light.shape[1]
    top = (light * places - torch.arange(places)).argmax(1)  # no ties, whose order argmax leaves open
    rows = top[:, None] + torch.arange(ITEM)
    return both.gather(2, rows[:, None, :, None].expand(-1, both.shape[1], -1, ITEM))


def agreement(read: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Whether all of a caption is true, its kinds, its colours, at their places: read and truth [B, 4] -> [B]."""
    right = read == truth
    return {"alignment": right.all(1), "kinds": right[:, 0::2].all(1), "colours": right[:, 1::2].all(1)}
