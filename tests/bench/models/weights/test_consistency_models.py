"""Consistency models: scalings in closed form, and samples equal to diffusers' own pipeline."""

import math

import pytest
import torch
from diffusers import CMStochasticIterativeScheduler, ConsistencyModelPipeline, UNet2DModel
from torch import Tensor

from bench.models.backbones.edm import EDMDenoiser, small_network
from bench.models.samplers import SampleNoise, few_step
from bench.models.schedules import EDMSchedule
from bench.models.weights.consistency import ConsistencyDenoiser, ConsistencySchedule, published_steps

SIDE = 8


def tiny_unet() -> UNet2DModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return small_network((3, SIDE, SIDE), 3, (8, 8), attention_head_dim=8, norm_groups=4).eval()


@pytest.fixture
def denoiser() -> ConsistencyDenoiser:
    return ConsistencyDenoiser(tiny_unet(), EDMSchedule())


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    return x, torch.tensor([0.002, 0.1, 1.0, 20.0, 80.0]), torch.tensor([0, 1, 2, 0, 1])


@pytest.mark.parametrize("sigma_min", [0.002, 0.5])
def test_scalings_written_out_sample_by_sample(batch: tuple[Tensor, Tensor, Tensor], sigma_min: float) -> None:
    x, sigmas, condition = batch
    denoiser, sd = ConsistencyDenoiser(tiny_unet(), EDMSchedule(), sigma_min=sigma_min), 0.5
    with torch.no_grad():
        found = denoiser(x, sigmas, condition)
        for i, sigma in enumerate(sigmas.tolist()):
            c_skip = sd**2 / ((sigma - sigma_min) ** 2 + sd**2)
            c_out = (sigma - sigma_min) * sd / math.sqrt(sigma**2 + sd**2)
            c_in = 1 / math.sqrt(sigma**2 + sd**2)
            c_noise = torch.tensor([1000 * 0.25 * math.log(sigma)])
            raw = denoiser.network(c_in * x[i : i + 1], c_noise, class_labels=condition[i : i + 1]).sample
            # The embedding takes the cosine of numbers up to 1,550 in float32: 1e-4 apart is one rounding.
            torch.testing.assert_close(found[i : i + 1], c_skip * x[i : i + 1] + c_out * raw, rtol=1e-3, atol=1e-4)


def test_at_sigma_min_it_is_the_identity(
    denoiser: ConsistencyDenoiser, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, _, condition = batch
    with torch.no_grad():
        assert torch.equal(denoiser(x, torch.full((5,), 0.002), condition), x)


def test_without_boundary_and_with_edm_s_scale_it_is_edm(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    unet = tiny_unet()
    same = ConsistencyDenoiser(unet, EDMSchedule(), noise_scale=0.25, sigma_min=0.0)
    edm = EDMDenoiser(unet, EDMSchedule(), taps=("encoder",))
    with torch.no_grad():
        torch.testing.assert_close(same(*batch), edm(*batch))
        torch.testing.assert_close(same.features(*batch), edm.features(*batch))


def test_features_see_the_same_noise_input(
    denoiser: ConsistencyDenoiser, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, sigmas, condition = batch
    seen: list[Tensor] = []
    denoiser.network.time_proj.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        denoiser(x, sigmas, condition)
        denoiser.features(x, sigmas, condition)
    assert torch.equal(*seen)
    torch.testing.assert_close(seen[0], 250 * sigmas.log())


# Samples


class Fixed(SampleNoise):
    """Noise that is given, not drawn."""

    def __init__(self, draws: list[Tensor]) -> None:
        self.draws = list(draws)

    def draw(self) -> Tensor:
        return self.draws.pop(0)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize(("levels", "second"), [(40, 22), (201, 106)], ids=["CD", "CT"])
def test_samples_are_those_of_diffusers(
    denoiser: ConsistencyDenoiser, levels: int, second: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another implementation of the scalings, the levels and the sampler, given the same noise."""
    timesteps = [second, 0][-steps:]
    generator = torch.Generator().manual_seed(3)
    draws = [torch.randn(2, 3, SIDE, SIDE, generator=generator) for _ in range(3)]
    scheduler = CMStochasticIterativeScheduler(num_train_timesteps=levels)
    pipeline = ConsistencyModelPipeline(denoiser.network, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    noise = iter(draws[1:])
    module = "diffusers.schedulers.scheduling_consistency_models.randn_tensor"
    monkeypatch.setattr(module, lambda *_, **__: next(noise))
    theirs = pipeline(
        batch_size=2,
        class_labels=[0, 2],
        num_inference_steps=None,
        timesteps=timesteps,
        latents=draws[0],
        output_type="pt",
    ).images
    denoiser.schedule = schedule = ConsistencySchedule(levels)
    indices = published_steps(schedule)[steps]
    torch.testing.assert_close(schedule.grid[indices].float(), scheduler.sigmas[:-1], rtol=1e-6, atol=0)
    with torch.no_grad():
        ours = few_step(denoiser, Fixed(draws), torch.tensor([0, 2]), indices)
    # The last noise of diffusers has the scale 0.
    torch.testing.assert_close(ours.clamp(-1, 1) / 2 + 0.5, theirs, rtol=1e-3, atol=1e-4)


def test_estimates_are_clamped_before_they_are_noised_again() -> None:
    schedule = ConsistencySchedule()
    x, eps, t = torch.tensor([[[[3.0, -0.5]]]]), torch.ones(1, 1, 1, 2), torch.tensor([0.004])
    expected = torch.tensor([[[[1.0, -0.5]]]]) + math.sqrt(0.004**2 - 0.002**2)
    torch.testing.assert_close(schedule.add_noise(x, eps, t), expected)
    torch.testing.assert_close(schedule.add_noise(x, eps, torch.tensor([0.002])), x.clamp(max=1))


def test_of_other_numbers_of_levels_only_one_step_was_published() -> None:
    assert published_steps(ConsistencySchedule(151)) == {1: [150]}
