"""The networks of scenes, and the times that their teachers are trained at; all else the two tasks share."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor, nn

from bench.models.backbones import sd3, stable_diffusion
from bench.models.backbones.sd3 import SD3Denoiser
from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.schedules import FlowSchedule, NoiseSchedule, VPSchedule
from bench.models.text.layout import ConditionLayout
from tasks.scenes.task import MMDiTSpec, PainterSpec, UNetSpec

SceneDenoiser = StableDiffusionDenoiser | SD3Denoiser
FAMILIES: Mapping[type[PainterSpec], type[SceneDenoiser]] = {
    UNetSpec: StableDiffusionDenoiser,
    MMDiTSpec: SD3Denoiser,
}
"""The families of backbones, by the kind of network."""


def build_denoiser(spec: PainterSpec, image_shape: tuple[int, int, int], layout: ConditionLayout) -> SceneDenoiser:
    """Build an untrained denoiser; its weights come from torch's global generator."""
    match spec:
        case UNetSpec():
            unet = stable_diffusion.small_network(
                image_shape, spec.channels, spec.text_width, spec.heads, spec.patch_size, spec.norm_groups
            )
            schedule = VPSchedule(spec.prediction, beta_end=spec.beta_end)
            return StableDiffusionDenoiser(unet, schedule, layout, patch_size=spec.patch_size)
        case MMDiTSpec():
            transformer = sd3.small_network(
                image_shape, spec.width, spec.layers, spec.heads, layout.width, layout.pooled, spec.patch_size
            )
            start_without_effect(transformer)
            return SD3Denoiser(transformer, FlowSchedule(), layout)  # no shift: little noise hides small images


def start_without_effect(transformer: SD3Transformer2DModel) -> None:
    """Set to zero what scales the blocks' outputs, and the last layer, as DiT starts (Peebles and Xie, 2023)."""
    norms = [norm for block in transformer.transformer_blocks for norm in (block.norm1, block.norm1_context)]
    for layer in (*(norm.linear for norm in (*norms, transformer.norm_out)), transformer.proj_out):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


def training_times(schedule: NoiseSchedule, count: int, generator: torch.Generator) -> Tensor:
    """Draw times [count] to train a teacher at, as its kind of network was trained.

    Of a flow they are logit-normal(0, 1) (Esser et al., 2024, arXiv:2403.03206), else uniform on the grid.
    """
    if isinstance(schedule, FlowSchedule):
        return torch.randn(count, generator=generator).sigmoid()
    return torch.randint(len(schedule.grid), (count,), generator=generator).float()
