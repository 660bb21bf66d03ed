"""SANA's family (SANA, SANA 1.5, SANA-Sprint): diffusers' SanaTransformer2DModel, a rectified flow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import SanaTransformer2DModel
from torch import Tensor, nn

from bench.models.backbones.flow_text import GuidedFlowFamily
from bench.models.backbones.text import TextPipeline
from bench.models.schedules import FlowSchedule
from bench.models.text.flow_scheduler import flow_schedule, schedule_options
from bench.models.text.layout import ConditionLayout

GUIDANCE = 4.5
"""The scale that SANA-Sprint's authors give to its network."""


class SanaDenoiser(GuidedFlowFamily):
    """A network that predicts the velocity, conditioned on packed text embeddings and their mask.

    SANA-Sprint's networks are of this kind too, although SANA-Sprint speaks of TrigFlow, u = cos(a) x + sin(a) eps
    with F = cos(a) eps - sin(a) x. Its pipeline scales u to x_t = u / (cos(a) + sin(a)), the straight path at
    t = sin(a) / (cos(a) + sin(a)), and makes F of the network's velocity v there; then cos(a) u - sin(a) F, its
    estimate of x, is x_t - t v. They take t itself as the time, and the guidance scale as an input.

    It runs in the network's own dtype (a bf16 teacher takes float32 images and conditions); x0 is of
    x_t's type.
    """

    name = "sana"
    summary = "SANA and SANA-Sprint: SanaTransformer2DModel, a rectified flow"
    network_class = SanaTransformer2DModel
    lora_targets = ("to_q", "to_k", "to_v", "to_out.0", "ff.conv_inverted", "ff.conv_point")
    """The maps of both attentions, and of the feed-forward all but its depthwise convolution."""
    pipelines = ("SanaPipeline", "SanaSprintPipeline")
    parts = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")

    def __init__(
        self,
        network: SanaTransformer2DModel,
        schedule: FlowSchedule,
        layout: ConditionLayout,
        side: int | None = None,
        embedded_guidance: float | None = None,
        taps: Sequence[str] = ("middle",),
    ) -> None:
        """`side`: that of the latents, by default the network's own. `embedded_guidance`: the scale that a
        network with `guidance_embeds` takes, none for others.

        Raises ValueError if the network takes other conditions than `layout`, or the scale is not for it.
        """
        config = network.config
        super().__init__(network, schedule, side or config.sample_size, config.patch_size, taps)
        self.layout, self.embedded_guidance = layout, embedded_guidance
        layout.require(config.caption_channels, mask=True)
        if config.guidance_embeds != (embedded_guidance is not None):
            raise ValueError(
                f"a network with guidance_embeds {config.guidance_embeds} does not go with embedded_guidance "
                f"{embedded_guidance}: the scale is an input of networks with guidance_embeds alone"
            )

    @classmethod
    def read_pipeline(cls, folder: Path) -> TextPipeline:
        from bench.models.text.sana import read_folder

        return read_folder(cls, folder)

    @classmethod
    def from_pipeline(cls, pipeline: TextPipeline, resolution: int) -> Self:
        from bench.models.text.parts import fitting, latent_side

        side, schedule, guidance = latent_side(pipeline, resolution), cls._schedule(pipeline, resolution), None
        if cls.takes_guidance(pipeline.network):
            guidance, (schedule, _) = GUIDANCE, schedule.with_times(sprint_times(2))
        with fitting():
            return cls(pipeline.network, schedule, pipeline.encoder.layout, side, guidance)

    @staticmethod
    def _schedule(pipeline: TextPipeline, resolution: int) -> FlowSchedule:
        from bench.models.text.sana import flow_scheduler

        side = resolution // (pipeline.latents.factor * pipeline.network.config.patch_size)
        return flow_schedule(flow_scheduler(pipeline.scheduler), side**2)

    @classmethod
    def schedule_options(cls, scheduler: Mapping[str, Any]) -> dict[str, Any]:
        from bench.models.text.sana import flow_scheduler

        return dict(schedule_options(flow_scheduler(scheduler)))

    @classmethod
    def scheduler_options(cls, pipeline: TextPipeline, resolution: int) -> dict[str, Any]:
        from bench.models.text.sana import scheduler_options

        return scheduler_options(cls._schedule(pipeline, resolution))

    @property
    def channels(self) -> int:
        return int(self.network.config.in_channels)

    @property
    def width(self) -> int:
        config = self.network.config
        return int(config.num_attention_heads * config.attention_head_dim)

    def time_embedders(self) -> Iterable[nn.Module]:
        embed = self.network.time_embed
        return (embed.timestep_embedder if self.network.config.guidance_embeds else embed.emb.timestep_embedder,)

    def predict(self, x: Tensor, timestep: Tensor, condition: Tensor, guidance: float | None = None) -> Tensor:
        return self._run(self.network, x, timestep / 1000, condition, guidance)

    def _run(
        self, network: Any, x_t: Tensor, t: Tensor, condition: Tensor, guidance: float | None = None
    ) -> Tensor:
        config, dtype = self.network.config, self.network.dtype
        condition = condition.to(dtype)
        time, scale = 1000 * config.timestep_scale * t, None
        if self.embedded_guidance is not None:
            embedded = config.guidance_embeds_scale * (guidance or self.embedded_guidance)
            time, scale = t, torch.full((len(x_t),), embedded, device=x_t.device)
        output: Tensor = network(
            x_t.to(dtype),
            encoder_hidden_states=self.layout.unpack(condition)[0],
            encoder_attention_mask=self.layout.unpack_mask(condition),
            timestep=time.to(torch.float32),  # bf16 has no 999
            guidance=scale,
            return_dict=False,
        )[0]
        return output[:, : self.channels]  # a network with a learned variance has twice as many


def sprint_times(steps: int) -> list[float]:
    """Return the flow times of SANA-Sprint's steps, as its pipeline sets them.

    Their TrigFlow times are pi / 2 and 1.3 for two steps, which its authors recommend, else evenly spaced.
    """
    angles = [math.pi / 2, 1.3] if steps == 2 else [math.pi / 2 * (1 - step / steps) for step in range(steps)]
    return [math.sin(angle) / (math.cos(angle) + math.sin(angle)) for angle in angles]


def small_network(
    latent_shape: tuple[int, int, int], width: int, layers: int, heads: int, text_width: int
) -> SanaTransformer2DModel:
    """Build an untrained network for images or latents (C, H, W); `width` is the size of a token, one a position.

    Weights come from torch's global generator.
    """
    channels, side, _ = latent_shape
    return SanaTransformer2DModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        num_layers=layers,
        attention_head_dim=width // heads,
        num_attention_heads=heads,
        cross_attention_head_dim=width // heads,
        num_cross_attention_heads=heads,
        cross_attention_dim=width,
        caption_channels=text_width,
        qk_norm="rms_norm_across_heads",  # as in SANA 1.5
    )
