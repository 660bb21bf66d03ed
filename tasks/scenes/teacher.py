"""Training of a teacher of scenes: a denoiser that reads text, together with its text encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.core.progress import Progress
from bench.task.images import to_unit_range
from tasks.micro.teacher import denoiser_loss, train_averaged
from tasks.scenes.encoder import PAD, CaptionEncoder
from tasks.scenes.networks import SceneDenoiser, build_denoiser, training_times
from tasks.scenes.task import PainterRecipe, PainterSpec


class Painter(nn.Module):
    """A text encoder and the denoiser that reads it, for training."""

    def __init__(self, denoiser: SceneDenoiser, encoder: CaptionEncoder) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.encoder = encoder


def build_encoder(spec: PainterSpec) -> CaptionEncoder:
    """Build an untrained text encoder; its weights come from torch's global generator."""
    return CaptionEncoder(spec.tokens, spec.text_width, spec.text_layers, spec.heads, spec.pooled)


def build_painter(spec: PainterSpec, image_shape: tuple[int, int, int]) -> Painter:
    """Build both untrained; their weights come from torch's global generator."""
    encoder = build_encoder(spec)
    return Painter(build_denoiser(spec, image_shape, encoder.layout), encoder)


def to_model_space(images: Tensor, spec: PainterSpec) -> Tensor:
    """Convert uint8 images [B, C, H, W] to the networks' input, of mean 0 and variance 1."""
    return (to_unit_range(images) - spec.mean) / spec.std


def to_pixels(x0: Tensor, spec: PainterSpec) -> Tensor:
    """Convert networks' outputs [B, C, H, W] to images, which may exceed [-1, 1]."""
    return x0 * spec.std + spec.mean


def train_painter(
    images: Tensor,
    captions: Tensor,
    sentences: tuple[str, ...],
    spec: PainterSpec,
    recipe: PainterRecipe,
    progress: Progress,
) -> Painter:
    """Train teacher and text encoder with the denoising loss, at the times of `training_times`.

    Images are uint8 [N, C, H, W], and captions [N] are positions in `sentences`; a share of them is replaced by
    the empty caption, for classifier-free guidance (Ho and Salimans, 2022). Returns the EMA. Training is seeded:
    the same images, recipe, thread count and machine give the same weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        painter = build_painter(spec, (images.shape[1], images.shape[2], images.shape[3]))
    tokens, size = painter.encoder.tokenize(sentences), (recipe.batch_size,)

    def loss_of(trained: Painter, generator: torch.Generator) -> Tensor:
        indices = torch.randint(len(images), size, generator=generator)
        t = training_times(trained.denoiser.schedule, recipe.batch_size, generator)
        eps = torch.randn(*size, *images.shape[1:], generator=generator)
        dropped = torch.rand(size, generator=generator) < recipe.caption_dropout
        words = tokens[captions[indices]].masked_fill(dropped[:, None], PAD)
        x = to_model_space(images[indices], spec)
        return denoiser_loss(trained.denoiser, x, t, eps, trained.encoder(words))

    return train_averaged(painter, loss_of, recipe, progress)
