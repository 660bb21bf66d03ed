"""Stable Diffusion 3's family (SD3, SD3.5): diffusers' SD3Transformer2DModel, a rectified flow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor, nn

from bench.models.backbones.flow_text import FlowTextFamily
from bench.models.backbones.text import PipelineFile, TextPipeline
from bench.models.schedules import FlowSchedule
from bench.models.text.flow_scheduler import flow_schedule, schedule_options
from bench.models.text.layout import ConditionLayout


class SD3Denoiser(FlowTextFamily):
    """A network that predicts the velocity, conditioned on packed text embeddings and a pooled one.

    It runs in the network's own dtype (a bf16 teacher takes float32 images and conditions); x0 is of
    x_t's type.
    """

    name = "sd3"
    summary = "Stable Diffusion 3 and 3.5: SD3Transformer2DModel, a rectified flow"
    network_class = SD3Transformer2DModel
    lora_targets = (
        *("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"),
        *("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out"),
    )
    """The layers that diffusers' own training of a LoRA for SD3 adapts."""
    pipelines = ("StableDiffusion3Pipeline",)
    parts = (
        *("transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3"),
        *("tokenizer", "tokenizer_2", "tokenizer_3", "scheduler"),
    )
    part_files = ("*.json", "*.txt", "*.model")
    one_file_marks = ("model.diffusion_model.joint_blocks.", "joint_blocks.")

    def __init__(
        self,
        network: SD3Transformer2DModel,
        schedule: FlowSchedule,
        layout: ConditionLayout,
        side: int | None = None,
        taps: Sequence[str] = ("middle",),
    ) -> None:
        """`side`: that of the latents, by default the network's own.

        Raises ValueError if the network takes other conditions than `layout`, or no latents of this side.
        """
        config = network.config
        super().__init__(network, schedule, side or config.sample_size, config.patch_size, taps)
        self.layout = layout
        layout.require(config.joint_attention_dim, pooled=config.pooled_projection_dim)
        if self.side > config.pos_embed_max_size * config.patch_size:
            raise ValueError(
                f"latents of side {self.side} are larger than the network's positions, "
                f"{config.pos_embed_max_size} patches of {config.patch_size}"
            )

    @classmethod
    def read_pipeline(cls, folder: Path) -> TextPipeline:
        from bench.models.text.sd3 import read_folder

        return read_folder(cls, folder)

    @classmethod
    def read_one_file(cls, file: PipelineFile) -> TextPipeline:
        from bench.models.text.sd3 import read_file

        return read_file(cls, file)

    @classmethod
    def from_pipeline(cls, pipeline: TextPipeline, resolution: int) -> Self:
        from bench.models.text.parts import fitting, latent_side

        side = latent_side(pipeline, resolution)
        schedule = flow_schedule(pipeline.scheduler, (side // pipeline.network.config.patch_size) ** 2)
        with fitting():
            return cls(pipeline.network, schedule, pipeline.encoder.layout, side)

    @classmethod
    def scheduler_options(cls, pipeline: TextPipeline, resolution: int) -> dict[str, Any]:
        """A static shift is the scheduler's, and a dynamic one comes with the steps, as the pipeline gives it."""
        if _is_dynamic(pipeline):
            return {"use_dynamic_shifting": True}
        return {"shift": cls.from_pipeline(pipeline, resolution).schedule.shift}

    @classmethod
    def step_options(cls, pipeline: TextPipeline, resolution: int, steps: int) -> dict[str, Any]:
        found: dict[str, Any] = {"num_inference_steps": steps}
        if _is_dynamic(pipeline):
            found["mu"] = math.log(cls.from_pipeline(pipeline, resolution).schedule.shift)
        return found

    @classmethod
    def renamed(cls, network: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:  # noqa: ARG003
        """See `bench.models.text.sd3_names`."""
        if not any(name.startswith(cls.one_file_marks) for name in state):
            return state
        from bench.models.text.sd3_names import diffusers_weights

        return diffusers_weights(state)

    @property
    def channels(self) -> int:
        return int(self.network.config.in_channels)

    @property
    def width(self) -> int:
        return int(self.network.inner_dim)

    def time_embedders(self) -> Iterable[nn.Module]:
        return (self.network.time_text_embed.timestep_embedder,)

    def predict(self, x: Tensor, timestep: Tensor, condition: Tensor, guidance: float | None = None) -> Tensor:
        assert guidance is None, "no network of SD3 takes a guidance scale"
        return self._run(self.network, x, timestep.double() / 1000, condition)

    def _run(self, network: Any, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        dtype = self.network.dtype
        embeddings, pooled = self.layout.unpack(condition.to(dtype))
        output: Tensor = network(
            x_t.to(dtype),
            encoder_hidden_states=embeddings,
            pooled_projections=pooled,
            timestep=(1000 * t).to(torch.float32),  # bf16 has no 999
            return_dict=False,
        )[0]
        return output


def _is_dynamic(pipeline: TextPipeline) -> bool:
    """Whether the shift depends on the image's tokens; that of the published SD3 and SD3.5 does not."""
    return "shift" not in schedule_options(pipeline.scheduler)


def small_network(
    latent_shape: tuple[int, int, int],
    width: int,
    layers: int,
    heads: int,
    text_width: int,
    pooled: int,
    patch_size: int = 2,
) -> SD3Transformer2DModel:
    """Build an untrained network for images or latents (C, H, W); `width` is the size of a token.

    Weights come from torch's global generator.
    """
    channels, side, _ = latent_shape
    return SD3Transformer2DModel(
        sample_size=side,
        patch_size=patch_size,
        in_channels=channels,
        out_channels=channels,
        num_layers=layers,
        attention_head_dim=width // heads,
        num_attention_heads=heads,
        joint_attention_dim=text_width,
        caption_projection_dim=width,
        pooled_projection_dim=pooled,
        pos_embed_max_size=side // patch_size,
        qk_norm="rms_norm",  # as in SD3.5
    )
