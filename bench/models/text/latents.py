"""The latent space of a text-to-image model: it turns images into scaled latents and back, in float32."""

from __future__ import annotations

import torch
from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderTiny
from torch import Tensor, nn

from bench.core.errors import UserError


class LatentSpace(nn.Module):
    """A frozen autoencoder with its shift and scaling: a VAE, a tiny one (TAESD: faster, blurrier), SANA's DC-AE.

    Latents are (z - shift) * scale of the VAE's own z; only some VAEs have a shift (SD3's, FLUX.1's).

    SDXL's VAE overflows in half precision and bf16 shows in images, so autocast is off inside.
    """

    def __init__(self, vae: AutoencoderKL | AutoencoderTiny | AutoencoderDC, batch_size: int = 4) -> None:
        """`batch_size` is the number of images that pass the VAE at once.

        Raises UserError for a VAE whose latents have a mean and a deviation for each channel (Playground v2.5's).
        """
        super().__init__()
        if given := [key for key in ("latents_mean", "latents_std") if vae.config.get(key) is not None]:
            raise UserError(
                f"the VAE's configuration has {' and '.join(given)}, which scale its latents and are not known "
                "here; fix: name a pipeline with another VAE"
            )
        self.vae = vae.float().eval().requires_grad_(False)
        self.batch_size = batch_size

    @property
    def factor(self) -> int:
        """The number of pixels on each side of an image per latent position."""
        channels = self.vae.config.get("encoder_block_out_channels") or self.vae.config.block_out_channels
        factor: int = 2 ** (len(channels) - 1)
        return factor

    @property
    def shift(self) -> float:
        """What is subtracted from the VAE's own latents before they are scaled; 0 for most."""
        return float(self.vae.config.get("shift_factor") or 0)

    def shape(self, resolution: int) -> tuple[int, int, int]:
        """Return the shape [C, h, w] of the latents of square images."""
        return self.vae.config.latent_channels, resolution // self.factor, resolution // self.factor

    @torch.no_grad()
    def encode(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """Encode images [B, 3, H, W] in [-1, 1] as shifted and scaled latents [B, C, h, w].

        With `noise`, standard normal of the latents' shape, they are draws from the posterior, as the official
        latents are; without it they are its mean. Tiny VAEs and DC-AE have no variance: noise changes nothing.
        """
        parts = []
        for start in range(0, len(images), self.batch_size):
            part = slice(start, start + self.batch_size)
            with torch.autocast(images.device.type, enabled=False):
                encoded = self.vae.encode(images[part].float())
            if isinstance(self.vae, AutoencoderTiny):
                latents = encoded.latents
            elif isinstance(self.vae, AutoencoderDC):
                latents = encoded.latent
            elif noise is None:
                latents = encoded.latent_dist.mean
            else:
                latents = encoded.latent_dist.mean + encoded.latent_dist.std * noise[part]
            parts.append((latents - self.shift) * self.vae.config.scaling_factor)
        return torch.cat(parts)

    def decode(self, latents: Tensor) -> Tensor:
        """Decode scaled latents [B, C, h, w] to images [B, 3, H, W], about [-1, 1], unclipped, with gradients."""
        with torch.autocast(latents.device.type, enabled=False):
            unscaled = latents.float() / self.vae.config.scaling_factor + self.shift
            return torch.cat([self.vae.decode(part).sample for part in unscaled.split(self.batch_size)])
