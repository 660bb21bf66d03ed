"""Objects in images by Mask2Former (COCO instances), from a folder in transformers' format.

GenEval's own detector is mmdet's Mask2Former Swin-S, another training of the same network. Its rules for inputs
and outputs are followed here: the shorter side is 800 pixels, and the longer one at most 1,333; an object's score
is the probability of its class times the mean probability of its pixels. Source: Cheng et al. 2022,
arXiv:2112.01527.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.core.extras import optional_module
from bench.data.text.object_names import detector_names
from bench.features.precision import frozen_network
from bench.features.prompt_following.geneval_rules import THRESHOLD, Detection
from bench.models.weights.folders import load_network

SIDE, LONGEST = 800, 1333
"""Sides in pixels of the images that the network reads."""
MULTIPLE = 32
"""Images are padded to a multiple of this, with the mean colour."""
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Mean and deviation of ImageNet's grey levels."""
MOST = 100
"""Objects of one image, those with the most probable classes first."""
TABLES = ("relative_position_index",)
"""Buffers of Swin that published files store."""
SOURCE = "facebook/mask2former-swin-small-coco-instance"


class ObjectDetector:
    """A detector of COCO's 80 kinds of objects."""

    def __init__(self, network: Any, names: Mapping[int, str], side: int) -> None:
        """Take transformers' Mask2FormerForUniversalSegmentation, in evaluation mode, and GenEval's names."""
        self.network = network
        self.names = names
        self.side = side
        self.device: torch.device = next(network.parameters()).device

    def __call__(self, image: Tensor) -> list[Detection]:
        """Return the objects in an image, uint8 [3, H, W], that any of GenEval's rules could count."""
        pixels = scaled(image, self.side)
        height, width = pixels.shape[1:]
        padded = F.pad(pixels, (0, -width % MULTIPLE, 0, -height % MULTIPLE))
        with frozen_network(self.device):
            found = self.network(pixel_values=padded[None].to(self.device))
            masks = F.interpolate(
                found.masks_queries_logits, size=tuple(padded.shape[1:]), mode="bilinear", align_corners=False
            )[:, :, :height, :width]
            return objects_of(found.class_queries_logits[0], masks[0], tuple(image.shape[1:]), self.names)


def scaled(image: Tensor, side: int) -> Tensor:
    """Return the network's input [3, h, w] of an image uint8 [3, H, W]: resized, with normal grey levels."""
    height, width = image.shape[1:]
    scale = min(side / min(height, width), side * LONGEST / SIDE / max(height, width))
    size = (int(height * scale + 0.5), int(width * scale + 0.5))
    resized = F.interpolate(image[None].float(), size=size, mode="bilinear", align_corners=False)[0]
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
    return (resized - mean) / std


def objects_of(logits: Tensor, masks: Tensor, size: tuple[int, ...], names: Mapping[int, str]) -> list[Detection]:
    """Return the objects of an image [height, width], from logits [Q, classes + 1] and masks [Q, h, w].

    The last class is no object. Objects whose class is no more probable than THRESHOLD are left out early:
    their scores, products with another probability, cannot exceed it. Each has a mask, and the box around it.
    """
    probable = logits.softmax(dim=1)[:, :-1]
    values, places = probable.flatten().topk(min(MOST, probable.numel()))
    found = []
    for value, place in zip(values.tolist(), places.tolist(), strict=True):
        if value <= THRESHOLD:
            break
        query, label = divmod(place, probable.shape[1])
        mask = F.interpolate(masks[None, None, query], size=size, mode="bilinear", align_corners=False)[0, 0]
        inside = mask > 0
        if not inside.any():
            continue
        score = value * float(mask.sigmoid()[inside].mean())
        ys, xs = (inside.any(dim=axis).nonzero().flatten() for axis in (1, 0))
        box = (float(xs[0]), float(ys[0]), float(xs[-1]) + 1, float(ys[-1]) + 1)
        found.append(Detection(names[label], score, box, inside.cpu().numpy()))
    return found


def load_detector(folder: Path, device: torch.device | str = "cpu", side: int = SIDE) -> ObjectDetector:
    """Read a folder with config.json and model.safetensors. Raises UserError unless it detects COCO's kinds."""
    transformers = optional_module("transformers", "GenEval's detector", "text")
    fix = f"hf download {SOURCE} --local-dir FOLDER"
    network = load_network(transformers.Mask2FormerForUniversalSegmentation, folder, fix, tables=TABLES)
    names = detector_names({int(number): name for number, name in network.config.id2label.items()}, str(folder))
    return ObjectDetector(network.to(device), names, side)
