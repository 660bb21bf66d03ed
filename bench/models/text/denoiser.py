"""Denoisers conditioned on text: Stable Diffusion's and SDXL's UNets."""

from __future__ import annotations

from typing import Literal

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor

from bench.models.denoiser import VPDenoiser
from bench.models.schedules import VPSchedule
from bench.models.text.layout import ConditionLayout
from bench.models.text.lora import LoRASpec, add_lora


class TextDenoiser(VPDenoiser):
    """A diffusers UNet2DConditionModel that predicts epsilon or v, conditioned on packed text embeddings.

    It runs in the UNet's own dtype (a bf16 teacher takes float32 images and conditions); x0 is float32.
    """

    unet: UNet2DConditionModel

    def __init__(
        self,
        unet: UNet2DConditionModel,
        schedule: VPSchedule,
        layout: ConditionLayout,
        resolution: int | None = None,
        patch_size: int = 1,
        bottleneck: Literal["encoder", "mid"] = "mid",
    ) -> None:
        """`resolution`: side in pixels of the images, for UNets that are told it (SDXL), else none.

        Raises ValueError if the UNet wants other conditions than `layout` and `resolution` give.
        """
        super().__init__(unet, schedule, patch_size, bottleneck)
        self.layout = layout
        self.resolution = resolution
        sdxl_like = unet.config.addition_embed_type == "text_time"
        if sdxl_like != bool(layout.pooled) or sdxl_like != (resolution is not None):
            raise ValueError(
                f"a UNet with addition_embed_type {unet.config.addition_embed_type!r} does not go with "
                f"{layout} and resolution {resolution}: pooled and resolution are for 'text_time' alone"
            )

    def add_adapters(self, rank: int, alpha: float) -> None:
        add_lora(self.unet, LoRASpec(rank, alpha))

    def _run(self, unet: UNet2DConditionModel, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        return predict(unet, self.layout, self._folded(x), timestep, condition, self.resolution)


def predict(
    unet: UNet2DConditionModel,
    layout: ConditionLayout,
    x: Tensor,
    timestep: Tensor,
    condition: Tensor,
    resolution: int | None = None,
    guidance: float | None = None,
) -> Tensor:
    """Run a text UNet: x [B, C, H, W], timestep [B], condition [B, K] -> its prediction, in its own dtype.

    `resolution`: see TextDenoiser. `guidance`: the scale that a UNet distilled under guidance is told (LCM).
    """
    dtype = unet.conv_in.weight.dtype
    embeddings, pooled = layout.unpack(condition.to(dtype))
    added = None
    if resolution is not None:
        # Original size, crop's corner, target size: DMD2 tells every network that nothing was cropped.
        time_ids = torch.full((len(x), 6), float(resolution), device=x.device)
        time_ids[:, 2:4] = 0
        added = {"text_embeds": pooled, "time_ids": time_ids}
    told = None
    if guidance is not None:
        # Latent consistency models embed w = scale - 1, as the time but a thousand times as large.
        w = torch.full((len(x),), guidance - 1, device=x.device)
        told = get_timestep_embedding(w, unet.config.time_cond_proj_dim, downscale_freq_shift=1, scale=1000)
    output: Tensor = unet(
        x.to(dtype),
        timestep.to(torch.float32),  # bf16 has no 999
        encoder_hidden_states=embeddings,
        timestep_cond=None if told is None else told.to(dtype),
        added_cond_kwargs=added,
        return_dict=False,
    )[0]
    return output
