"""Stable Diffusion's family (SD1.5, SDXL): diffusers' UNet2DConditionModel, variance preserving."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor

from bench.models.backbones.text import PipelineFile, TextFamily, TextPipeline
from bench.models.backbones.unet import UNetFamily, read_taps
from bench.models.descriptions import betas_of, layout_of, whole_of
from bench.models.predictions import prediction_to_x0
from bench.models.schedules import VPSchedule
from bench.models.text.layout import ConditionLayout
from bench.models.text.lora_files import adaptable_layers, names_of


class StableDiffusionDenoiser(UNetFamily, TextFamily):
    """A network that predicts epsilon or v, conditioned on packed text embeddings.

    It runs in the network's own dtype (a bf16 teacher takes float32 images and conditions); x0 is float32.
    """

    name = "text"
    network_class = UNet2DConditionModel
    schedule: VPSchedule
    lora_targets = (
        *("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
        *("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj"),
    )
    """The layers that DMD2's SDXL LoRA adapts (official code)."""
    pipelines = (
        *("StableDiffusionPipeline", "StableDiffusionXLPipeline"),
        *("LatentConsistencyModelPipeline", "RectifiedFlowPipeline"),  # students of theirs: LCM's, InstaFlow's
    )
    parts = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
    one_file_marks = ("model.diffusion_model.input_blocks.", "input_blocks.")

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
    def one_file_class(cls, names: Collection[str]) -> str:
        from bench.models.text.one_file import is_sdxl

        return cls.pipelines[1 if is_sdxl(names) else 0]

    @classmethod
    def read_pipeline(cls, folder: Path) -> TextPipeline:
        from bench.models.text.stable_diffusion import read_folder

        return read_folder(cls, folder)

    @classmethod
    def read_one_file(cls, file: PipelineFile) -> TextPipeline:
        from bench.models.text.stable_diffusion import read_file

        return read_file(cls, file)

    @classmethod
    def from_pipeline(cls, pipeline: TextPipeline, resolution: int) -> Self:
        from bench.models.text.vp_scheduler import schedule_of

        layout = pipeline.encoder.layout
        return cls(
            pipeline.network, schedule_of(pipeline.scheduler), layout, resolution if layout.pooled else None
        )

    @classmethod
    def schedule_options(cls, scheduler: Mapping[str, Any]) -> dict[str, Any]:
        from bench.models.text.vp_scheduler import schedule_of

        found = schedule_of(scheduler)
        return {"prediction": found.prediction, "beta_start": found.beta_start, "beta_end": found.beta_end}

    @classmethod
    def scheduler_options(cls, pipeline: TextPipeline, resolution: int) -> dict[str, Any]:  # noqa: ARG003
        from bench.models.text.stable_diffusion import scheduler_options

        return scheduler_options(pipeline)

    @classmethod
    def takes_guidance(cls, network: Any) -> bool:
        return network.config.time_cond_proj_dim is not None

    @classmethod
    def options(cls, about: Mapping[str, Any]) -> dict[str, Any]:
        prediction = about["prediction"]
        if prediction not in ("epsilon", "v"):
            raise ValueError(f"unknown prediction {prediction!r}")
        betas = betas_of(about, ("beta_start", "beta_end", "steps"))
        return {
            "schedule": VPSchedule(prediction, *betas),
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

    def predict(self, x: Tensor, timestep: Tensor, condition: Tensor, guidance: float | None = None) -> Tensor:
        return self._unfolded(self._run(self.network, x, timestep, condition, guidance))

    def fits(self, other: TextFamily) -> bool:
        return super().fits(other) and self.resolution == getattr(other, "resolution", None)

    def _inputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return x_t, t

    def _run(
        self, network: Any, x: Tensor, timestep: Tensor, condition: Tensor, guidance: float | None = None
    ) -> Tensor:
        """`guidance`: the scale that a network distilled under guidance takes as an input (LCM)."""
        dtype = network.conv_in.weight.dtype
        embeddings, pooled = self.layout.unpack(condition.to(dtype))
        added = None
        if self.resolution is not None:
            # Original size, crop's corner, target size: DMD2 tells every network that nothing was cropped.
            time_ids = torch.full((len(x), 6), float(self.resolution), device=x.device)
            time_ids[:, 2:4] = 0
            added = {"text_embeds": pooled, "time_ids": time_ids}
        scale = None
        if guidance is not None:
            # Latent consistency models embed w = scale - 1, as the time but a thousand times as large.
            w = torch.full((len(x),), guidance - 1, device=x.device)
            width = network.config.time_cond_proj_dim
            scale = get_timestep_embedding(w, width, downscale_freq_shift=1, scale=1000).to(dtype)
        output: Tensor = network(
            self._folded(x).to(dtype),
            timestep.to(torch.float32),  # bf16 has no 999
            encoder_hidden_states=embeddings,
            timestep_cond=scale,
            added_cond_kwargs=added,
            return_dict=False,
        )[0]
        return output

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor, interval: Tensor | None = None) -> Tensor:
        with self._over(t, interval):
            predicted = self._network(x_t, t, condition)
        return prediction_to_x0(x_t, predicted, t, self.schedule, self.schedule.prediction)


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
