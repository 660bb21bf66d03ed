"""The published networks as extractors: one function for each network's output on a batch of images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bench.features.batch import ImageBatch
from bench.features.networks.aesthetic import AestheticPredictor
from bench.features.networks.clip import CLIPScorer
from bench.features.networks.dinov2 import SIDE as DINOV2_SIDE
from bench.features.networks.dinov2 import DINOv2Features
from bench.features.networks.inception import InceptionFeatures
from bench.features.networks.lpips_diversity import LPIPSDiversity
from bench.features.networks.preference import PreferenceModel
from bench.features.pixel_statistics import SIDE as PIXELS_SIDE
from bench.features.pixel_statistics import pixel_statistics
from bench.features.preprocess import (
    SmallImages,
    Squares,
    bicubic,
    centre_patches,
    centre_square,
    lanczos,
)
from bench.features.views import NO_PATCH, Features


def squares_of(batch: ImageBatch) -> Squares:
    """Return a batch's centre squares; each size is made once for all extractors."""
    return batch.once("squares", lambda: Squares(rgb(batch.images)))


def whole_squares(batch: ImageBatch) -> list[Tensor]:
    """Return the centre squares in full resolution: of all images, or one by one of real images of many sizes.

    Generated and real images then go the same way to a network's input, without a resize to the protocol's size.
    """
    return [centre_square(rgb(images)) for images in batch.originals or [batch.images]]


def bicubic_squares(batch: ImageBatch, side: int) -> Tensor:
    """Return the centre squares, resized once for all extractors by Pillow's bicubic filter to `side` pixels."""
    return batch.once(("bicubic", side), lambda: torch.cat([bicubic(one, side) for one in whole_squares(batch)]))


def rgb(images: Tensor) -> Tensor:
    """Repeat the channel of grey images [B, 1, H, W]; images of three channels are returned as they are."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def inception_tap(inception: InceptionFeatures, tap: str, batch: ImageBatch) -> Features:
    """Return one layer of the Inception as features; the pool comes with the logits."""
    found = batch.once(inception, lambda: inception(rgb(batch.images)))
    return Features(found[tap].numpy(), found["logits"].numpy() if tap == "pool" else None)


def dinov2_token(dinov2: DINOv2Features, batch: ImageBatch) -> Features:
    """Return DINOv2's class token as features."""
    return Features(dinov2(bicubic_squares(batch, DINOV2_SIDE)).numpy())


def clip_embeddings(clip: CLIPScorer, batch: ImageBatch) -> Features:
    """Return CLIP's unit embeddings of the images as features."""
    return Features(clip.embed_images(bicubic_squares(batch, clip.side)).numpy())


def aesthetic_scores(predictor: AestheticPredictor, batch: ImageBatch) -> Features:
    """Return the aesthetic predictor's scores of the images."""
    return scores_alone(batch, aesthetic=predictor.scores(bicubic_squares(batch, predictor.clip.side)))


def pixel_features(batch: ImageBatch) -> Features:
    """Return saturation, sharpness and contrast as three features."""
    squares = [one if one.shape[-1] <= PIXELS_SIDE else lanczos(one, PIXELS_SIDE) for one in whole_squares(batch)]
    return Features(torch.cat([pixel_statistics(one) for one in squares]).numpy())


def inception_of_squares(inception: InceptionFeatures, side: int, batch: ImageBatch) -> Features:
    """Return the Inception's pool features of the centre squares, resized to `side` pixels."""
    return Features(inception(squares_of(batch)(side))["pool"].numpy())


def inception_of_patches(inception: InceptionFeatures, small: SmallImages, batch: ImageBatch) -> Features:
    """Return the Inception's pool features of patches from the middle of the images, in full resolution."""
    cuts = [centre_patches(rgb(images), small) for images in batch.originals or [batch.images]]
    rows = np.concatenate([inception(cut.images)["pool"].numpy() for cut in cuts])
    is_whole = np.concatenate([np.full(len(cut.images), cut.fallbacks > 0) for cut in cuts])  # each is of one size
    return Features(rows, scores={NO_PATCH: is_whole})


def clip_scores(clip: CLIPScorer, batch: ImageBatch) -> Features:
    """Return the cosine of each image and its prompt as scores."""
    found = clip.scores_of(squares_of(batch), batch.prompts)
    return scores_alone(batch, clip=found.cosines, clip_truncated=found.truncated)


def lpips_of_prompts(lpips: LPIPSDiversity, batch: ImageBatch) -> Features:
    """Return the mean distance between the images of each prompt as scores."""
    return scores_alone(batch, diversity=lpips.of_prompts(squares_of(batch)))


def preference_scores(model: PreferenceModel, name: str, batch: ImageBatch) -> Features:
    """Return the preference model's score, called `name`, of each image and its prompt."""
    found = model.scores(rgb(batch.images), batch.prompts)
    return scores_alone(batch, **{name: found.values, f"{name}_truncated": found.truncated})


def scores_alone(batch: ImageBatch, **scores: np.ndarray) -> Features:
    """Return the output of an extractor that gives scores and no features."""
    return Features(np.zeros((len(batch), 0)), scores=scores)
