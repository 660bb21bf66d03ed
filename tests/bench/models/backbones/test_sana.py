"""SANA and SANA-Sprint: samples equal those of the stock pipelines, given the same noise, embeddings and mask."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from sana_pipelines import LATENT_SHAPE, SIDE, TEXT_WIDTH, TOKENS, tiny_sana, tiny_sprint, tiny_transformer
from torch import Tensor

from bench.models.backbones.sana import SanaDenoiser, small_network, sprint_times
from bench.models.denoiser import Denoiser, GuidedDenoiser
from bench.models.samplers import SampleNoise, few_step, few_step_ode
from bench.models.saved import load_denoiser, save_denoiser
from bench.models.schedules import FlowSchedule
from bench.models.text.layout import ConditionLayout

LAYOUT = ConditionLayout(TOKENS, TEXT_WIDTH, mask=True)
SEEDS = [5, 6]


def conditions() -> Tensor:
    """Conditions of prompts of seven and of three tokens, and the unconditional one, of one token."""
    embeddings = torch.randn(3, TOKENS, TEXT_WIDTH, generator=torch.Generator().manual_seed(3))
    mask = torch.arange(TOKENS) < torch.tensor([[7], [3], [1]])
    return LAYOUT.pack(embeddings, mask=mask)


def call(pipeline: Any, condition: Tensor, null: Tensor | None = None, **options: Any) -> Tensor:
    """Call a stock pipeline with the first noise of `SEEDS` and conditions instead of prompts: latents."""

    def named(one: Tensor, name: str) -> dict[str, Tensor]:
        return {f"{name}embeds": LAYOUT.unpack(one)[0], f"{name}attention_mask": LAYOUT.unpack_mask(one)}

    given: dict[str, Any] = named(condition, "prompt_")
    if null is not None:
        given |= named(null.expand_as(condition), "negative_prompt_") | {"negative_prompt": None}
    size = {"height": SIDE, "width": SIDE, "use_resolution_binning": False, "output_type": "latent"}
    images: Tensor = pipeline(**given, latents=noise().draw(), **size, **options).images
    return images


def noise() -> SampleNoise:
    return SampleNoise(SEEDS, LATENT_SHAPE)


@torch.no_grad()
@pytest.mark.parametrize("guidance", [1.0, 4.5])
@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize(
    "network", [{}, {"timestep_scale": 0.001}, {"out_channels": 8, "interpolation_scale": 1.0}]
)
def test_samples_equal_those_of_the_stock_pipeline(steps: int, guidance: float, network: dict[str, Any]) -> None:
    pipeline, texts, null = tiny_sana(), conditions()[:2], conditions()[2:]
    torch.manual_seed(0)
    pipeline.transformer = tiny_transformer(**network)
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    stock = call(pipeline, texts, null, num_inference_steps=steps, guidance_scale=guidance)

    schedule, indices = FlowSchedule(3.0).with_times(pipeline.scheduler.sigmas[:-1].tolist())
    denoiser: Denoiser = SanaDenoiser(pipeline.transformer, schedule, LAYOUT)
    found = few_step_ode(GuidedDenoiser(denoiser, null, guidance), noise(), texts, indices)
    torch.testing.assert_close(found, stock, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("guidance", [4.5, 7.0])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_samples_of_sana_sprint_equal_those_of_its_stock_pipeline(steps: int, guidance: float) -> None:
    pipeline, texts = tiny_sprint(), conditions()[:2]
    generators = noise().generators
    for generator in generators:
        torch.randn(LATENT_SHAPE, generator=generator)  # the first noise of each is given
    options = {} if steps == 2 else {"intermediate_timesteps": None}
    stock = call(
        pipeline, texts, num_inference_steps=steps, guidance_scale=guidance, generator=generators, **options
    )

    schedule, indices = FlowSchedule().with_times(sprint_times(steps))
    denoiser = SanaDenoiser(pipeline.transformer, schedule, LAYOUT, embedded_guidance=guidance)
    torch.testing.assert_close(few_step(denoiser, noise(), texts, indices), stock, rtol=1e-5, atol=5e-5)


def test_the_stock_pipelines_trigflow_output_is_our_estimate_of_x() -> None:
    """In float64, with SANA-Sprint's formulas: F of the velocity v, then x = cos(a) u - sin(a) F."""
    generator = torch.Generator().manual_seed(0)
    u, v = torch.randn(2, 100, generator=generator).double(), torch.randn(2, 100, generator=generator).double()
    angle = torch.tensor([[0.1], [1.3]]).double()
    cos, sin = angle.cos(), angle.sin()
    t = sin / (cos + sin)
    norm = (t**2 + (1 - t) ** 2).sqrt()
    x_t = u * norm
    trigflow = ((1 - 2 * t) * x_t + (1 - 2 * t + 2 * t**2) * v) / norm
    torch.testing.assert_close(cos * u - sin * trigflow, x_t - t * v, rtol=1e-12, atol=1e-12)


def test_steps_of_sana_sprint_are_at_noise_levels_of_trigflow() -> None:
    first, second = sprint_times(2)
    assert first == 1
    assert second / (1 - second) == pytest.approx(math.tan(1.3))
    levels = [t / (1 - t) for t in sprint_times(4)[1:]]
    assert levels == pytest.approx([math.tan(math.pi * eighths / 8) for eighths in (3, 2, 1)])


@torch.no_grad()
def test_padding_changes_nothing_and_the_mask_matters() -> None:
    torch.manual_seed(0)
    denoiser = SanaDenoiser(tiny_transformer(), FlowSchedule(3.0), LAYOUT)
    x_t, t, condition = torch.randn(2, *LATENT_SHAPE), torch.tensor([0.3, 0.9]), conditions()[:2]
    embeddings, mask = LAYOUT.unpack(condition)[0], LAYOUT.unpack_mask(condition)
    others = torch.where(mask[..., None] == 1, embeddings, 9.0)
    expected = denoiser(x_t, t, condition)
    torch.testing.assert_close(denoiser(x_t, t, LAYOUT.pack(others, mask=mask)), expected, rtol=0, atol=1e-6)
    unmasked = LAYOUT.pack(embeddings, mask=torch.ones_like(mask))
    assert not torch.allclose(denoiser(x_t, t, unmasked), expected, atol=1e-4)


@torch.no_grad()
def test_features_are_the_tokens_that_pass_the_blocks() -> None:
    torch.manual_seed(0)
    denoiser = SanaDenoiser(tiny_transformer(), FlowSchedule(3.0), LAYOUT, taps=("early", "late"))
    x_t, t, condition = torch.randn(2, *LATENT_SHAPE), torch.tensor([0.3, 0.9]), conditions()[:2]
    alone, (_, passed) = denoiser.features(x_t, t, condition), denoiser.with_features(x_t, t, condition)
    assert [tuple(one.shape[1:]) for one in alone] == list(denoiser.feature_shapes) == [(8, 16, 16)] * 2
    for one, other in zip(alone, passed, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("sprint", [False, True])
def test_features_give_gradients_to_all_their_parameters_and_no_others(sprint: bool) -> None:
    torch.manual_seed(0)
    network = tiny_transformer(guidance_embeds=sprint)
    denoiser = SanaDenoiser(network, FlowSchedule(3.0), LAYOUT, embedded_guidance=4.5 if sprint else None)
    features = denoiser.features(torch.randn(2, *LATENT_SHAPE), torch.tensor([0.3, 0.9]), conditions()[:2])
    features[0].square().sum().backward()
    reached = {id(one) for one in denoiser.parameters() if one.grad is not None}
    assert reached == {id(one) for one in denoiser.feature_parameters()}


@pytest.mark.parametrize("sprint", [False, True])
def test_an_interval_matters_once_it_is_trained(sprint: bool) -> None:
    torch.manual_seed(0)
    network = tiny_transformer(guidance_embeds=sprint)
    denoiser = SanaDenoiser(network, FlowSchedule(3.0), LAYOUT, embedded_guidance=4.5 if sprint else None)
    x_t, t, condition = torch.randn(2, *LATENT_SHAPE), torch.tensor([0.3, 0.9]), conditions()[:2]
    plain = denoiser(x_t, t, condition)
    denoiser.add_interval()
    assert denoiser.interval is not None
    torch.testing.assert_close(denoiser(x_t, t, condition), plain)
    torch.nn.init.normal_(denoiser.interval.linear.weight)
    assert not torch.allclose(denoiser(x_t, t, condition), plain)


@pytest.mark.parametrize("guidance", [None, 4.5])
def test_a_saved_denoiser_is_read_back_with_its_mask_and_guidance(tmp_path: Path, guidance: float | None) -> None:
    torch.manual_seed(0)
    network = tiny_transformer(guidance_embeds=guidance is not None)
    denoiser = SanaDenoiser(network, FlowSchedule(3.0), LAYOUT, side=8, embedded_guidance=guidance, taps=("late",))
    denoiser.requires_grad_(False)  # as it is read; torch multiplies weights that train in another order
    save_denoiser(denoiser, tmp_path / "saved", [999, 499])
    found = load_denoiser(tmp_path / "saved", SanaDenoiser).denoiser
    assert found.describe() == denoiser.describe()
    assert (found.layout, found.embedded_guidance) == (LAYOUT, guidance)
    x_t, t = torch.randn(2, 4, 8, 8), torch.tensor([0.3, 0.9])
    torch.testing.assert_close(found(x_t, t, conditions()[:2]), denoiser(x_t, t, conditions()[:2]), rtol=0, atol=0)


def test_a_small_network_is_one_of_the_family() -> None:
    torch.manual_seed(0)
    network = small_network((3, 8, 8), width=16, layers=2, heads=2, text_width=TEXT_WIDTH)
    denoiser = SanaDenoiser(network, FlowSchedule(), LAYOUT)
    assert denoiser.sample_shape == (3, 8, 8)
    assert denoiser(torch.randn(2, 3, 8, 8), torch.tensor([0.3, 1.0]), conditions()[:2]).shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("layout", "guidance", "message"),
    [
        (ConditionLayout(TOKENS, TEXT_WIDTH), None, "with a mask"),
        (ConditionLayout(TOKENS, 16, mask=True), None, "embeddings of 8 numbers"),
        (LAYOUT, 4.5, "guidance_embeds False does not go with embedded_guidance 4.5"),
    ],
)
def test_what_does_not_fit_the_network_is_refused(
    layout: ConditionLayout, guidance: float | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        SanaDenoiser(tiny_transformer(), FlowSchedule(), layout, embedded_guidance=guidance)
