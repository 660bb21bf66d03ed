"""Latents: what the VAE itself gives, scaled; in batches; in float32 whatever surrounds it."""

import torch
from sana_pipelines import tiny_dcae
from text_pipelines import SIDE, normal, taesd, tiny_vae
from torch import Tensor

from bench.models.text.latents import LatentSpace


def images(count: int = 3) -> Tensor:
    return normal(0, count, 3, SIDE, SIDE).clamp(-1, 1)


@torch.no_grad()
def test_the_mean_of_the_posterior_scaled() -> None:
    vae = tiny_vae()
    expected = vae.encode(images()).latent_dist.mean * 0.18215
    found = LatentSpace(vae, batch_size=2).encode(images())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert found.shape[1:] == LatentSpace(vae).shape(SIDE) == (4, 8, 8)


@torch.no_grad()
def test_a_draw_from_the_posterior_has_its_own_noise_per_image() -> None:
    vae = tiny_vae()
    noise = normal(1, 3, 4, 8, 8)
    posterior = vae.encode(images()).latent_dist
    found = LatentSpace(vae, batch_size=2).encode(images(), noise)
    torch.testing.assert_close(found, (posterior.mean + posterior.std * noise) * 0.18215, rtol=1e-5, atol=1e-6)
    torch.manual_seed(3)
    stock = posterior.sample()
    torch.manual_seed(3)
    drawn = LatentSpace(vae, batch_size=3).encode(images(), torch.randn(3, 4, 8, 8))
    torch.testing.assert_close(drawn, stock * 0.18215, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_decoding_undoes_the_scaling() -> None:
    vae, latents = tiny_vae(), normal(2, 3, 4, 8, 8)
    expected = vae.decode(latents / 0.18215).sample
    torch.testing.assert_close(LatentSpace(vae, batch_size=2).decode(latents), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_vae_with_a_shift_has_latents_around_zero() -> None:
    """SD3's and FLUX.1's: (z - shift) scale, and 16 channels without convolutions before and after."""
    vae = tiny_vae(channels=16, scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False)
    space, latents = LatentSpace(vae, batch_size=2), normal(2, 3, 16, 8, 8)
    expected = (vae.encode(images()).latent_dist.mean - 0.0609) * 1.5305
    torch.testing.assert_close(space.encode(images()), expected, rtol=1e-5, atol=1e-6)
    decoded = vae.decode(latents / 1.5305 + 0.0609).sample
    torch.testing.assert_close(space.decode(latents), decoded, rtol=1e-5, atol=1e-5)
    assert space.shape(SIDE) == (16, 8, 8)


@torch.no_grad()
def test_autocast_stays_outside() -> None:
    space, latents = LatentSpace(tiny_vae()), normal(2, 1, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        decoded, encoded = space.decode(latents), space.encode(images(1))
    assert decoded.dtype == encoded.dtype == torch.float32
    assert torch.equal(decoded, space.decode(latents))


def test_gradients_pass_the_decoder_and_train_nothing() -> None:
    space, latents = LatentSpace(tiny_vae()), normal(2, 1, 4, 8, 8).requires_grad_()
    space.decode(latents).square().sum().backward()
    assert latents.grad is not None and latents.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in space.parameters())


@torch.no_grad()
def test_a_tiny_vae_is_a_latent_space_too() -> None:
    vae, latents = taesd(), normal(2, 1, 4, 8, 8)
    space = LatentSpace(vae)
    assert space.shape(SIDE) == (4, 8, 8)
    torch.testing.assert_close(space.decode(latents), vae.decode(latents).sample)
    torch.testing.assert_close(space.encode(images(1)), vae.encode(images(1)).latents)


@torch.no_grad()
def test_sanas_autoencoder_is_a_latent_space_without_variance() -> None:
    torch.manual_seed(0)
    autoencoder, latents = tiny_dcae(), normal(2, 3, 4, 8, 8)
    space = LatentSpace(autoencoder, batch_size=2)
    assert space.shape(SIDE) == (4, 8, 8)
    expected = autoencoder.encode(images()).latent * 0.41407
    torch.testing.assert_close(space.encode(images()), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(space.encode(images(), latents), space.encode(images()))
    decoded = autoencoder.decode(latents / 0.41407).sample
    torch.testing.assert_close(space.decode(latents), decoded, rtol=1e-5, atol=1e-5)
