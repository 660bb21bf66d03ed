"""PixArt: conditions, samples and students equal those of the stock pipelines, read from their folders."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, PixArtAlphaPipeline, PixArtSigmaPipeline, PixArtTransformer2DModel
from pixart_pipelines import LATENT_SHAPE, PROMPTS, SIDE, TEXT_WIDTH, tiny_pixart, tiny_transformer
from torch import Tensor

from bench.core.errors import UserError
from bench.models.backbones.pixart import PixArtDenoiser
from bench.models.samplers import SampleNoise, few_step
from bench.models.saved import load_denoiser, save_denoiser
from bench.models.schedules import VPSchedule
from bench.models.text.layout import ConditionLayout
from bench.models.text.pipelines import load_pipeline
from tasks.text.baselines import TextBaseline
from tasks.text.sampling import sample

LAYOUT = ConditionLayout(10, TEXT_WIDTH, mask=True)
LINEAR = VPSchedule("epsilon", 1e-4, 0.02, betas="linear")
DPM_SOLVER = TextBaseline(
    "teacher",
    "PixArt, DPM-Solver++ steps",
    4,
    scheduler="DPMSolverMultistepScheduler",
    resolution=SIDE,
    source="diffusers' pipelines",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found: Path = tmp_path_factory.mktemp("pixart-sigma")
    tiny_pixart().save_pretrained(found)
    return found


def noise() -> SampleNoise:
    return SampleNoise([5, 6], LATENT_SHAPE)


def stock_latents(stock: Any, **options: Any) -> Tensor:
    size = {"height": SIDE, "width": SIDE, "use_resolution_binning": False, "output_type": "latent"}
    latents: Tensor = stock(PROMPTS[:2], latents=noise().draw(), clean_caption=False, **size, **options).images
    return latents


@torch.no_grad()
@pytest.mark.parametrize(("kind", "tokens"), [(PixArtAlphaPipeline, 120), (PixArtSigmaPipeline, 300)])
def test_conditions_are_what_the_stock_pipelines_encode(tmp_path: Path, kind: Any, tokens: int) -> None:
    stock = tiny_pixart(kind)
    stock.save_pretrained(tmp_path)
    encoder = load_pipeline(tmp_path).encoder
    layout = encoder.layout
    assert layout.tokens == tokens
    embeddings, mask, null, null_mask = stock.encode_prompt(
        PROMPTS, clean_caption=False, max_sequence_length=tokens
    )
    found, nothing = encoder.encode(PROMPTS), encoder.null_condition()
    torch.testing.assert_close(layout.unpack(found)[0], embeddings, rtol=0, atol=1e-5)
    torch.testing.assert_close(layout.unpack(nothing)[0], null[:1], rtol=0, atol=1e-5)
    assert torch.equal(layout.unpack_mask(found), mask.float())
    assert torch.equal(layout.unpack_mask(nothing), null_mask[:1].float())


@torch.no_grad()
@pytest.mark.parametrize("guidance", [1.0, 4.5])
@pytest.mark.parametrize("size", [8, 128])
def test_samples_equal_those_of_the_stock_pipeline(tmp_path: Path, size: int, guidance: float) -> None:
    """A network of 128 latent positions, that of 1,024 pixels, is told the size of its images."""
    stock = tiny_pixart(PixArtAlphaPipeline, sample_size=size)
    stock.save_pretrained(tmp_path)
    pipeline = load_pipeline(tmp_path)
    denoiser = pipeline.denoiser(SIDE)
    assert isinstance(denoiser, PixArtDenoiser) and denoiser.resolution == (SIDE if size == 128 else None)
    condition, null = pipeline.encoder.encode(PROMPTS[:2]), pipeline.encoder.null_condition()
    found = sample(pipeline, replace(DPM_SOLVER, guidance_scale=guidance), noise(), condition, null)
    expected = stock_latents(stock, num_inference_steps=4, guidance_scale=guidance)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_one_step_is_that_of_the_published_student_of_dmd(tmp_path: Path) -> None:
    """PixArt-alpha's own student by DMD takes one step from time 400."""
    stock = tiny_pixart(PixArtAlphaPipeline)
    stock.save_pretrained(tmp_path)
    stock.scheduler = DDPMScheduler.from_config(stock.scheduler.config, clip_sample=False)
    expected = stock_latents(stock, num_inference_steps=1, timesteps=[400], guidance_scale=1.0)
    pipeline = load_pipeline(tmp_path)
    found = few_step(pipeline.denoiser(), noise(), pipeline.encoder.encode(PROMPTS[:2]), [400])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_full_student_makes_its_images_in_the_stock_pipeline(folder: Path, tmp_path: Path) -> None:
    pipeline = load_pipeline(folder)
    student = pipeline.denoiser()
    assert isinstance(student, PixArtDenoiser)
    generator = torch.Generator().manual_seed(7)
    for parameter in student.network.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    save_denoiser(student, tmp_path / "student", [999])
    stock = PixArtSigmaPipeline.from_pretrained(folder, local_files_only=True)
    stock.set_progress_bar_config(disable=True)
    stock.transformer = PixArtTransformer2DModel.from_pretrained(tmp_path / "student" / "transformer")
    expected = stock_latents(stock, num_inference_steps=4, guidance_scale=1.0)
    found = load_denoiser(tmp_path / "student", PixArtDenoiser).denoiser
    assert found.describe() == student.describe()
    condition, null = pipeline.encoder.encode(PROMPTS[:2]), pipeline.encoder.null_condition()
    again = replace(pipeline, network=found.network)
    torch.testing.assert_close(sample(again, DPM_SOLVER, noise(), condition, null), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_lora_is_saved_and_merged(folder: Path, tmp_path: Path) -> None:
    teacher, student = load_pipeline(folder).denoiser(), load_pipeline(folder).denoiser()
    student.add_adapters(4, 8.0)
    generator = torch.Generator().manual_seed(7)
    for parameter in student.parameters():
        if parameter.requires_grad:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    save_denoiser(student, tmp_path / "student", [999])
    merged = load_denoiser(tmp_path / "student", PixArtDenoiser, teacher).denoiser
    condition = torch.randn(2, student.layout.size, generator=generator)
    inputs = noise().draw(), torch.tensor([10.0, 500.0]), condition
    torch.testing.assert_close(merged(*inputs), student(*inputs), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(merged(*inputs), teacher(*inputs), atol=1e-3)


@pytest.mark.parametrize("taps", [("middle",), ("early", "late")])
def test_features_give_gradients_to_all_their_parameters_and_no_others(taps: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    denoiser = PixArtDenoiser(tiny_transformer(), LINEAR, LAYOUT, taps=taps)
    inputs = torch.randn(2, *LATENT_SHAPE), torch.tensor([10.0, 500.0]), torch.randn(2, LAYOUT.size)
    alone, (_, passed) = denoiser.features(*inputs), denoiser.with_features(*inputs)
    for one, other in zip(alone, passed, strict=True):
        assert one.shape[1:] == (24, 4, 4)
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    torch.stack([one.square().sum() for one in alone]).sum().backward()
    reached = {id(one) for one in denoiser.parameters() if one.grad is not None}
    assert reached == {id(one) for one in denoiser.feature_parameters()}


def test_a_network_under_its_former_name_is_read(folder: Path, tmp_path: Path) -> None:
    """PixArt-alpha was published as diffusers' Transformer2DModel, as DiT was."""
    network = PixArtDenoiser.read_network(folder / "transformer")
    network.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    former = {"_class_name": "Transformer2DModel", "num_vector_embeds": None, "use_linear_projection": False}
    (tmp_path / "config.json").write_text(json.dumps(config | former))
    again = PixArtDenoiser.read_network(tmp_path)
    assert all(
        torch.equal(one, other) for one, other in zip(again.parameters(), network.parameters(), strict=True)
    )
    (tmp_path / "config.json").write_text(json.dumps(config | former | {"norm_type": "ada_norm_zero"}))
    with pytest.raises(UserError, match="holds a DiTTransformer2DModel, but a PixArtTransformer2DModel"):
        PixArtDenoiser.read_network(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta_schedule": "scaled_linear"}, "beta_schedule is 'scaled_linear'; only 'linear' is known"),
        ({"prediction_type": "v_prediction"}, "prediction_type is 'v', and PixArt's is 'epsilon'; fix: "),
    ],
)
def test_a_schedule_of_another_kind_is_refused(change: dict[str, Any], message: str) -> None:
    scheduler = dict(tiny_pixart().scheduler.config) | change
    with pytest.raises(UserError, match=message):
        PixArtDenoiser.schedule_options(scheduler)


def test_what_does_not_fit_the_network_is_refused() -> None:
    with pytest.raises(ValueError, match="with a mask"):
        PixArtDenoiser(tiny_transformer(), LINEAR, ConditionLayout(10, TEXT_WIDTH))
    with pytest.raises(ValueError, match="does not go with resolution 16"):
        PixArtDenoiser(tiny_transformer(), LINEAR, LAYOUT, resolution=16)
