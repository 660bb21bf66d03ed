from __future__ import annotations
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from tasks.micro import TrainingRecipe
if TYPE_CHECKING:
    from torch import Tensor

@dataclass(frozen=True)
class PixelScale:
    """Scenes in model space: pixels in [-1, 1], shifted and scaled to mean 0 and standard deviation 1.

    Most of a scene is black; a VP schedule is made for data of that size, as latent diffusion's are.
    """

    mean: float
    std: float

    def to_model(self, pixels: Tensor) -> Tensor:
        """Pixels in [-1, 1] -> model space."""
        return (pixels - self.mean) / self.std

    def to_pixels(self, x0: Tensor) -> Tensor:
        """Model space -> pixels, [-1, 1] if the image is a possible one."""
        return x0 * self.std + self.mean


@dataclass(frozen=True)
class PainterSpec:
    """Size of the UNet2DConditionModel and of the text encoder that it reads."""

    channels: tuple[int, ...]
    patch_size: int
    text_width: int
    text_layers: int
    tokens: int = 8
    heads: int = 2
    norm_groups: int = 8
    prediction: Literal["epsilon", "v"] = "v"


@dataclass(frozen=True)
class ScenesTeacherRecipe(TrainingRecipe):
    """How the teacher and its text encoder are trained."""

    caption_dropout: float = 0.1
