"""The settings that only a text-to-image protocol has. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TextRules:
    """The text-to-image part of a protocol: prompts, sizes, scoring networks, the official code's quirks."""

    resolution: int
    """Side in pixels of the generated images."""
    compared_at: int
    """FID: real and generated images are cut to their centre square and resized by LANCZOS to this many
    pixels; then clean-fid's resize follows."""
    small_patches: Literal["squash", "error", "pad"] = "squash"
    """Patch FID: the treatment of real images with a side under 299 pixels; squash: as the official code."""
    prompts: str = "to be chosen"
    """Name and hash of the evaluation's prompts."""
    clip: str = "clip-g14-dmd2"
    """Name of the CLIP protocol (bench.features.scoring)."""
    diversity: str = "lpips-vgg"
    """Name of the diversity protocol (bench.features.scoring)."""
    noise_batch: int = 0
    """0: every sample has its own noise. n: the first noise is drawn as in the official script with batches of
    n, from a generator seeded with the batch's number; it would change with the batch size."""
    first_alpha_bar: float | None = None
    """alpha_bar that the student's first step uses (0.0047 in the official SD1.5 script); None: the model's."""
    first_tokenizer_for_both: bool = False
    """SDXL's second encoder reads the first one's tokens, which are padded otherwise, as in the official
    evaluation. This affects everything that is measured, and not training."""
