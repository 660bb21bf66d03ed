"""The colour of an object, by CLIP ViT-L/14 on its part of the image: GenEval's zero-shot classifier."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.data.text.geneval import COLOURS
from bench.features.networks.clip import CLIPScorer
from bench.features.prompt_following.geneval_rules import Detection

BACKGROUND = 0x99
"""Grey level of the pixels outside an object's mask."""


def sentences(colour: str, name: str) -> list[str]:
    """Return the three sentences whose mean embedding stands for a colour of a kind of object."""
    return [
        f"a photo of a {colour} {name}",
        f"a photo of a {colour}-colored {name}",
        f"a photo of a {colour} object",
    ]


class ColourClassifier:
    """The nearest of ten colours for objects of one kind; each kind's sentences are embedded once."""

    def __init__(self, clip: CLIPScorer) -> None:
        self.clip = clip
        self._colours: dict[str, Tensor] = {}

    def __call__(self, image: Tensor, objects: Sequence[Detection]) -> list[str]:
        """Return the colours of objects of one kind in an image, uint8 [3, H, W]."""
        if not objects:
            return []
        parts = [self.clip.embed_images(cut_out(image, one)[None]) for one in objects]
        nearest = (torch.cat(parts) @ self._embedded(objects[0].name).T).argmax(dim=1)
        return [COLOURS[place] for place in nearest.tolist()]

    def _embedded(self, name: str) -> Tensor:
        """Return unit embeddings of the colours of a kind of object, [10, D]."""
        if name not in self._colours:
            texts = [text for colour in COLOURS for text in sentences(colour, name)]
            rows, _ = self.clip.embed_prompts(texts)
            self._colours[name] = F.normalize(rows.reshape(len(COLOURS), -1, rows.shape[1]).mean(dim=1), dim=-1)
        return self._colours[name]


def cut_out(image: Tensor, found: Detection) -> Tensor:
    """Return an object's box of an image, uint8 [3, h, w], grey (#999) outside its mask if it has one."""
    if found.mask is not None:
        if found.mask.shape != tuple(image.shape[1:]):
            raise ValueError(f"a mask {found.mask.shape} of an image {list(image.shape)}")
        image = torch.where(torch.from_numpy(np.asarray(found.mask)), image, BACKGROUND).to(torch.uint8)
    left, top, right, bottom = (round(side) for side in found.box)
    return image[:, top:bottom, left:right]
