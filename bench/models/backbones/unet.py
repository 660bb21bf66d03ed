"""The base class of diffusers' UNets, whatever conditions them: patches, taps, files, units of sharding."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.nn import functional as F

from bench.models.backbones.diffusers_network import DiffusersFamily, view_of
from bench.models.denoiser import FeatureShape
from bench.models.schedules import NoiseSchedule


class UNetFamily(DiffusersFamily):
    """A denoiser whose network is a diffusers UNet.

    With `patch_size` p the network sees p x p patches as channels: p^2 times fewer positions.
    """

    folder = "unet"
    tap_names = ("encoder", "mid")
    """The last block of the encoder (DMD2 on EDM), and the middle block (DMD2, F.1)."""

    def __init__(self, network: Any, schedule: NoiseSchedule, patch_size: int, taps: Sequence[str]) -> None:
        super().__init__(network, schedule, taps)
        self.patch_size = patch_size
        # A tuple hides the view from nn.Module's registration, so the state dict has each parameter once.
        self._encoder = (encoder_view(network, through_mid=self.taps[-1] == "mid"),)
        self._deep = (encoder_view(network, through_mid=True),)

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        config, patch = self.network.config, self.patch_size
        return config.out_channels // patch**2, config.sample_size * patch, config.sample_size * patch

    @property
    def feature_shapes(self) -> tuple[FeatureShape, ...]:
        channels = self.network.config.block_out_channels
        side = self.network.config.sample_size // 2 ** (len(channels) - 1)
        return ((channels[-1], side, side),) * len(self.taps)

    def _folded(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(x, self.patch_size) if self.patch_size > 1 else x

    def _unfolded(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(x, self.patch_size) if self.patch_size > 1 else x

    @abstractmethod
    def _inputs(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Scale what the network sees: (x_t, t) -> (network input, network timestep)."""

    @abstractmethod
    def _run(self, network: Any, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        """Run the network, or the view of its encoder, on scaled input [B, C, H, W]."""

    def time_embedders(self) -> Iterable[nn.Module]:
        return (self.network.time_embedding,)

    def _network(self, x: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        """Run the whole network on scaled input: [B, C, H, W] -> [B, C, H, W] in float32."""
        return self._unfolded(self._run(self.network, x, timestep, condition)).float()

    def features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, ...]:
        x, timestep = self._inputs(x_t, t)
        with self._passing(self.taps[:-1]) as passed:
            last = self._run(self._encoder[0], x, timestep, condition)
        return (*(passed[tap].float() for tap in self.taps[:-1]), last.float())

    def with_features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        with self._passing(self.taps) as passed:
            x0 = self(x_t, t, condition)
        return x0, tuple(passed[tap].float() for tap in self.taps)

    @property
    def deep_feature_shapes(self) -> tuple[FeatureShape, ...]:
        """A map of each level of the encoder, the finest first, and that of the middle block."""
        channels, side = self.network.config.block_out_channels, self.network.config.sample_size
        levels = [(width, side // 2**level, side // 2**level) for level, width in enumerate(channels)]
        return (*levels, levels[-1])

    def deep_features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, ...]:
        levels: list[Tensor] = []

        def keep(block: Any, _inputs: Any, output: Any) -> None:
            levels.append(output[1][-2 if block.downsamplers else -1].float())  # a level ends before it is halved

        x, timestep = self._inputs(x_t, t)
        with contextlib.ExitStack() as hooks:
            for block in self.network.down_blocks:
                hooks.enter_context(block.register_forward_hook(keep))
            last = self._run(self._deep[0], x, timestep, condition)
        return (*levels, last.float())

    @contextlib.contextmanager
    def _passing(self, taps: Sequence[str]) -> Iterator[dict[str, Tensor]]:
        """Within it, keep what passes these taps: what the middle block is given, and what it makes."""
        passed: dict[str, Tensor] = {}
        middle = self.network.mid_block
        with contextlib.ExitStack() as hooks:
            if "encoder" in taps:
                hooks.enter_context(
                    middle.register_forward_pre_hook(lambda _, inputs: passed.update(encoder=inputs[0]))
                )
            if "mid" in taps:
                hooks.enter_context(middle.register_forward_hook(lambda _, __, output: passed.update(mid=output)))
            yield passed

    def feature_parameters(self) -> Iterator[nn.Parameter]:
        yield from self._encoder[0].parameters()

    def repeated_blocks(self) -> Iterable[nn.Module]:
        kinds = (ResnetBlock2D, BasicTransformerBlock)
        return (part for part in self.network.modules() if isinstance(part, kinds))

    def shard_units(self) -> Iterable[nn.Module]:
        yield from (part for part in self.network.modules() if isinstance(part, BasicTransformerBlock))
        yield from (*self.network.down_blocks, self.network.mid_block, *self.network.up_blocks)


def encoder_view(network: Any, through_mid: bool) -> Any:
    """Return a view of a UNet that stops at the bottleneck; it owns no parameters of its own."""
    replaced: dict[str, nn.Module | None] = {"up_blocks": nn.ModuleList()}
    replaced.update({name: nn.Identity() for name in ("conv_norm_out", "conv_act", "conv_out")})
    if not through_mid:
        replaced["mid_block"] = None
    return view_of(network, replaced)


def read_taps(about: Mapping[str, Any]) -> tuple[str, ...]:
    """Read the taps of a description, "mid" or "encoder+mid". Raises ValueError if it names others."""
    named = about["bottleneck"]
    known = ("encoder", "mid", "encoder+mid")
    if named not in known:
        raise ValueError(f"unknown bottleneck {named!r}")
    return tuple(named.split("+"))
