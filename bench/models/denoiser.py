"""Denoisers: networks seen as x0 = D(x_t, t, condition), whatever they predict inside."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import torch
from diffusers import UNet2DConditionModel, UNet2DModel
from torch import Tensor, nn
from torch.nn import functional as F

from bench.core.errors import UserError
from bench.models.schedules import EDMSchedule, NoiseSchedule, VPSchedule, per_sample

UNet: TypeAlias = UNet2DModel | UNet2DConditionModel


class Denoiser(nn.Module, ABC):
    """x0 = D(x_t, t, condition) under a noise schedule, and the features at its bottleneck."""

    schedule: NoiseSchedule

    @property
    @abstractmethod
    def bottleneck_shape(self) -> tuple[int, int]:
        """Channels and side of the square feature map that `features` returns."""

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Estimate x0: x_t [B, C, H, W], t [B] in the schedule's time, condition [B] -> [B, C, H, W]."""

    @abstractmethod
    def features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Return the bottleneck [B, C', H', W'] without running the decoder."""

    def with_features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `forward` and `features` return, in one pass of the network where it can."""
        return self(x_t, t, condition), self.features(x_t, t, condition)

    @abstractmethod
    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that `features` runs through."""

    @abstractmethod
    def checkpoint_gradients(self) -> None:
        """From now on keep fewer activations, and compute them again in the backward pass."""

    def add_adapters(self, rank: int, alpha: float) -> None:  # noqa: ARG002 (for those that can)
        """Freeze the network and train a LoRA on it instead. Raises UserError where there is no such form."""
        raise UserError("only text-to-image networks take a LoRA; use --set lora_rank=0")


class GuidedDenoiser(Denoiser):
    """Classifier-free guidance as a wrapper: D(null) + scale (D(condition) - D(null)), one doubled batch."""

    def __init__(self, denoiser: Denoiser, null_condition: Tensor, scale: float) -> None:
        """`null_condition` is one unconditional entry [1, ...]; scale 1 is the plain conditional denoiser."""
        super().__init__()
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.scale = scale
        self.register_buffer("null_condition", null_condition, persistent=False)

    @property
    def bottleneck_shape(self) -> tuple[int, int]:
        return self.denoiser.bottleneck_shape

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        null = self.get_buffer("null_condition").expand_as(condition)
        both = self.denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([null, condition]))
        unconditional, conditional = both.chunk(2)
        return unconditional + self.scale * (conditional - unconditional)

    def features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return self.denoiser.features(x_t, t, condition)

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        return self.denoiser.encoder_parameters()

    def checkpoint_gradients(self) -> None:
        self.denoiser.checkpoint_gradients()


class UNetDenoiser(Denoiser):
    """A denoiser whose network is a diffusers UNet: a class-conditional UNet2DModel if nothing else is said.

    With `patch_size` p the UNet sees p x p patches as channels: p^2 times fewer positions.
    """

    def __init__(self, unet: UNet, patch_size: int, bottleneck: Literal["encoder", "mid"]) -> None:
        """`bottleneck`: "encoder" is the last encoder block (DMD2 on EDM), "mid" the middle block (F.1)."""
        super().__init__()
        self.unet = unet
        self.patch_size = patch_size
        self.bottleneck: Literal["encoder", "mid"] = bottleneck
        # A tuple hides the view from nn.Module's registration, so the state dict has each parameter once.
        self._encoder = (encoder_view(unet, through_mid=bottleneck == "mid"),)

    @property
    def bottleneck_shape(self) -> tuple[int, int]:
        channels = self.unet.config.block_out_channels
        return channels[-1], self.unet.config.sample_size // 2 ** (len(channels) - 1)

    def _folded(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(x, self.patch_size) if self.patch_size > 1 else x

    def _run(self, unet: UNet, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        """Run the UNet, or the view of its encoder, on scaled input [B, C, H, W]; a subclass's may differ."""
        # A Python float would be cast to long by UNet2DModel: the timestep is always a float tensor.
        output: Tensor = unet(self._folded(x), timestep.to(x.dtype), class_labels=condition, return_dict=False)[0]
        return output

    def _network(self, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        """Run the whole UNet on scaled input: [B, C, H, W] -> [B, C, H, W] in float32."""
        output = self._run(self.unet, x, timestep, condition).float()
        return F.pixel_shuffle(output, self.patch_size) if self.patch_size > 1 else output

    def features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        x, timestep = self._inputs(x_t, t)
        return self._run(self._encoder[0], x, timestep, condition).float()

    def with_features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        passed: list[Tensor] = []
        middle = self.unet.mid_block
        if self.bottleneck == "mid":
            hook = middle.register_forward_hook(lambda _module, _inputs, output: passed.append(output))
        else:
            hook = middle.register_forward_pre_hook(lambda _module, inputs: passed.append(inputs[0]))
        with hook:
            x0 = self(x_t, t, condition)
        return x0, passed[0].float()

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        yield from self._encoder[0].parameters()

    def checkpoint_gradients(self) -> None:
        self.unet.enable_gradient_checkpointing()

    @abstractmethod
    def _inputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Scale what the UNet sees: (x_t, t) -> (network input, network timestep)."""


class EDMDenoiser(UNetDenoiser):
    """EDM's preconditioning around a UNet (EDM, Table 1; DMD2's ImageNet-64 networks)."""

    def __init__(
        self,
        unet: UNet2DModel,
        schedule: EDMSchedule,
        patch_size: int = 1,
        bottleneck: Literal["encoder", "mid"] = "encoder",
    ) -> None:
        super().__init__(unet, patch_size, bottleneck)
        self.schedule: EDMSchedule = schedule

    def _inputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        sigma = t.to(torch.float32)
        c_in = (sigma**2 + self.schedule.sigma_data**2).rsqrt()
        return per_sample(c_in, x_t) * x_t, sigma.log() / 4

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        x, timestep = self._inputs(x_t, t)
        sigma, sigma_data = t.to(torch.float32), self.schedule.sigma_data
        variance = sigma**2 + sigma_data**2
        c_skip = sigma_data**2 / variance
        c_out = sigma * sigma_data * variance.rsqrt()
        return per_sample(c_skip, x_t) * x_t + per_sample(c_out, x_t) * self._network(x, timestep, condition)


class VPDenoiser(UNetDenoiser):
    """A variance-preserving network that predicts epsilon or v (the convention of Stable Diffusion)."""

    def __init__(
        self,
        unet: UNet,
        schedule: VPSchedule,
        patch_size: int = 1,
        bottleneck: Literal["encoder", "mid"] = "mid",
    ) -> None:
        super().__init__(unet, patch_size, bottleneck)
        self.schedule: VPSchedule = schedule

    def _inputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return x_t, t

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        predicted = self._network(x_t, t, condition)
        return prediction_to_x0(x_t, predicted, t, self.schedule)


def prediction_to_x0(x_t: Tensor, predicted: Tensor, t: Tensor, schedule: VPSchedule) -> Tensor:
    """Turn an epsilon or v prediction into x0, in float64 because 1 / alpha_t reaches 15 at t = 999.

    epsilon: (x_t - sigma eps) / alpha; v = alpha eps - sigma x0: alpha x_t - sigma v.
    """
    alpha, sigma = (per_sample(f(t), x_t.double()) for f in (schedule.alpha, schedule.sigma))
    if schedule.prediction == "epsilon":
        x0 = (x_t.double() - sigma * predicted.double()) / alpha
    else:
        x0 = alpha * x_t.double() - sigma * predicted.double()
    return x0.to(x_t.dtype)


def encoder_view(unet: UNet, through_mid: bool) -> UNet:
    """Return an object of the UNet's class that shares its modules and stops at the bottleneck.

    The class's own forward runs, with no decoder to run through: nothing is copied, gradients reach the
    shared parameters. The view owns no parameters of its own. Build it before the UNet is wrapped
    (accelerate, DDP, compile), and again if a top-level module of the UNet is replaced. Under DDP call it
    only inside the wrapped module's forward: `ddp.module(...)` leaves gradients silently unsynchronised.
    """
    view = copy.copy(unet)
    # What a wrapper may have put on the instance would run the full network.
    for patched in ("forward", "_original_forward", "_compiled_call_impl"):
        view.__dict__.pop(patched, None)
    modules: dict[str, Any] = dict(unet._modules)
    modules["up_blocks"] = nn.ModuleList()
    modules.update({name: nn.Identity() for name in ("conv_norm_out", "conv_act", "conv_out")})
    if not through_mid:
        modules["mid_block"] = None
    view.__dict__["_modules"] = modules
    return view
