"""The base class of diffusers' image transformers: blocks as places for features, files, units of sharding."""

from __future__ import annotations

import contextlib
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.models.backbones.diffusers_network import DiffusersFamily, view_of
from bench.models.denoiser import FeatureShape
from bench.models.predictions import Prediction, prediction_to_x0
from bench.models.schedules import NoiseSchedule

DEPTHS = {"early": 0.25, "middle": 0.5, "late": 0.75, "last": 1.0}
"""The places of features, and the share of the blocks that have run there."""


class TransformerFamily(DiffusersFamily):
    """A denoiser whose network is a transformer of diffusers over the patches of square images or latents.

    Features are the image's tokens after a block, as a map [B, D, h, w]. They and x0 have the type of x_t,
    whatever that of the network is.
    """

    folder = "transformer"
    tap_names = tuple(DEPTHS)
    prediction: ClassVar[Prediction] = "velocity"
    """What the network predicts."""
    block_lists: ClassVar[tuple[str, ...]] = ("transformer_blocks",)
    """The network's lists of blocks, in the order in which they run."""
    ending: ClassVar[tuple[str, ...]] = ("norm_out", "proj_out")
    """The network's modules that run after the last block: a normalisation, then linear layers."""

    text_ending: ClassVar[tuple[str, ...]] = ("attn.to_add_out", "ff_context")
    """Modules of a block of two streams that run on the text's tokens after the block's attention."""

    def __init__(
        self, network: Any, schedule: NoiseSchedule, side: int, patch_size: int, taps: Sequence[str] = ("middle",)
    ) -> None:
        """`side` is that of the images or latents, `patch_size` that of the patches which become tokens.

        Raises ValueError unless `taps` are some of the family's, and the side consists of whole patches.
        """
        super().__init__(network, schedule, taps)
        if side % patch_size:
            raise ValueError(f"a side of {side} does not consist of patches of {patch_size}")
        self.side, self.patch_size = side, patch_size
        self._make_views()

    def _make_views(self) -> None:
        # A tuple hides a view from nn.Module's registration, so the state dict has each parameter once.
        self._to_last_tap = (self._through(self._depths()[self.taps[-1]]),)
        self._to_last_block = (self._through(len(self.blocks)),)

    @property
    def blocks(self) -> list[nn.Module]:
        """The network's blocks in the order in which they run."""
        return [block for name in self.block_lists for block in getattr(self.network, name)]

    def _depths(self) -> dict[str, int]:
        """Return how many blocks have run at each tap."""
        return {tap: math.ceil(share * len(self.blocks)) for tap, share in DEPTHS.items()}

    @property
    @abstractmethod
    def channels(self) -> int:
        """Channels of the images or latents."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Size of a token."""

    @abstractmethod
    def _run(self, network: Any, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Run the network, or a view of its first blocks: its prediction [B, C, H, W], in its own dtype."""

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        return self.channels, self.side, self.side

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor, interval: Tensor | None = None) -> Tensor:
        with self._over(t, interval):
            predicted = self._run(self.network, x_t, t, condition)
        return prediction_to_x0(x_t, predicted, t, self.schedule, self.prediction)

    # Features.

    @property
    def feature_shapes(self) -> tuple[FeatureShape, ...]:
        return (self._feature_shape,) * len(self.taps)

    @property
    def deep_feature_shapes(self) -> tuple[FeatureShape, ...]:
        """A map at each of the family's taps."""
        return (self._feature_shape,) * len(self.tap_names)

    @property
    def _feature_shape(self) -> FeatureShape:
        side = self.side // self.patch_size
        return self.width, side, side

    def features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, ...]:
        with self._passing(self.taps, x_t.dtype) as maps:
            self._run(self._to_last_tap[0], x_t, t, condition)
        return tuple(maps[tap] for tap in self.taps)

    def with_features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        with self._passing(self.taps, x_t.dtype) as maps:
            x0 = self(x_t, t, condition)
        return x0, tuple(maps[tap] for tap in self.taps)

    def deep_features(self, x_t: Tensor, t: Tensor, condition: Tensor) -> tuple[Tensor, ...]:
        with self._passing(self.tap_names, x_t.dtype) as maps:
            self._run(self._to_last_block[0], x_t, t, condition)
        return tuple(maps[tap] for tap in self.tap_names)

    @contextlib.contextmanager
    def _passing(self, taps: Sequence[str], dtype: torch.dtype) -> Iterator[dict[str, Tensor]]:
        """Within it, keep the image's tokens after the blocks of these taps as maps [B, D, h, w] of this type."""
        maps: dict[str, Tensor] = {}
        blocks, depths, side = self.blocks, self._depths(), self.side // self.patch_size

        def keep(tap: str, _block: nn.Module, _inputs: Any, output: Any) -> None:
            # Blocks of two streams return the text's tokens first.
            tokens: Tensor = output[1] if isinstance(output, tuple) else output
            maps[tap] = tokens.transpose(1, 2).unflatten(2, (side, side)).to(dtype)

        with contextlib.ExitStack() as hooks:
            for tap in taps:
                block = blocks[depths[tap] - 1]
                hooks.enter_context(block.register_forward_hook(partial(keep, tap)))
            yield maps

    def feature_parameters(self) -> Iterator[nn.Parameter]:
        view = self._to_last_tap[0]
        last = self.blocks[self._depths()[self.taps[-1]] - 1]
        # Nobody uses the text's tokens of the last block that runs, so what makes them gets no gradient.
        ending = tuple(f"{name}." for name in self.text_ending)
        unused = {id(one) for name, one in last.named_parameters() if name.startswith(ending)}
        # A parameter that lies in no module (SANA's table of shifts and scales) belongs to the network's ending.
        yield from (one for name, one in view.named_parameters() if "." in name and id(one) not in unused)

    def _through(self, depth: int) -> Any:
        """Return a view of the network that runs its first `depth` blocks."""
        replaced: dict[str, nn.Module] = {}
        left = depth
        for name in self.block_lists:
            replaced[name] = blocks = nn.ModuleList(list(getattr(self.network, name))[:left])
            left -= len(blocks)
        norm, *linears = self.ending
        replaced[norm] = _First()
        replaced.update({name: _Zeros(getattr(self.network, name).out_features) for name in linears})
        return view_of(self.network, replaced)

    # How the network is adapted and trained.

    def adapters(self) -> dict[str, Tensor] | None:
        """Return the tensors of the network's LoRA as diffusers writes them; none if it has no LoRA."""
        if not self.lora_targets:
            return None
        from bench.models.text.lora import has_lora, scaled_lora_state

        return scaled_lora_state(self.network, self.folder) if has_lora(self.network) else None

    def checkpoint_gradients(self) -> None:
        super().checkpoint_gradients()
        self._make_views()  # the network itself has the switch, and a view has a copy of it

    def repeated_blocks(self) -> Iterable[nn.Module]:
        return self.blocks

    def shard_units(self) -> Iterable[nn.Module]:
        return self.blocks


class _First(nn.Module):
    """In a view, what stands for the last normalisation: the tokens as they are, whatever conditions them."""

    def forward(self, tokens: Tensor, *_: Any) -> Tensor:
        return tokens


class _Zeros(nn.Module):
    """In a view, what stands for a linear layer: zeros of its output's shape, which take no memory."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.new_zeros(()).expand(*tokens.shape[:-1], self.width)
