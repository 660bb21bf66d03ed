"""FLUX.1's family (dev, schnell): diffusers' FluxTransformer2DModel, a rectified flow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn
from torch.nn import functional

from bench.models.backbones.flow_text import GuidedFlowFamily
from bench.models.backbones.text import PipelineFile, TextPipeline
from bench.models.schedules import FlowSchedule
from bench.models.text.flow_scheduler import flow_schedule
from bench.models.text.flux_names import diffusers_lora, diffusers_weights
from bench.models.text.layout import ConditionLayout
from bench.models.text.lora_files import is_lora

PATCH = 2
"""Side of the patches of latents that are packed into tokens, before the network."""
SIDE = 128
"""Side of the latents of images of 1024 pixels, FLUX.1's default."""
EMBEDDED_GUIDANCE = 3.5
"""FLUX.1-dev's default: what FluxPipeline gives the network as its guidance."""


class FluxDenoiser(GuidedFlowFamily):
    """A network that predicts the velocity, conditioned on packed text embeddings and a pooled one.

    FLUX.1-dev was distilled under guidance and takes the scale as an input, the embedded guidance; it is part of
    the denoiser, and has nothing to do with the guidance of `GuidedDenoiser`, FluxPipeline's true_cfg_scale.
    The network runs in its own dtype: a bf16 teacher takes float32 latents and conditions.
    """

    name = "flux"
    summary = "FLUX.1 (dev, schnell): FluxTransformer2DModel, a rectified flow"
    network_class = FluxTransformer2DModel
    block_lists = ("transformer_blocks", "single_transformer_blocks")
    lora_targets = (
        *("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"),
        *("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out"),
        *("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2"),
    )
    """The layers that diffusers' own training of a LoRA for FLUX.1 adapts."""
    pipelines = ("FluxPipeline",)
    parts = ("transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
    one_file_marks = ("double_blocks.", "model.diffusion_model.double_blocks.")

    def __init__(
        self,
        network: FluxTransformer2DModel,
        schedule: FlowSchedule,
        layout: ConditionLayout,
        side: int = SIDE,
        embedded_guidance: float | None = None,
        taps: Sequence[str] = ("middle",),
    ) -> None:
        """`side`: that of the latents. `embedded_guidance`: for networks that take one, by default dev's.

        Raises ValueError if the network takes another input than latents, or other conditions than `layout`.
        """
        config = network.config
        super().__init__(network, schedule, side, PATCH, taps)
        self.layout = layout
        if config.out_channels not in (None, config.in_channels):
            raise ValueError(
                f"the network takes {config.in_channels} channels and makes {config.out_channels}: it edits or "
                "fills images, and is no denoiser of latents alone"
            )
        layout.require(config.joint_attention_dim, pooled=config.pooled_projection_dim)
        if embedded_guidance is not None and not config.guidance_embeds:
            raise ValueError(f"the network takes no embedded guidance, and it is {embedded_guidance:g}")
        if embedded_guidance is None and config.guidance_embeds:
            embedded_guidance = EMBEDDED_GUIDANCE
        self.embedded_guidance = embedded_guidance

    @classmethod
    def read_pipeline(cls, folder: Path) -> TextPipeline:
        from bench.models.text.flux import read_folder

        return read_folder(cls, folder)

    @classmethod
    def read_one_file(cls, file: PipelineFile) -> TextPipeline:
        from bench.models.text.flux import read_file

        return read_file(cls, file)

    @classmethod
    def from_pipeline(cls, pipeline: TextPipeline, resolution: int) -> Self:
        from bench.models.text.parts import fitting, latent_side

        side = latent_side(pipeline, resolution, PATCH)
        schedule = flow_schedule(pipeline.scheduler, (side // PATCH) ** 2)
        with fitting():
            return cls(pipeline.network, schedule, pipeline.encoder.layout, side)

    @classmethod
    def own_resolution(cls, pipeline: TextPipeline) -> int:
        return SIDE * pipeline.latents.factor

    @classmethod
    def scheduler_options(cls, pipeline: TextPipeline, resolution: int) -> dict[str, Any]:
        """A dynamic shift by mu is a static one by e^mu."""
        return {"shift": cls.from_pipeline(pipeline, resolution).schedule.shift}

    @classmethod
    def step_options(cls, pipeline: TextPipeline, resolution: int, steps: int) -> dict[str, Any]:  # noqa: ARG003
        return {"sigmas": [1 - step / steps for step in range(steps)]}

    @classmethod
    def renamed(cls, network: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """See `bench.models.text.flux_names`."""
        rename = diffusers_lora if is_lora(state) else diffusers_weights
        return rename(state, network.state_dict())

    @property
    def channels(self) -> int:
        return int(self.network.config.in_channels) // PATCH**2

    @property
    def width(self) -> int:
        return int(self.network.inner_dim)

    def time_embedders(self) -> Iterable[nn.Module]:
        return (self.network.time_text_embed.timestep_embedder,)

    def predict(self, x: Tensor, timestep: Tensor, condition: Tensor, guidance: float | None = None) -> Tensor:
        return self._run(self.network, x, timestep / 1000, condition, guidance)

    def _run(
        self, network: Any, x_t: Tensor, t: Tensor, condition: Tensor, guidance: float | None = None
    ) -> Tensor:
        """`guidance`: an embedded one in place of the denoiser's own."""
        dtype = self.network.dtype
        embeddings, pooled = self.layout.unpack(condition.to(dtype))
        scale = self.embedded_guidance if guidance is None else guidance
        tokens: Tensor = network(
            pack(x_t.to(dtype)),
            encoder_hidden_states=embeddings,
            pooled_projections=pooled,
            timestep=(1000 * t).to(dtype) / 1000,  # rounded as FluxPipeline rounds it, where the dtype does
            img_ids=positions(self.side // PATCH, x_t.device),
            txt_ids=torch.zeros(self.layout.tokens, 3, device=x_t.device),
            guidance=None if scale is None else torch.full((len(x_t),), scale, device=x_t.device),
            return_dict=False,
        )[0]
        return unpack(tokens, self.side // PATCH)


def pack(latents: Tensor) -> Tensor:
    """Pack patches of 2x2 latents [B, C, H, W] as tokens [B, H/2 W/2, 4 C], row by row."""
    return functional.pixel_unshuffle(latents, PATCH).flatten(2).transpose(1, 2)


def unpack(tokens: Tensor, side: int) -> Tensor:
    """Return the latents [B, C, H, W] of tokens [B, side^2, 4 C] of a square image: the inverse of `pack`."""
    return functional.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (side, side)), PATCH)


def positions(side: int, device: torch.device) -> Tensor:
    """Return (0, row, column) of every token of a square image, row by row: [side^2, 3]; those of text are 0."""
    places = torch.arange(side, dtype=torch.float32, device=device)
    return functional.pad(torch.cartesian_prod(places, places), (1, 0))


def small_network(
    latent_shape: tuple[int, int, int],
    width: int,
    layers: tuple[int, int],
    heads: int,
    text_width: int,
    pooled: int,
    guidance_embeds: bool = False,
) -> FluxTransformer2DModel:
    """Build an untrained network for latents (C, H, W) with `layers` blocks of two streams and of one.

    `width` is the size of a token. Weights come from torch's global generator.
    """
    size = width // heads
    axis = 2 * (7 * size // 32)  # a row's share of a head, FLUX.1's own (56 of 128), in pairs
    return FluxTransformer2DModel(
        in_channels=latent_shape[0] * PATCH**2,
        num_layers=layers[0],
        num_single_layers=layers[1],
        attention_head_dim=size,
        num_attention_heads=heads,
        joint_attention_dim=text_width,
        pooled_projection_dim=pooled,
        guidance_embeds=guidance_embeds,
        axes_dims_rope=(size - 2 * axis, axis, axis),
    )
