"""DiT and SiT on diffusers' network: equal to the stock pipeline, and to SiT's own way of counting time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from class_transformers import CLASSES, SIDE, tiny_pipeline, tiny_transformer
from diffusers import DiTTransformer2DModel
from torch import Tensor

from bench.models.backbones.dit import DiTDenoiser, SiTDenoiser, linear_schedule, small_network
from bench.models.denoiser import Denoiser, GuidedDenoiser
from bench.models.samplers import SampleNoise, ddim, few_step_ode, flow_ode
from bench.models.saved import load_denoiser, save_denoiser
from bench.models.schedules import FlowSchedule, VPSchedule

LABELS = torch.tensor([3, 999])
SHAPE = (4, SIDE, SIDE)


def dit() -> DiTDenoiser:
    return DiTDenoiser(tiny_transformer(), linear_schedule()).eval()


def sit() -> SiTDenoiser:
    return SiTDenoiser(tiny_transformer(), FlowSchedule()).eval()


def noise() -> SampleNoise:
    return SampleNoise([5, 6], SHAPE)


def guided(denoiser: DiTDenoiser | SiTDenoiser, scale: float) -> Denoiser:
    return denoiser if scale == 1 else GuidedDenoiser(denoiser, denoiser.null_condition, scale)


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("steps", [1, 2, 10])
@torch.no_grad()
def test_ddim_gives_the_images_of_the_stock_pipeline(steps: int, scale: float) -> None:
    pipeline = tiny_pipeline()
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler.register_to_config(timestep_spacing="trailing")
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
    images = pipeline(LABELS.tolist(), scale, generators, steps, output_type="pt").images
    latents = ddim(guided(dit(), scale), noise(), LABELS, steps)
    found = pipeline.vae.decode(latents / 0.18215).sample
    torch.testing.assert_close((found / 2 + 0.5).clamp(0, 1), images, rtol=0, atol=1e-5)


def velocity(network: DiTTransformer2DModel, x: Tensor, time: float, labels: Tensor, scale: float) -> Tensor:
    """SiT's own: time 0 is noise, time 1 is data, the velocity leads to the data."""
    t = torch.full((len(x),), time)
    conditional, null = (
        network(x, timestep=t, class_labels=one).sample[:, :4]
        for one in (labels, torch.full_like(labels, CLASSES))
    )
    return null + scale * (conditional - null)


@pytest.mark.parametrize("scale", [1.0, 1.5])
@pytest.mark.parametrize("steps", [1, 2, 10])
@torch.no_grad()
def test_euler_gives_what_sit_gives_from_noise_at_0_to_data_at_1(steps: int, scale: float) -> None:
    network, x = tiny_transformer(), noise().draw()
    for i in range(steps):
        x = x + velocity(network, x, i / steps, LABELS, scale) / steps
    times = [1 - i / steps for i in range(steps)]
    for found in (
        flow_ode(guided(sit(), scale), noise(), LABELS, times, second_order=False),
        ddim(guided(sit(), scale), noise(), LABELS, steps),
    ):
        torch.testing.assert_close(found, x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1.5])
@torch.no_grad()
def test_heun_gives_what_sit_gives_but_for_the_last_step(scale: float) -> None:
    network, x, steps = tiny_transformer(), noise().draw(), 5
    for i in range(steps):
        slope = velocity(network, x, i / steps, LABELS, scale)
        if i < steps - 1:
            ahead = velocity(network, x + slope / steps, (i + 1) / steps, LABELS, scale)
            slope = (slope + ahead) / 2
        x = x + slope / steps
    found = flow_ode(guided(sit(), scale), noise(), LABELS, [1 - i / steps for i in range(steps)])
    torch.testing.assert_close(found, x, rtol=0, atol=1e-5)


def test_the_schedule_of_dit_is_that_of_the_stock_scheduler() -> None:
    ours, stock = linear_schedule(), tiny_pipeline().scheduler.alphas_cumprod.double()
    torch.testing.assert_close(ours.alpha(ours.grid) ** 2, stock, rtol=1e-4, atol=0)  # float32 there
    assert isinstance(ours, VPSchedule) and ours.prediction == "epsilon"


@pytest.mark.parametrize("build", [dit, sit])
def test_training_keeps_the_classes_that_it_is_given(build) -> None:
    """diffusers' embedders drop a tenth of the classes in training mode, in each block another tenth."""
    denoiser, x = build().train(), torch.randn(64, *SHAPE)
    t, labels = torch.full((64,), 0.5), torch.arange(64)
    once = denoiser(x, t, labels)
    assert torch.equal(once, denoiser(x, t, labels))
    assert torch.equal(once, denoiser.eval()(x, t, labels))


@pytest.mark.parametrize("build", [dit, sit])
def test_features_are_the_tokens_that_pass_the_blocks(build) -> None:
    denoiser, x = build(), torch.randn(2, *SHAPE)
    t = denoiser.schedule.grid[[200, 700]]
    alone = denoiser.features(x, t, LABELS)
    _, passed = denoiser.with_features(x, t, LABELS)
    assert [tuple(one.shape[1:]) for one in alone] == list(denoiser.feature_shapes) == [(16, 4, 4)]
    assert torch.equal(alone[0], passed[0])
    sum(one.sum() for one in denoiser.deep_features(x, t, LABELS)).backward()
    reached = {name for name, one in denoiser.named_parameters() if one.grad is not None}
    assert any("transformer_blocks.1" in name for name in reached)
    assert not any("proj_out" in name for name in reached)
    ending = {id(one) for name, one in denoiser.named_parameters() if "proj_out" in name}
    assert not ending & {id(one) for one in denoiser.feature_parameters()}


@pytest.mark.parametrize("build", [dit, sit])
@torch.no_grad()
def test_a_saved_student_is_read_back_here_and_by_diffusers(build, tmp_path: Path) -> None:
    denoiser = build()
    save_denoiser(denoiser, tmp_path / "student", [999, 499])
    read = load_denoiser(tmp_path / "student", type(denoiser))
    assert read.denoiser.describe() == denoiser.describe() and read.indices == [999, 499]
    expected = few_step_ode(denoiser, noise(), LABELS, [999, 499])
    assert torch.equal(few_step_ode(read.denoiser, noise(), LABELS, read.indices), expected)
    pipeline = tiny_pipeline()
    pipeline.register_modules(transformer=DiTTransformer2DModel.from_pretrained(tmp_path / "student/transformer"))
    stock = type(denoiser)(pipeline.transformer, denoiser.schedule)
    assert torch.equal(few_step_ode(stock, noise(), LABELS, [999, 499]), expected)


def test_a_lora_is_trained_and_merged_into_the_teacher(tmp_path: Path) -> None:
    teacher, student = sit(), sit()
    student.add_adapters(2, 4)
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    save_denoiser(student, tmp_path / "lora", [999])
    read = load_denoiser(tmp_path / "lora", SiTDenoiser, teacher).denoiser
    given = torch.randn(2, *SHAPE), torch.tensor([0.5, 1.0]), LABELS
    with torch.no_grad():
        torch.testing.assert_close(read(*given), student(*given), rtol=0, atol=1e-4)
        assert not torch.allclose(read(*given), teacher(*given), atol=1e-2)


@torch.no_grad()
def test_a_small_network_of_a_micro_task_gives_no_variance() -> None:
    denoiser = SiTDenoiser(small_network((1, 14, 14), 10, 32, 2, 2), FlowSchedule())
    assert (denoiser.sample_shape, denoiser.classes, denoiser.null_condition.tolist()) == ((1, 14, 14), 10, [10])
    x_t, t = torch.randn(2, 1, 14, 14), torch.tensor([0.0, 1.0])
    assert torch.equal(denoiser(x_t, t, LABELS % 11)[0], x_t[0]), "at time 0 there is no noise"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"betas": [0.02, 1e-4, 1000]}, "betas are"),
        ({"betas": [1e-4, 0.02, 10**6]}, "betas are"),
        ({"frequencies": "fast"}, "frequencies are 'fast'; known: diffusers, official"),
        ({"taps": ["mid"]}, "known: early, middle"),
    ],
)
def test_a_damaged_description_is_refused(damage, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiTDenoiser(tiny_transformer(), **DiTDenoiser.options({**dit().describe(), **damage}))
