"""Stable Diffusion's family (SD1.5, SDXL): diffusers' UNet2DConditionModel, variance preserving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor

from bench.models.backbones.unet import UNetFamily, read_taps
from bench.models.descriptions import layout_of, number_of, whole_of
from bench.models.predictions import prediction_to_x0
from bench.models.schedules import VPSchedule
from bench.models.text.layout import ConditionLayout
from bench.models.text.lora_files import adaptable_layers, names_of
from bench.models.weights.folders import load_network

MAX_TIMES = 100_000
"""Times of a noise schedule; Stable Diffusion's has 1,000."""


class StableDiffusionDenoiser(UNetFamily):
    """A network that predicts epsilon or v, conditioned on packed text embeddings.

    It runs in the network's own dtype (a bf16 teacher takes float32 images and conditions); x0 is float32.
    """

    name = "text"
    schedule: VPSchedule
    lora_targets = (
        *("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
        *("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj"),
    )
    """The layers that DMD2's SDXL LoRA adapts (official code)."""

    def __init__(
        self,
        network: UNet2DConditionModel,
        schedule: VPSchedule,
        layout: ConditionLayout,
        resolution: int | None = None,
        patch_size: int = 1,
        taps: Sequence[str] = ("mid",),
    ) -> None:
        """`resolution`: side in pixels of the images, for networks that are conditioned on it (SDXL), else none.

        Raises ValueError if the network takes other conditions than `layout` and `resolution` give.
        """
        super().__init__(network, schedule, patch_size, taps)
        self.layout = layout
        self.resolution = resolution
        sdxl_like = network.config.addition_embed_type == "text_time"
        if sdxl_like != bool(layout.pooled) or sdxl_like != (resolution is not None):
            raise ValueError(
                f"a UNet with addition_embed_type {network.config.addition_embed_type!r} does not go with "
                f"{layout} and resolution {resolution}: pooled and resolution are for 'text_time' alone"
            )

    @classmethod
    def read_network(cls, folder: Path, fix: str = "download it again", finite: bool = True) -> Any:
        return load_network(UNet2DConditionModel, folder, fix, finite)

    @classmethod
    def options(cls, about: Mapping[str, Any]) -> dict[str, Any]:
        prediction, (beta_start, beta_end, steps) = about["prediction"], about["betas"]
        if prediction not in ("epsilon", "v"):
            raise ValueError(f"unknown prediction {prediction!r}")
        betas = {"beta_start": beta_start, "beta_end": beta_end, "steps": steps}
        start, end, times = number_of(betas, "beta_start"), number_of(betas, "beta_end"), whole_of(betas, "steps")
        if not start <= end < 1 or times > MAX_TIMES:
            raise ValueError(f"betas are {about['betas']!r}")
        return {
            "schedule": VPSchedule(prediction, start, end, times),
            "layout": layout_of(about),
            "resolution": None if about["resolution"] is None else whole_of(about, "resolution"),
            "patch_size": whole_of(about, "patch_size"),
            "taps": read_taps(about),
        }

    def describe(self) -> dict[str, Any]:
        schedule = self.schedule
        return {
            "prediction": schedule.prediction,
            "betas": [schedule.beta_start, schedule.beta_end, len(schedule.grid)],
            "layout": self.layout.describe(),
            "resolution": self.resolution,
            "patch_size": self.patch_size,
            "bottleneck": "+".join(self.taps),
        }

    @classmethod
    def lora_names(cls, network: Any) -> dict[str, str]:
        blocks = network.config.layers_per_block
        return names_of(adaptable_layers(network), blocks if isinstance(blocks, int) else blocks[0])

    def _inputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return x_t, t

    def _run(self, network: Any, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        return predict(network, self.layout, self._folded(x), timestep, condition, self.resolution)

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor, interval: Tensor | None = None) -> Tensor:
        with self._over(t, interval):
            predicted = self._network(x_t, t, condition)
        return prediction_to_x0(x_t, predicted, t, self.schedule, self.schedule.prediction)


def predict(
    network: UNet2DConditionModel,
    layout: ConditionLayout,
    x: Tensor,
    timestep: Tensor,
    condition: Tensor,
    resolution: int | None = None,
    guidance: float | None = None,
) -> Tensor:
    """Run the network: x [B, C, H, W], timestep [B], condition [B, K] -> its prediction, in its own dtype.

    `resolution`: see StableDiffusionDenoiser. `guidance`: the scale that a network distilled under guidance takes
    as an input (LCM).
    """
    dtype = network.conv_in.weight.dtype
    embeddings, pooled = layout.unpack(condition.to(dtype))
    added = None
    if resolution is not None:
        # Original size, crop's corner, target size: DMD2 tells every network that nothing was cropped.
        time_ids = torch.full((len(x), 6), float(resolution), device=x.device)
        time_ids[:, 2:4] = 0
        added = {"text_embeds": pooled, "time_ids": time_ids}
    scale = None
    if guidance is not None:
        # Latent consistency models embed w = scale - 1, as the time but a thousand times as large.
        w = torch.full((len(x),), guidance - 1, device=x.device)
        scale = get_timestep_embedding(w, network.config.time_cond_proj_dim, downscale_freq_shift=1, scale=1000)
    output: Tensor = network(
        x.to(dtype),
        timestep.to(torch.float32),  # bf16 has no 999
        encoder_hidden_states=embeddings,
        timestep_cond=None if scale is None else scale.to(dtype),
        added_cond_kwargs=added,
        return_dict=False,
    )[0]
    return output


def small_network(
    image_shape: tuple[int, int, int],
    channels: tuple[int, ...],
    text_width: int,
    heads: int,
    patch_size: int = 1,
    norm_groups: int = 32,
) -> UNet2DConditionModel:
    """Build an untrained network that attends to text at its coarsest level, for images or latents (C, H, W).

    `channels` are those of each level, the finest first. Weights come from torch's global generator.
    """
    image_channels, size, _ = image_shape
    finer = len(channels) - 1
    return UNet2DConditionModel(
        sample_size=size // patch_size,
        in_channels=image_channels * patch_size**2,
        out_channels=image_channels * patch_size**2,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=(*("DownBlock2D",) * finer, "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", *("UpBlock2D",) * finer),
        cross_attention_dim=text_width,
        attention_head_dim=heads,  # diffusers' name for the number of heads
        norm_num_groups=norm_groups,
        resnet_time_scale_shift="scale_shift",
    )
