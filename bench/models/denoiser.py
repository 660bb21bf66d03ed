"""The interface of denoisers, x0 = D(x_t, t, condition), whatever their networks predict, and guidance."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.models.schedules import NoiseSchedule

FeatureShape = tuple[int, ...]
"""One sample's features at a place of a network: a map (C, H, W), or tokens (N, D)."""


FeaturesHook = Callable[[nn.Module, Any, tuple[Tensor, ...]], None]
"""What is called after `features`, like a forward hook: with the denoiser, its inputs and its features."""


class Denoiser(nn.Module, ABC):
    """x0 = D(x_t, t, condition) under a noise schedule, and features from one or more places in its network."""

    schedule: NoiseSchedule

    def __init__(self) -> None:
        super().__init__()
        self._features_hooks: list[FeaturesHook] = []

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let the hooks of `register_features_hook` run after the subclass's `features` and `deep_features`."""
        super().__init_subclass__(**kwargs)
        for name in {"features", "deep_features"} & vars(cls).keys():
            setattr(cls, name, _with_hooks(name, vars(cls)[name]))

    def register_features_hook(self, hook: FeaturesHook) -> None:
        """Call `hook(denoiser, inputs, features)` after each call of `features` or `deep_features`."""
        self._features_hooks.append(hook)

    @property
    @abstractmethod
    def feature_shapes(self) -> tuple[FeatureShape, ...]:
        """Shape of one sample's features at each place that `features` returns."""

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Estimate x0: x_t [B, C, H, W], t [B] in the schedule's time, condition [B] -> [B, C, H, W]."""

    @abstractmethod
    def features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, ...]:
        """Return the features at each place, [B, C, H, W] or [B, N, D], without running what comes after them."""

    def with_features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return what `forward` and `features` return, in one pass of the network where it can."""
        return self(x_t, t, condition), self.features(x_t, t, condition)

    @abstractmethod
    def feature_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters that `features` runs through."""

    @property
    def deep_feature_shapes(self) -> tuple[FeatureShape, ...]:
        """Shape of one sample's features at each depth that `deep_features` returns."""
        return self.feature_shapes

    def deep_features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, ...]:
        """Return features from several depths, for a discriminator on a frozen network; by default `features`.

        The last of them runs last, as in `features`.
        """
        return self.features(x_t, t, condition)

    @abstractmethod
    def checkpoint_gradients(self) -> None:
        """From now on keep fewer activations, and compute them again in the backward pass."""

    def add_interval(self) -> None:
        """Give the network a second time input: `forward` then takes an interval [B] after the condition.

        The interval is the length of a step in rectified flow's time (`NoiseSchedule.flow_time`); without one the
        step leads to the image. The output is the x0 whose DDIM step follows the ODE over the whole interval. At
        first the interval has no effect. Raises UserError where there is no such form.
        """
        raise UserError(f"{type(self).__name__} takes no second time; fix: name another method")

    def add_adapters(self, rank: int, alpha: float) -> None:  # noqa: ARG002 (for those that can)
        """Freeze the network and train a LoRA on it instead. Raises UserError where there is no such form."""
        raise UserError(
            f"{type(self).__name__} names no layers that take a LoRA, and is to get one of rank {rank}; "
            "fix: --set lora_rank=0, or the key of this rank"
        )


def _with_hooks(name: str, features: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    """Return a `features` that calls the denoiser's hooks, unless a subclass's own `features` will."""

    @functools.wraps(features)
    def hooked(self: Denoiser, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, ...]:
        found = features(self, x_t, t, condition)
        if getattr(type(self), name) is hooked:
            for hook in self._features_hooks:
                hook(self, (x_t, t, condition), found)
        return found

    return hooked


class WrappedDenoiser(Denoiser):
    """A denoiser around another one, whose output a subclass changes; the features are those of the inner one."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.schedule = denoiser.schedule

    @property
    def feature_shapes(self) -> tuple[FeatureShape, ...]:
        return self.denoiser.feature_shapes

    def features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, ...]:
        return self.denoiser.features(x_t, t, condition)

    def feature_parameters(self) -> Iterator[nn.Parameter]:
        return self.denoiser.feature_parameters()

    @property
    def deep_feature_shapes(self) -> tuple[FeatureShape, ...]:
        return self.denoiser.deep_feature_shapes

    def deep_features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, ...]:
        return self.denoiser.deep_features(x_t, t, condition)

    def checkpoint_gradients(self) -> None:
        self.denoiser.checkpoint_gradients()


class GuidedDenoiser(WrappedDenoiser):
    """Classifier-free guidance as a wrapper: D(null) + scale (D(condition) - D(null)), one doubled batch.

    It can be limited to a range of noise levels (Kynkaanniemi et al., 2024), outside of which the network is
    conditional and runs once, and to the first channels, as in SiT's published numbers.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        null_condition: Tensor,
        scale: float,
        levels: tuple[float, float] = (0.0, 1.0),
        channels: int | None = None,
    ) -> None:
        """`null_condition` is one unconditional entry [1, ...]; scale 1 is the plain conditional denoiser.

        `levels`: the ends of the range, as times of rectified flow (`NoiseSchedule.flow_time`). `channels`: the
        number of guided channels, by default all.
        """
        super().__init__(denoiser)
        self.scale = scale
        self.levels = levels
        self.channels = channels
        self.register_buffer("null_condition", null_condition, persistent=False)

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        null = self.get_buffer("null_condition").expand_as(condition)
        inside = self._inside(t)
        if inside is not None and not inside.any():
            conditional: Tensor = self.denoiser(x_t, t, condition)
            return conditional
        both = self.denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]), torch.cat([null, condition]))
        unconditional, conditional = both.chunk(2)
        guided = unconditional + self.scale * (conditional - unconditional)
        if self.channels is not None:
            guided = torch.cat([guided[:, : self.channels], conditional[:, self.channels :]], dim=1)
        if inside is not None:
            guided = torch.where(inside.reshape(-1, *[1] * (guided.ndim - 1)), guided, conditional)
        return guided

    def _inside(self, t: Tensor) -> Tensor | None:
        """Return which times [B] have a guided noise level; none if all have."""
        if self.levels == (0.0, 1.0):
            return None
        level = self.schedule.flow_time(t)
        return (self.levels[0] <= level) & (level <= self.levels[1])
