"""The small networks of the micro tasks: a UNet2DModel over patches and a feature classifier."""

from __future__ import annotations

from dataclasses import dataclass

from diffusers import UNet2DModel
from torch import Tensor, nn

from tasks.micro.task import NetworkSpec


def micro_unet(spec: NetworkSpec, image_shape: tuple[int, int, int], classes: int) -> UNet2DModel:
    """Build the micro tasks' UNet2DModel: EDM's block design (scale-shift conditioning), few channels."""
    image_channels, size, _ = image_shape
    levels = len(spec.channels)
    return UNet2DModel(
        sample_size=size // spec.patch_size,
        in_channels=image_channels * spec.patch_size**2,
        out_channels=image_channels * spec.patch_size**2,
        block_out_channels=spec.channels,
        layers_per_block=spec.layers_per_block,
        down_block_types=("DownBlock2D",) * levels,
        up_block_types=("UpBlock2D",) * levels,
        attention_head_dim=spec.attention_head_dim,
        norm_num_groups=spec.norm_groups,
        attn_norm_num_groups=spec.norm_groups,
        resnet_time_scale_shift="scale_shift",
        num_class_embeds=classes,
    )


@dataclass(frozen=True)
class Extraction:
    """What the feature network says of a batch: features [B, D] and class logits [B, K]."""

    features: Tensor
    logits: Tensor


class FeatureClassifier(nn.Module):
    """A small convolutional classifier whose last hidden layer is the feature space of FD, KID and P/R."""

    def __init__(self, image_shape: tuple[int, int, int], classes: int, width: int, features: int) -> None:
        super().__init__()
        channels, *sides = image_shape
        height, across = ((side + 3) // 4 for side in sides)  # after two convolutions of stride 2
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(4 * width * height * across, features),
            nn.SiLU(),
        )
        self.output = nn.Linear(features, classes)

    def forward(self, images: Tensor) -> Extraction:
        """Images [B, C, H, W] in [-1, 1] -> features and logits."""
        features = self.trunk(images)
        return Extraction(features, self.output(features))
