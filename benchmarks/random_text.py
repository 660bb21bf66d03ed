"""SDXL and SD1.5 with random weights of the published sizes, and small ones of the same kinds, for benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from bench.core.device import this_device
from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.backbones.text import TextPipeline
from bench.models.text.conditions import PromptConditions
from bench.models.text.encoders import CLIPEncoder, SDXLEncoder
from bench.models.text.latents import LatentSpace
from tasks.coco import TASK_10K
from tasks.text.prepared import PreparedText, TrainingData

PROMPTS = 512
SCHEDULER = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
}


@dataclass(frozen=True)
class Sizes:
    """The configuration values of a published pipeline."""

    network: dict[str, Any]
    encoders: tuple[dict[str, Any], ...]
    vae: tuple[int, ...] = (128, 256, 512, 512)
    groups: int = 32


CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
CLIP_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
XL = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
}
NETWORKS = {
    "sdxl": Sizes(
        {
            **XL,
            "sample_size": 128,
            "block_out_channels": (320, 640, 1280),
            "attention_head_dim": (5, 10, 20),
            "transformer_layers_per_block": (1, 2, 10),
            "cross_attention_dim": 2048,
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        (CLIP_L, CLIP_G | {"projection_dim": 1280, "hidden_act": "gelu"}),
    ),
    "sd15": Sizes({"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}, (CLIP_L,)),
    "tiny-sdxl": Sizes(
        {
            **XL,
            "sample_size": 16,
            "block_out_channels": (16, 32, 32),
            "attention_head_dim": (1, 2, 2),
            "layers_per_block": 1,
            "norm_num_groups": 8,
            "cross_attention_dim": 32,
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 16 + 6 * 8,
        },
        (SMALL, SMALL | {"projection_dim": 16}),
        (8, 16),
        8,
    ),
    "tiny-sd15": Sizes(
        {
            "sample_size": 16,
            "block_out_channels": (16, 16, 32, 32),
            "attention_head_dim": 2,
            "layers_per_block": 1,
            "norm_num_groups": 8,
            "cross_attention_dim": 16,
        },
        (SMALL,),
        (8, 16),
        8,
    ),
}
"""Values of stable-diffusion-xl-base-1.0 and stable-diffusion-v1-5; others are the library's defaults."""


class RandomTokens:
    """A tokenizer that returns random tokens."""

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary

    def __call__(self, prompts: Sequence[str], max_length: int, **_: object) -> SimpleNamespace:
        return SimpleNamespace(input_ids=torch.randint(self.vocabulary, (len(prompts), max_length), device="cpu"))


class RandomLatents:
    """Random latents instead of those of images."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.latents = torch.randn(PROMPTS, *shape, device="cpu")

    def __len__(self) -> int:
        return len(self.latents)

    def gather(self, positions: Tensor) -> Tensor:
        """Return the latents at `positions`, [B, C, h, w]."""
        return self.latents[positions.cpu()]


class RandomText(PreparedText):
    """Random networks, latents and prompts, since speed does not depend on their values.

    Networks are made on the device that they run on: on one thread of a CPU, billions of random weights and their
    copies take minutes. The task's own teacher has no weights, so memory has none that training would not have.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.task = TASK_10K
        self.sizes = sizes
        self.pipeline = _pipeline(sizes)
        self.teacher_sha256 = ""
        self.teacher = self.pipeline.denoiser().requires_grad_(False)
        self._use(self.pipeline, self.pipeline.resolution)
        # All differ, as in training: a batch's prompts that are equal are encoded once.
        prompts = PromptConditions(self._encoder, self.prompts_of(torch.arange(PROMPTS)), kept_bytes=0)
        latents: Any = RandomLatents(self.sample_shape)
        self._training = TrainingData(latents, prompts, prompts, "")

    def new_teacher(self) -> StableDiffusionDenoiser:
        """Return a teacher with weights, whose precision training changes."""
        network = _network(self.sizes, this_device())
        teacher = replace(self.pipeline, network=network).denoiser(self.pipeline.resolution)
        assert isinstance(teacher, StableDiffusionDenoiser)
        return teacher.eval().requires_grad_(False)

    def prompts_of(self, indices: Tensor) -> list[str]:
        return [f"prompt {index}" for index in indices.tolist()]


def _pipeline(sizes: Sizes) -> TextPipeline:
    configs = [CLIPTextConfig(vocab_size=49408, hidden_act="quick_gelu") for _ in sizes.encoders]
    for config, said in zip(configs, sizes.encoders, strict=True):
        config.update(said)
    tokens = RandomTokens(49408)
    with this_device():
        first = CLIPTextModel(configs[0])
        second = CLIPTextModelWithProjection(configs[1]) if len(configs) > 1 else None
    encoder: Any = CLIPEncoder(tokens, first) if second is None else SDXLEncoder((tokens, tokens), (first, second))
    vae = AutoencoderKL(
        block_out_channels=sizes.vae,
        down_block_types=("DownEncoderBlock2D",) * len(sizes.vae),
        up_block_types=("UpDecoderBlock2D",) * len(sizes.vae),
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=sizes.groups,
    )
    unet = _network(sizes, torch.device("meta"))
    return TextPipeline(
        StableDiffusionDenoiser, unet, LatentSpace(vae), encoder.eval().requires_grad_(False), SCHEDULER
    )


def _network(sizes: Sizes, device: torch.device) -> UNet2DConditionModel:
    with device:
        return UNet2DConditionModel(**sizes.network).eval()
