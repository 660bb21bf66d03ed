"""SDXL's one-step student is pretrained on pairs, by LPIPS of the latents that a tiny VAE decodes."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from accelerate import Accelerator
from text_pipelines import LATENT_SIDE, SIDE, normal, taesd, tiny_unet

from bench.core.files import file_sha256
from bench.features.networks.lpips_network import lpips_network
from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.schedules import VPSchedule
from bench.models.text.latents import LatentSpace
from bench.models.text.layout import ConditionLayout
from bench.training.distiller import Batch, Pairs, TrainingContext
from bench.training.step_rng import StepRNG
from methods import perceptual
from methods.perceptual import lpips_distance
from methods.recipes import RegressionRecipe
from methods.regression import RegressionDistiller

LAYOUT = ConditionLayout(tokens=77, width=40, pooled=24)
LATENTS = (4, LATENT_SIDE, LATENT_SIDE)
PAIRS = Pairs(normal(1, 5, *LATENTS), normal(2, 5, *LATENTS), normal(3, 5, LAYOUT.size))


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a random VGG16 as torchvision does."""
    path = tmp_path_factory.mktemp("weights") / "vgg16.pth"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(torchvision.models.vgg16().features.state_dict(prefix="features."), path)
    return path


@pytest.fixture(scope="module")
def space() -> LatentSpace:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return LatentSpace(taesd(), batch_size=1)


@pytest.fixture
def method(trunk: Path, space: LatentSpace, monkeypatch: pytest.MonkeyPatch) -> RegressionDistiller:
    monkeypatch.setattr(perceptual, "VGG16", replace(perceptual.VGG16, sha256=file_sha256(trunk)))
    recipe = RegressionRecipe(
        student_start=0.399,
        batch_size=2,
        lr=1e-4,
        clip_norm=1e9,
        pairs=5,
        regression_distance="lpips",
        lpips_pooling="average",
        lpips_weights=trunk,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        teacher = StableDiffusionDenoiser(tiny_unet(sdxl=True), VPSchedule(), LAYOUT, resolution=SIDE)
    context = TrainingContext(
        Accelerator(cpu=True), teacher.eval().requires_grad_(False), None, lambda _: PAIRS, lambda: space.decode
    )
    return RegressionDistiller(recipe, context)


def batch() -> Batch:
    nothing = torch.zeros(2, LAYOUT.size)
    return Batch(0, StepRNG(0, 0), nothing, torch.zeros(2, *LATENTS), nothing)


@pytest.mark.usefixtures("kept_gradients")
def test_a_step_is_that_of_the_composition_written_out(
    method: RegressionDistiller, space: LatentSpace, trunk: Path
) -> None:
    """Noise as it is at t = 399, x0 by alpha-bar there, both latents through the VAE, LPIPS, plain autograd."""
    student, lpips = copy.deepcopy(method.generator.network), lpips_network("vgg", trunk, "average")
    times: list[float] = []
    method.generator.network.register_forward_hook(lambda _module, given, _made: times.extend(given[1].tolist()))
    figures = method.training_step(batch())
    assert times == [399, 399]

    positions = StepRNG(0, 0).integers(0, 5, 2)
    t = torch.full((2,), 399.0)
    alpha_bar = float(torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000).double() ** 2, 0)[399])
    z = PAIRS.noise[positions]
    predicted = student.network(
        z,
        t,
        LAYOUT.unpack(PAIRS.condition[positions])[0],
        added_cond_kwargs={
            "text_embeds": LAYOUT.unpack(PAIRS.condition[positions])[1],
            "time_ids": torch.tensor([[16.0, 16, 0, 0, 16, 16]] * 2),
        },
    ).sample
    x0 = (z - (1 - alpha_bar) ** 0.5 * predicted) / alpha_bar**0.5
    made, wanted = space.vae.decode(x0).sample, space.vae.decode(PAIRS.image[positions]).sample
    loss = lpips_distance(lpips, made, wanted)
    loss.backward()

    torch.testing.assert_close(figures["loss/regression"], loss.detach())
    expected = dict(student.named_parameters())
    for name, parameter in method.generator.network.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=1e-3, atol=1e-6, msg=name)


def test_gradients_reach_the_student_and_neither_the_vae_nor_the_pairs(
    method: RegressionDistiller, space: LatentSpace
) -> None:
    vae = copy.deepcopy(space.vae.state_dict())
    method.training_step(batch())
    assert method.generator.gradient_norm is not None and float(method.generator.gradient_norm) > 0
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in space.parameters())
    assert all(torch.equal(before, space.vae.state_dict()[name]) for name, before in vae.items())
    assert PAIRS.image.grad is None
