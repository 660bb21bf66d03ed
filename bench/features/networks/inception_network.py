"""The Inception of FID: TensorFlow's network of 2015-12-05 as a torch module, with a faster form of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 299
"""Side of the images that the network reads."""

SPATIAL_CHANNELS = 7
"""Channels of the tap `spatial`."""

TAPS = {"64": 64, "192": 192, "spatial": 2023, "768": 768, "pool": 2048, "logits": 1008}
"""The network's outputs, and the length of each for one image.

64, 192, 768: mean of the feature map that the next stage reads. pool: the 2048 features of FID and KID.
logits: of 1008 classes, without the bias, as Inception scores are taken ("unbiased"). spatial: sFID's, the
first 7 channels of TensorFlow's `mixed_6/conv` (17 x 17), in its order: row, column, channel.
"""

STAGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("64", ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1")),
    ("192", ("Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2")),
    ("spatial", ("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c")),
    ("768", ("Mixed_6d", "Mixed_6e")),
    ("pool", ("Mixed_7a", "Mixed_7b", "Mixed_7c")),
    ("logits", ()),
)
"""The modules that run before each tap. TensorFlow's `mixed` ... `mixed_10` are Mixed_5b ... Mixed_7c."""

Size = int | tuple[int, int]


class Convolution(nn.Module):
    """A convolution with batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Size, stride: int = 1, padding: Size = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)

    def fold(self) -> None:
        """Move the normalisation into the convolution's weights, in float64."""
        bn = self.bn
        assert isinstance(bn, nn.BatchNorm2d) and bn.running_mean is not None and bn.running_var is not None
        scale = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
        weight = self.conv.weight.double() * scale[:, None, None, None]
        bias = bn.bias.double() - bn.running_mean.double() * scale
        dtype = self.conv.weight.dtype
        self.conv.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
        self.conv.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
        self.bn = nn.Identity()


class Step(NamedTuple):
    """One convolution of a tower, by the name of its weights. Stride 1 keeps the size, stride 2 has no padding."""

    name: str
    outputs: int
    kernel: Size
    stride: int


Tower = list[tuple[Step, ...]]
"""A chain of convolutions; where an entry has two, the tower forks and its ends are concatenated."""


def tower(name: str, *layers: tuple[int, Size], stride: int = 1, fork: int = 0) -> Tower:
    """Chain `layers` (channels, kernel): `name`_1, `name`_2, ..., the last one with `stride`.

    `fork` > 0 ends the tower in a 1 x 3 and a 3 x 1 convolution of `fork` channels each.
    """
    alone = len(layers) == 1 and not fork
    steps: Tower = [
        (Step(name if alone else f"{name}_{i}", outputs, kernel, stride if i == len(layers) else 1),)
        for i, (outputs, kernel) in enumerate(layers, 1)
    ]
    if fork:
        end = f"{name}_{len(layers) + 1}"
        steps.append((Step(f"{end}a", fork, (1, 3), 1), Step(f"{end}b", fork, (3, 1), 1)))
    return steps


class Mixed(nn.Module):
    """Towers side by side and a pooled copy of the input, concatenated."""

    def __init__(
        self, inputs: int, towers: Sequence[Tower], pool: nn.Module, pool_outputs: int = 0, *, divisor: int
    ) -> None:
        """Build the block; `pool_outputs` > 0 puts a 1 x 1 convolution behind the pooling.

        All numbers of channels are those of the published network, and are divided by `divisor`.
        """
        super().__init__()
        inputs, pool_outputs = inputs // divisor, pool_outputs // divisor
        self.pool = pool
        self.towers = [[[step.name for step in steps] for steps in chain] for chain in towers]
        for chain in towers:
            channels = inputs
            for steps in chain:
                for name, published_outputs, kernel, stride in steps:
                    outputs = published_outputs // divisor
                    size = (kernel, kernel) if isinstance(kernel, int) else kernel
                    padding = (size[0] // 2, size[1] // 2) if stride == 1 else 0
                    self.add_module(name, Convolution(channels, outputs, kernel, stride, padding))
                channels = sum(step.outputs // divisor for step in steps)
        self.branch_pool = Convolution(inputs, pool_outputs, 1) if pool_outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for chain in self.towers:
            y = [x]
            for names in chain:
                y = [self.get_submodule(name)(y[0]) for name in names]
            outputs.extend(y)
        return torch.cat([*outputs, self.branch_pool(self.pool(x))], dim=1)


def average() -> nn.Module:
    """Return a mean over 3 x 3 neighbours; as in TensorFlow, padding does not count."""
    return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)


def maximum() -> nn.Module:
    """Return a maximum over 3 x 3 neighbours; the file has it in Mixed_7c, where the paper averages."""
    return nn.MaxPool2d(3, stride=1, padding=1)


def halving() -> nn.Module:
    """Return a maximum over 3 x 3 pixels with stride 2."""
    return nn.MaxPool2d(3, stride=2)


def mixed_35(inputs: int, pool_outputs: int, divisor: int) -> Mixed:
    """Build a block at 35 x 35: Mixed_5b, 5c, 5d."""
    towers = [
        tower("branch1x1", (64, 1)),
        tower("branch5x5", (48, 1), (64, 5)),
        tower("branch3x3dbl", (64, 1), (96, 3), (96, 3)),
    ]
    return Mixed(inputs, towers, average(), pool_outputs, divisor=divisor)


def mixed_35_to_17(inputs: int, divisor: int) -> Mixed:
    """Build Mixed_6a."""
    towers = [
        tower("branch3x3", (384, 3), stride=2),
        tower("branch3x3dbl", (64, 1), (96, 3), (96, 3), stride=2),
    ]
    return Mixed(inputs, towers, halving(), divisor=divisor)


def mixed_17(inputs: int, width: int, divisor: int) -> Mixed:
    """Build a block at 17 x 17, with `width` channels inside its towers: Mixed_6b ... 6e."""
    across, down = (1, 7), (7, 1)
    towers = [
        tower("branch1x1", (192, 1)),
        tower("branch7x7", (width, 1), (width, across), (192, down)),
        tower("branch7x7dbl", (width, 1), (width, down), (width, across), (width, down), (192, across)),
    ]
    return Mixed(inputs, towers, average(), 192, divisor=divisor)


def mixed_17_to_8(inputs: int, divisor: int) -> Mixed:
    """Build Mixed_7a."""
    towers = [
        tower("branch3x3", (192, 1), (320, 3), stride=2),
        tower("branch7x7x3", (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3), stride=2),
    ]
    return Mixed(inputs, towers, halving(), divisor=divisor)


def mixed_8(inputs: int, pool: nn.Module, divisor: int) -> Mixed:
    """Build a block at 8 x 8: Mixed_7b and 7c."""
    towers = [
        tower("branch1x1", (320, 1)),
        tower("branch3x3", (384, 1), fork=384),
        tower("branch3x3dbl", (448, 1), (384, 3), fork=384),
    ]
    return Mixed(inputs, towers, pool, 192, divisor=divisor)


class Inception(nn.Module):
    """TensorFlow's Inception of 2015-12-05; the names of its weights are those of the torch port's file.

    Source: Szegedy et al. 2016 with the file's deviations (1008 classes, the poolings above).
    """

    def __init__(self, divisor: int = 1) -> None:
        """Build the published network, or one whose channels are divided by `divisor`: 2, 4, 8 or 16."""
        super().__init__()
        self.divisor = divisor
        self.Conv2d_1a_3x3 = Convolution(3, 32 // divisor, 3, stride=2)
        self.Conv2d_2a_3x3 = Convolution(32 // divisor, 32 // divisor, 3)
        self.Conv2d_2b_3x3 = Convolution(32 // divisor, 64 // divisor, 3, padding=1)
        self.MaxPool_1 = halving()
        self.Conv2d_3b_1x1 = Convolution(64 // divisor, 80 // divisor, 1)
        self.Conv2d_4a_3x3 = Convolution(80 // divisor, 192 // divisor, 3)
        self.MaxPool_2 = halving()
        self.Mixed_5b = mixed_35(192, 32, divisor)
        self.Mixed_5c = mixed_35(256, 64, divisor)
        self.Mixed_5d = mixed_35(288, 64, divisor)
        self.Mixed_6a = mixed_35_to_17(288, divisor)
        self.Mixed_6b = mixed_17(768, 128, divisor)
        self.Mixed_6c = mixed_17(768, 160, divisor)
        self.Mixed_6d = mixed_17(768, 160, divisor)
        self.Mixed_6e = mixed_17(768, 192, divisor)
        self.Mixed_7a = mixed_17_to_8(768, divisor)
        self.Mixed_7b = mixed_8(1280, average(), divisor)
        self.Mixed_7c = mixed_8(2048, maximum(), divisor)
        self.fc = nn.Linear(2048 // divisor, 1008)
        self.memory_format = torch.contiguous_format
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor, taps: Collection[str]) -> dict[str, Tensor]:
        """Run on uint8 images [B, 3, H, W] of any size as far as `taps` require: {tap: [B, TAPS[tap]]}."""
        return self.features(resize_tf1(images.to(self.fc.weight.dtype), SIDE), taps)

    def features(self, pixels: Tensor, taps: Collection[str]) -> dict[str, Tensor]:
        """Run on float pixels [B, 3, 299, 299] in 0 ... 255: {tap: [B, TAPS[tap]]}."""
        x = ((pixels - 128) / 128).contiguous(memory_format=self.memory_format)
        found: dict[str, Tensor] = {}
        for tap, modules in STAGES:
            for name in modules:
                x = self.get_submodule(name)(x)
            if tap in taps:
                found[tap] = self._tap(tap, x)
            if len(found) == len(taps):
                break
        return found

    def _tap(self, tap: str, x: Tensor) -> Tensor:
        if tap == "spatial":
            branch: Tensor = self.Mixed_6d.get_submodule("branch1x1")(x)
            return (
                branch[:, : SPATIAL_CHANNELS // min(self.divisor, SPATIAL_CHANNELS)].permute(0, 2, 3, 1).flatten(1)
            )
        mean = x.mean(dim=(2, 3))
        return mean @ self.fc.weight.T if tap == "logits" else mean

    def faster(self) -> Inception:
        """Fold the normalisations and order memory for convolutions: twice as fast, equal to rounding.

        The network is changed in place and returned. bfloat16 or TF32 would be faster still, and wrong by 1e-2.
        """
        for module in self.modules():
            if isinstance(module, Convolution):
                module.fold()
        self.memory_format = torch.channels_last
        return self.to(memory_format=torch.channels_last)


def resize_tf1(images: Tensor, side: int) -> Tensor:
    """Resize images [B, C, H, W] to `side` squared as TensorFlow 1 does: bilinear, no antialias.

    Pixel i of the result lies at i * H / side of the source, in float32: the corners are aligned, not the
    centres (`align_corners=False`, before half-pixel centres). An image of that size is returned unchanged.
    """
    columns, next_columns, across = _grid(images.shape[3], side, images)
    rows, next_rows, down = _grid(images.shape[2], side, images)
    left, right = images[..., columns], images[..., next_columns]
    wide = left + (right - left) * across
    top, bottom = wide[:, :, rows], wide[:, :, next_rows]
    return top + (bottom - top) * down[:, None]


def _grid(source: int, side: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return both neighbours' indices of each new pixel, and its distance to the first, in `like`'s dtype."""
    scale = torch.tensor(source / side, dtype=torch.float32, device=like.device)
    place = torch.arange(side, dtype=torch.float32, device=like.device) * scale
    first = place.long()
    return first, (first + 1).clamp_max(source - 1), (place - first).to(like.dtype)
