"""EDM's family: class-conditional networks as diffusers' UNet2DModel, under EDM's preconditioning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import Tensor

from bench.models.backbones.classes import ClassFamily
from bench.models.backbones.unet import UNetFamily, read_taps
from bench.models.descriptions import number_of, whole_of
from bench.models.schedules import EDMSchedule, per_sample


class EDMDenoiser(UNetFamily, ClassFamily):
    """EDM's preconditioning around a class-conditional network (EDM, Table 1; DMD2's ImageNet-64 networks).

    The network runs in its own dtype: one in bf16 takes float32 images; x0 is float32.
    """

    name = "edm"
    network_class = UNet2DModel
    schedule: EDMSchedule

    def __init__(
        self, network: UNet2DModel, schedule: EDMSchedule, patch_size: int = 1, taps: Sequence[str] = ("encoder",)
    ) -> None:
        """Raises ValueError for taps or sizes of patches that such a network does not have."""
        super().__init__(network, schedule, patch_size, taps)
        config = network.config
        if config.in_channels != config.out_channels or config.in_channels % patch_size**2:
            raise ValueError(
                f"the network takes {config.in_channels} channels and gives {config.out_channels} in patches of "
                f"{patch_size}x{patch_size}: that is no denoiser of images"
            )

    @classmethod
    def options(cls, about: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "schedule": EDMSchedule(number_of(about, "sigma_data")),
            "patch_size": whole_of(about, "patch_size"),
            "taps": read_taps(about),
        }

    def describe(self) -> dict[str, Any]:
        return {
            "sigma_data": self.schedule.sigma_data,
            "patch_size": self.patch_size,
            "bottleneck": "+".join(self.taps),
        }

    @property
    def classes(self) -> int:
        return int(self.network.config.num_class_embeds)

    def _inputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        sigma = t.to(torch.float32)
        c_in = (sigma**2 + self.schedule.sigma_data**2).rsqrt()
        return per_sample(c_in, x_t) * x_t, sigma.log() / 4

    def _run(self, network: Any, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        # A Python float would be cast to long by UNet2DModel: the timestep is always a float tensor.
        x = self._folded(x)
        x = x.to(next(network.parameters(), x).dtype)
        output: Tensor = network(x, timestep, class_labels=condition, return_dict=False)[0]
        return output

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor, interval: Tensor | None = None) -> Tensor:
        x, timestep = self._inputs(x_t, t)
        sigma, sigma_data = t.to(torch.float32), self.schedule.sigma_data
        variance = sigma**2 + sigma_data**2
        c_skip = sigma_data**2 / variance
        c_out = sigma * sigma_data * variance.rsqrt()
        with self._over(t, interval):
            output = self._network(x, timestep, condition)
        return per_sample(c_skip, x_t) * x_t + per_sample(c_out, x_t) * output


def small_network(
    image_shape: tuple[int, int, int],
    classes: int,
    channels: tuple[int, ...],
    patch_size: int = 1,
    layers_per_block: int = 1,
    attention_head_dim: int = 8,
    norm_groups: int = 32,
) -> UNet2DModel:
    """Build an untrained network of EDM's block design (scale-shift conditioning) for images (C, H, W).

    `channels` are those of each level, the finest first. Weights come from torch's global generator.
    """
    image_channels, size, _ = image_shape
    return UNet2DModel(
        sample_size=size // patch_size,
        in_channels=image_channels * patch_size**2,
        out_channels=image_channels * patch_size**2,
        block_out_channels=channels,
        layers_per_block=layers_per_block,
        down_block_types=("DownBlock2D",) * len(channels),
        up_block_types=("UpBlock2D",) * len(channels),
        attention_head_dim=attention_head_dim,
        norm_num_groups=norm_groups,
        attn_norm_num_groups=norm_groups,
        resnet_time_scale_shift="scale_shift",
        num_class_embeds=classes,
    )
