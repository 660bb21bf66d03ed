"""The families of class-conditional transformers (DiT, SiT): diffusers' DiTTransformer2DModel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from diffusers import DiTTransformer2DModel
from torch import Tensor, nn

from bench.models.backbones.classes import ClassFamily
from bench.models.backbones.transformer import TransformerFamily
from bench.models.descriptions import betas_of, number_of, taps_of
from bench.models.schedules import FlowSchedule, NoiseSchedule, VPSchedule

FREQUENCY_SHIFTS = {"diffusers": 1, "official": 0}
"""How the frequencies of the time's embedding are counted: diffusers has 10000^(-i / 127), the official code, with
which the published weights were trained, 10000^(-i / 128)."""


class ClassTransformer(TransformerFamily, ClassFamily):
    """What DiT and SiT share: the network, its classes, and the null class that follows them, for guidance.

    Each block of diffusers' network has an embedder of time and class of its own; those of published weights are
    copies of one. It runs in the network's own dtype; x0 has the type of x_t.
    """

    network_class = DiTTransformer2DModel
    ending = ("norm_out", "proj_out_1", "proj_out_2")
    lora_targets = (
        *("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0"),
        *("ff.net.0.proj", "ff.net.2"),
    )

    def __init__(
        self,
        network: DiTTransformer2DModel,
        schedule: NoiseSchedule,
        frequencies: str = "diffusers",
        taps: Sequence[str] = ("middle",),
    ) -> None:
        """`frequencies`: those of the time's embedding, see `FREQUENCY_SHIFTS`.

        Raises ValueError for other frequencies, or if the network gives neither as many channels as it takes nor
        twice as many (a learned variance, which no sampler here uses).
        """
        config = network.config
        super().__init__(network, schedule, config.sample_size, config.patch_size, taps)
        if frequencies not in FREQUENCY_SHIFTS:
            raise ValueError(f"frequencies are {frequencies!r}; known: {', '.join(FREQUENCY_SHIFTS)}")
        if network.out_channels not in (self.channels, 2 * self.channels):
            raise ValueError(
                f"the network takes {self.channels} channels and gives {network.out_channels}: that is no denoiser"
            )
        self.frequencies = frequencies
        for embedder in self._embedders():
            embedder.time_proj.downscale_freq_shift = FREQUENCY_SHIFTS[frequencies]
            # In training diffusers replaces classes by the null class at random, in each block on its own.
            embedder.class_embedder.dropout_prob = 0.0

    @classmethod
    def options(cls, about: Mapping[str, Any]) -> dict[str, Any]:
        return {"frequencies": about["frequencies"], "taps": taps_of(about, cls.tap_names)}

    def describe(self) -> dict[str, Any]:
        return {"frequencies": self.frequencies, "taps": list(self.taps)}

    @property
    def classes(self) -> int:
        return int(self.network.config.num_embeds_ada_norm)

    @property
    def null_condition(self) -> Tensor:
        return torch.tensor([self.classes])

    @property
    def channels(self) -> int:
        return int(self.network.config.in_channels)

    @property
    def width(self) -> int:
        return int(self.network.inner_dim)

    def _embedders(self) -> list[Any]:
        return [block.norm1.emb for block in self.network.transformer_blocks]

    def time_embedders(self) -> Iterable[nn.Module]:
        return [embedder.timestep_embedder for embedder in self._embedders()]

    def network_time(self, t: Tensor) -> Tensor:
        """Return the times that the network is given for times of the schedule: [B] -> [B]."""
        return t

    def _run(self, network: Any, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        output: Tensor = network(
            x_t.to(self.network.dtype),
            timestep=self.network_time(t).to(torch.float32),  # bf16 has no 999
            class_labels=condition,
            return_dict=False,
        )[0]
        return output[:, : self.channels]


class DiTDenoiser(ClassTransformer):
    """A network that predicts epsilon, and a variance that is not used (Peebles and Xie, 2023)."""

    name = "dit"
    summary = "DiT (ImageNet-256 and -512): DiTTransformer2DModel, epsilon, variance preserving"
    prediction = "epsilon"
    schedule: VPSchedule

    @classmethod
    def options(cls, about: Mapping[str, Any]) -> dict[str, Any]:
        return {"schedule": linear_schedule(*betas_of(about)), **super().options(about)}

    def describe(self) -> dict[str, Any]:
        schedule = self.schedule
        betas = [schedule.beta_start, schedule.beta_end, len(schedule.grid)]
        return {"betas": betas, **super().describe()}


class SiTDenoiser(ClassTransformer):
    """DiT's network trained as a rectified flow (Ma et al., 2024).

    SiT's time is 0 for noise and 1 for data, and its velocity leads to the data: 1 - t, and -(eps - x).
    """

    name = "sit"
    summary = "SiT (ImageNet-256 and -512): DiTTransformer2DModel, a rectified flow"
    schedule: FlowSchedule

    @classmethod
    def options(cls, about: Mapping[str, Any]) -> dict[str, Any]:
        return {"schedule": FlowSchedule(number_of(about, "shift")), **super().options(about)}

    def describe(self) -> dict[str, Any]:
        return {"shift": self.schedule.shift, **super().describe()}

    def network_time(self, t: Tensor) -> Tensor:
        return 1 - t

    def _run(self, network: Any, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return -super()._run(network, x_t, t, condition)


def linear_schedule(beta_start: float = 1e-4, beta_end: float = 0.02, times: int = 1000) -> VPSchedule:
    """Return the schedule of DDPM, which DiT has: linear betas, epsilon."""
    return VPSchedule("epsilon", beta_start, beta_end, times, betas="linear")


def small_network(
    latent_shape: tuple[int, int, int], classes: int, width: int, layers: int, heads: int, patch_size: int = 2
) -> DiTTransformer2DModel:
    """Build an untrained network for images or latents (C, H, W); `width` is the size of a token.

    It gives no variance. As DiT starts, blocks change nothing and the output is 0. Other weights come from torch's
    global generator.
    """
    channels, side, _ = latent_shape
    network = DiTTransformer2DModel(
        sample_size=side,
        patch_size=patch_size,
        in_channels=channels,
        out_channels=channels,
        num_layers=layers,
        attention_head_dim=width // heads,
        num_attention_heads=heads,
        num_embeds_ada_norm=classes,
        norm_eps=1e-6,  # as in the official networks
    )
    modulations = (block.norm1.linear for block in network.transformer_blocks)
    for layer in (*modulations, network.proj_out_1, network.proj_out_2):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return network
