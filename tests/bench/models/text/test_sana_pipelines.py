"""SANA's pipelines from their folders; students saved here make the same images in the stock pipeline."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SanaPipeline, SanaTransformer2DModel
from sana_pipelines import LATENT_SHAPE, PROMPTS, SIDE, tiny_sana, tiny_sprint

from bench.core.errors import UserError
from bench.models.backbones.sana import SanaDenoiser, sprint_times
from bench.models.denoiser import GuidedDenoiser
from bench.models.samplers import SampleNoise, few_step, few_step_ode
from bench.models.saved import LORA_FILE, load_denoiser, save_denoiser
from bench.models.text.pipelines import load_pipeline

PUBLISHED = {"_class_name": "DPMSolverMultistepScheduler", "prediction_type": "flow_prediction", "flow_shift": 3.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SANA whose network is in several files, as those of the larger ones are."""
    found: Path = tmp_path_factory.mktemp("sana")
    pipeline = tiny_sana()
    pipeline.save_pretrained(found)
    (found / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    pipeline.transformer.save_pretrained(found / "transformer", max_shard_size="10KB")
    assert len(list((found / "transformer").glob("*.safetensors"))) > 1
    return found


@pytest.fixture(scope="module")
def sprint_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found: Path = tmp_path_factory.mktemp("sprint")
    tiny_sprint().save_pretrained(found)
    return found


def noise() -> SampleNoise:
    return SampleNoise([5, 6], LATENT_SHAPE)


def stock_images(pipeline: Any, **options: Any) -> torch.Tensor:
    """What a stock pipeline makes of two prompts and the first noise: images in [0, 1]."""
    size = {"height": SIDE, "width": SIDE, "use_resolution_binning": False, "output_type": "pt"}
    images: torch.Tensor = pipeline(PROMPTS[:2], latents=noise().draw(), **size, **options).images
    return images


@torch.no_grad()
def test_a_folder_makes_the_images_of_the_stock_pipeline_from_prompts(folder: Path) -> None:
    stock = SanaPipeline.from_pretrained(folder, local_files_only=True)
    stock.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    stock.set_progress_bar_config(disable=True)
    expected = stock_images(stock, num_inference_steps=3, guidance_scale=4.5)

    pipeline = load_pipeline(folder)
    assert pipeline.resolution == SIDE
    denoiser = pipeline.denoiser()
    assert isinstance(denoiser, SanaDenoiser)
    denoiser.schedule, indices = denoiser.schedule.with_times(stock.scheduler.sigmas[:-1].tolist())
    guided = GuidedDenoiser(denoiser, pipeline.encoder.null_condition(), 4.5)
    latents = few_step_ode(guided, noise(), pipeline.encoder.encode(PROMPTS[:2]), indices)
    images = (pipeline.latents.decode(latents) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(images, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_sana_sprint_is_a_student_whose_steps_are_on_the_grid(sprint_folder: Path) -> None:
    pipeline = load_pipeline(sprint_folder)
    denoiser = pipeline.denoiser()
    assert isinstance(denoiser, SanaDenoiser) and denoiser.embedded_guidance == 4.5
    assert denoiser.schedule.grid[[999, 782]].tolist() == sprint_times(2)
    found = few_step(denoiser, noise(), pipeline.encoder.encode(PROMPTS[:2]), [999, 782])

    generators = noise().generators
    for generator in generators:
        torch.randn(LATENT_SHAPE, generator=generator)  # the first noise of each is given
    expected = stock_images(tiny_sprint(), num_inference_steps=2, guidance_scale=4.5, generator=generators)
    torch.testing.assert_close(
        (pipeline.latents.decode(found) / 2 + 0.5).clamp(0, 1), expected, rtol=1e-5, atol=1e-5
    )


def trained(denoiser: SanaDenoiser) -> SanaDenoiser:
    """What training leaves: other weights, of a LoRA where there is one."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in denoiser.network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return denoiser


@torch.no_grad()
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_a_stock_pipeline_makes_the_student_s_images(folder: Path, tmp_path: Path, lora: bool) -> None:
    pipeline = load_pipeline(folder)
    teacher = pipeline.denoiser()
    student = load_pipeline(folder).denoiser()
    assert isinstance(teacher, SanaDenoiser) and isinstance(student, SanaDenoiser)
    student.add_adapters(4, 8.0) if lora else student.requires_grad_(True)
    save_denoiser(trained(student), tmp_path / "student", [999])

    stock = SanaPipeline.from_pretrained(folder, local_files_only=True)
    stock.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    stock.set_progress_bar_config(disable=True)
    before = stock_images(stock, num_inference_steps=1, guidance_scale=1.0)
    if lora:
        assert (tmp_path / "student" / LORA_FILE).is_file()
        stock.load_lora_weights(tmp_path / "student")
    else:
        stock.transformer = SanaTransformer2DModel.from_pretrained(tmp_path / "student" / "transformer")
    expected = stock_images(stock, num_inference_steps=1, guidance_scale=1.0)
    assert not torch.allclose(before, expected, atol=1e-2)

    condition = pipeline.encoder.encode(PROMPTS[:2])
    for denoiser in (student, load_denoiser(tmp_path / "student", SanaDenoiser, teacher).denoiser):
        latents = few_step(denoiser, noise(), condition, [999])
        images = (pipeline.latents.decode(latents) / 2 + 0.5).clamp(0, 1)
        torch.testing.assert_close(images, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("scheduler", "shift"),
    [
        ({**PUBLISHED, "use_flow_sigmas": True}, 3.0),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 6.0, "use_dynamic_shifting": False}, 6.0),
        ({"_class_name": "SCMScheduler", "prediction_type": "trigflow"}, 1.0),
    ],
)
def test_the_shift_of_published_schedulers(scheduler: dict[str, Any], shift: float) -> None:
    assert SanaDenoiser.schedule_options(scheduler) == {"shift": shift}


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ({"_class_name": "DDIMScheduler"}, "the scheduler is 'DDIMScheduler'"),
        (PUBLISHED, "use_flow_sigmas is None; only True is known"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift_terminal": 0.1}, "shift_terminal"),
        (
            {**PUBLISHED, "use_flow_sigmas": True, "flow_shift": "3"},
            "shift is '3', and a positive number is wanted",
        ),
    ],
)
def test_a_scheduler_of_another_kind_is_refused(scheduler: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SanaDenoiser.schedule_options(scheduler)


def test_a_resolution_without_whole_latents_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="fix: name a multiple of 2"):
        load_pipeline(folder).denoiser(33)
