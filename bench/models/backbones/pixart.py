"""PixArt's family (PixArt-alpha, PixArt-Sigma): diffusers' PixArtTransformer2DModel, variance preserving."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import PixArtTransformer2DModel
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.models.backbones.text import TextFamily, TextPipeline
from bench.models.backbones.transformer import TransformerFamily
from bench.models.descriptions import betas_of, layout_of, taps_of, whole_of
from bench.models.schedules import VPSchedule
from bench.models.text.layout import ConditionLayout


class PixArtDenoiser(TransformerFamily, TextFamily):
    """A network that predicts epsilon, and a variance that is not used, conditioned on packed text and its mask.

    It runs in the network's own dtype (a bf16 teacher takes float32 images and conditions); x0 is of
    x_t's type.
    """

    name = "pixart"
    summary = "PixArt-alpha and -Sigma: PixArtTransformer2DModel, epsilon, variance preserving"
    network_class = PixArtTransformer2DModel
    prediction = "epsilon"
    schedule: VPSchedule
    lora_targets = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2")
    """The maps of both attentions and of the feed-forward. Stock pipelines load no LoRA, only whole networks."""
    pipelines = ("PixArtAlphaPipeline", "PixArtSigmaPipeline")
    parts = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")
    part_files = ("*.json", "*.txt", "*.model")

    def __init__(
        self,
        network: PixArtTransformer2DModel,
        schedule: VPSchedule,
        layout: ConditionLayout,
        side: int | None = None,
        resolution: int | None = None,
        taps: Sequence[str] = ("middle",),
    ) -> None:
        """`side`: that of the latents, by default the network's own. `resolution`: side in pixels of the images,
        for networks that are conditioned on it (PixArt-alpha at 1024 pixels), else none.

        Raises ValueError if the network takes other conditions than `layout` and `resolution` give.
        """
        config = network.config
        super().__init__(network, schedule, side or config.sample_size, config.patch_size, taps)
        self.layout, self.resolution = layout, resolution
        layout.require(config.caption_channels, mask=True)
        if network.use_additional_conditions != (resolution is not None):
            raise ValueError(
                f"a network with use_additional_conditions {network.use_additional_conditions} does not go with "
                f"resolution {resolution}: the size of images is an input of networks with these alone"
            )

    @classmethod
    def read_pipeline(cls, folder: Path) -> TextPipeline:
        from bench.models.text.pixart import read_folder

        return read_folder(cls, folder)

    @classmethod
    def from_pipeline(cls, pipeline: TextPipeline, resolution: int) -> Self:
        from bench.models.text.parts import fitting, latent_side

        side, network = latent_side(pipeline, resolution), pipeline.network
        pixels = resolution if network.use_additional_conditions else None
        with fitting():
            return cls(network, cls._schedule(pipeline.scheduler), pipeline.encoder.layout, side, pixels)

    @staticmethod
    def _schedule(scheduler: Mapping[str, Any]) -> VPSchedule:
        from bench.models.text.vp_scheduler import schedule_of

        found = schedule_of(scheduler, "linear")
        if found.prediction != "epsilon":
            raise UserError(
                f"the scheduler's prediction_type is {found.prediction!r}, and PixArt's is 'epsilon'; "
                "fix: name a pipeline of PixArt as published"
            )
        return found

    @classmethod
    def schedule_options(cls, scheduler: Mapping[str, Any]) -> dict[str, Any]:
        found = cls._schedule(scheduler)
        return {"beta_start": found.beta_start, "beta_end": found.beta_end}

    @classmethod
    def scheduler_options(cls, pipeline: TextPipeline, resolution: int) -> dict[str, Any]:  # noqa: ARG003
        return {
            "prediction_type": "epsilon",
            "beta_schedule": "linear",
            **cls.schedule_options(pipeline.scheduler),
        }

    @classmethod
    def options(cls, about: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "schedule": VPSchedule("epsilon", *betas_of(about), betas="linear"),
            "layout": layout_of(about),
            "side": whole_of(about, "side"),
            "resolution": None if about["resolution"] is None else whole_of(about, "resolution"),
            "taps": taps_of(about, cls.tap_names),
        }

    def describe(self) -> dict[str, Any]:
        return {
            "betas": [self.schedule.beta_start, self.schedule.beta_end, len(self.schedule.grid)],
            "layout": self.layout.describe(),
            "side": self.side,
            "resolution": self.resolution,
            "taps": list(self.taps),
        }

    @property
    def channels(self) -> int:
        return int(self.network.config.in_channels)

    @property
    def width(self) -> int:
        return int(self.network.inner_dim)

    def time_embedders(self) -> Iterable[nn.Module]:
        return (self.network.adaln_single.emb.timestep_embedder,)

    def predict(self, x: Tensor, timestep: Tensor, condition: Tensor, guidance: float | None = None) -> Tensor:
        assert guidance is None, "PixArt's networks take no guidance scale"
        return self._run(self.network, x, timestep, condition)

    def _run(self, network: Any, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        dtype = self.network.dtype
        condition = condition.to(dtype)
        size: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if self.resolution is not None:
            pixels = torch.full((len(x_t), 2), float(self.resolution), dtype=dtype, device=x_t.device)
            size = {"resolution": pixels, "aspect_ratio": torch.ones_like(pixels[:, :1])}
        output: Tensor = network(
            x_t.to(dtype),
            encoder_hidden_states=self.layout.unpack(condition)[0],
            encoder_attention_mask=self.layout.unpack_mask(condition),
            timestep=t.to(torch.float32),  # bf16 has no 999
            added_cond_kwargs=size,
            return_dict=False,
        )[0]
        return output[:, : self.channels]
