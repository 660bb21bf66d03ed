"""EDM's class-conditional ADM network (ImageNet-64) as a diffusers UNet2DModel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import UNet2DModel
from torch import Tensor

from bench.core.errors import UserError

GROUPS = 32
"""Number of groups of every normalisation: EDM has min(32, channels / 4), so layers need at least 128 channels."""
HEAD_CHANNELS = 64
"""Number of channels of one attention head."""
EPSILON = 1e-5
"""The epsilon of every normalisation."""


@dataclass(frozen=True)
class EDMNetwork:
    """The sizes of an ADM network in EDM's terms. Raises UserError if diffusers cannot represent it."""

    resolution: int
    model_channels: int
    channel_mult: tuple[int, ...]
    """Channels of each level over `model_channels`, the finest level first."""
    num_blocks: int
    attention_resolutions: frozenset[int]
    """Sides at which the blocks attend; the middle block always does."""
    classes: int
    image_channels: int = 3

    def __post_init__(self) -> None:
        # These are the limits of UNet2DModel: one number of groups for all layers, an embedding four
        # times as wide as the first level, one number of channels per head.
        mult, levels = self.channel_mult, len(self.channel_mult)
        problems = []
        if mult[0] != 1:
            problems.append(f"the finest level must have model_channels channels, not {mult[0]} times as many")
        narrow = [c for c in self.channels if c < 4 * GROUPS or c % GROUPS]
        if narrow:
            problems.append(
                f"{GROUPS} groups per normalisation need levels of 128, 160, 192, ... channels, not {narrow[0]}"
            )
        attended = [c for r, c in zip(self.sides, self.channels, strict=True) if r in self.attention_resolutions]
        ragged = [c for c in [*attended, self.channels[-1]] if c % HEAD_CHANNELS]
        if ragged:
            problems.append(f"attended channels must be a multiple of {HEAD_CHANNELS}, not {ragged[0]}")
        if self.resolution % 2 ** (levels - 1):
            problems.append(f"{self.resolution} pixels cannot be halved {levels - 1} times")
        unknown = sorted(self.attention_resolutions - set(self.sides))
        if unknown:
            problems.append(f"there is no level of {unknown[0]} pixels to attend at, only of {list(self.sides)}")
        if problems:
            raise UserError(f"this EDM network has no diffusers form: {'; '.join(problems)}")

    @property
    def channels(self) -> tuple[int, ...]:
        """Number of channels of each level, the finest level first."""
        return tuple(self.model_channels * mult for mult in self.channel_mult)

    @property
    def sides(self) -> tuple[int, ...]:
        """Resolution of each level in pixels, the finest level first."""
        return tuple(self.resolution >> level for level in range(len(self.channel_mult)))


IMAGENET64 = EDMNetwork(
    resolution=64,
    model_channels=192,
    channel_mult=(1, 2, 3, 4),
    num_blocks=3,
    attention_resolutions=frozenset((32, 16, 8)),
    classes=1000,
)
"""EDM's ImageNet-64 network, 295.9 million parameters: teacher, DMD2 students, consistency models."""


def edm_unet(network: EDMNetwork) -> UNet2DModel:
    """Build the untrained network on torch's default device (`torch.device("meta")` takes no memory).

    Source: edm-diffusers, section 1. `attn_norm_num_groups` must be given, or the middle attention would
    silently have no normalisation.
    """
    attends = [side in network.attention_resolutions for side in network.sides]
    return UNet2DModel(
        sample_size=network.resolution,
        in_channels=network.image_channels,
        out_channels=network.image_channels,
        center_input_sample=False,
        time_embedding_type="positional",
        freq_shift=0,
        flip_sin_to_cos=True,
        down_block_types=tuple("AttnDownBlock2D" if a else "ResnetDownsampleBlock2D" for a in attends),
        up_block_types=tuple("AttnUpBlock2D" if a else "ResnetUpsampleBlock2D" for a in reversed(attends)),
        block_out_channels=network.channels,
        layers_per_block=network.num_blocks,
        downsample_type="resnet",
        upsample_type="resnet",
        dropout=0.0,  # EDM's teacher was trained with 0.1, DMD2 trains without
        act_fn="silu",
        attention_head_dim=HEAD_CHANNELS,
        norm_num_groups=GROUPS,
        attn_norm_num_groups=GROUPS,
        norm_eps=EPSILON,
        resnet_time_scale_shift="scale_shift",
        add_attention=True,
        num_class_embeds=network.classes,
    )


def edm_unet_with(network: EDMNetwork, state: dict[str, Tensor]) -> UNet2DModel:
    """Build the network around weights with diffusers' names, which are used without a copy."""
    with torch.device("meta"):
        unet = edm_unet(network)
    unet.load_state_dict(state, assign=True)
    return unet.eval().requires_grad_(False)
