"""What changes the numbers of a text-to-image protocol beyond those of any other; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TextRules:
    """Part of a protocol: prompts, sizes, scoring networks, and the quirks of the official evaluation."""

    resolution: int
    """Side in pixels of the generated images."""
    compared_at: int
    """FID: centre square of either side's images, LANCZOS to this many pixels, then clean-fid's resize."""
    small_patches: Literal["squash", "error", "pad"] = "squash"
    """Patch FID: what becomes of real images with a side under 299 pixels; squash: as the official code."""
    prompts: str = "to be chosen"
    """Name and hash of the evaluation's prompts."""
    clip: str = "clip-g14-dmd2"
    """How CLIP scores are taken (bench.features.scoring)."""
    diversity: str = "lpips-vgg"
    """How LPIPS diversity is taken (bench.features.scoring)."""
    noise_batch: int = 0
    """0: every sample's noise is its own. n: first noise as in the official script with batches of n, from a
    generator seeded with the batch's number, so that it would change with the batch size."""
    first_alpha_bar: float | None = None
    """alpha_bar that the student's first step is told (0.0047 in the official SD1.5 script); none: the model's."""
    first_tokenizer_for_both: bool = False
    """SDXL's second encoder reads the first one's tokens, padded otherwise, as in the official evaluation: of
    all that is measured, and not in training."""
