"""Students of text models on disk: read back equal, and usable by stock pipelines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import LCMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from text_pipelines import LATENT_SIDE, normal, save_sd15, tiny_unet
from torch import Tensor

from bench.core.errors import UserError
from bench.models.backbones.edm import EDMDenoiser
from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.samplers import SampleNoise, few_step
from bench.models.saved import LORA_FILE, load_denoiser, save_denoiser
from bench.models.schedules import VPSchedule
from bench.models.text.layout import ConditionLayout
from bench.models.text.pipelines import load_pipeline


@pytest.fixture(params=["unet", "lora"])
def student(request: pytest.FixtureRequest, sdxl_folder: Path) -> StableDiffusionDenoiser:
    """A trained student of the tiny SDXL, with every weight or with adapters."""
    student = load_pipeline(sdxl_folder).denoiser()
    torch.manual_seed(0)
    if request.param == "lora":
        student.add_adapters(4, 8)
    with torch.no_grad():
        for seed, (name, parameter) in enumerate(student.named_parameters()):
            if request.param == "unet" or "lora_B" in name:
                parameter += 0.05 * normal(seed, *parameter.shape)
    return student


def sample(denoiser: StableDiffusionDenoiser, indices: list[int]) -> Tensor:
    noise = SampleNoise([1, 2], (4, LATENT_SIDE, LATENT_SIDE))
    with torch.no_grad():
        return few_step(denoiser, noise, normal(3, 2, denoiser.layout.size), indices)


def test_a_student_comes_back_equal(student: StableDiffusionDenoiser, sdxl_folder: Path, tmp_path: Path) -> None:
    save_denoiser(student, tmp_path / "student", [999, 499])
    saved = load_denoiser(tmp_path / "student", StableDiffusionDenoiser, load_pipeline(sdxl_folder).denoiser())
    found, indices = saved.denoiser, saved.indices
    assert indices == [999, 499]
    assert (found.layout, found.resolution, found.taps) == (student.layout, 16, ("mid",))
    torch.testing.assert_close(sample(found, indices), sample(student, indices), rtol=0, atol=1e-4)
    assert not any(parameter.requires_grad for parameter in found.parameters())


def test_a_stock_pipeline_makes_the_student_s_images(
    student: StableDiffusionDenoiser, sdxl_folder: Path, tmp_path: Path
) -> None:
    """By diffusers alone, as the published students are used: LCMScheduler, the student's times, no guidance."""
    indices, prompts = [999, 749, 499, 249], ["a red cat", "the dog"]
    save_denoiser(student, tmp_path / "student", indices)
    stock = StableDiffusionXLPipeline.from_pretrained(sdxl_folder, local_files_only=True)
    if (tmp_path / "student" / LORA_FILE).is_file():
        stock.load_lora_weights(tmp_path / "student")
    else:
        stock.unet = UNet2DConditionModel.from_pretrained(tmp_path / "student", subfolder="unet")
    stock.scheduler = LCMScheduler.from_config(stock.scheduler.config)
    noise = SampleNoise([1, 2], (4, LATENT_SIDE, LATENT_SIDE))
    images = stock(
        prompts,
        num_inference_steps=4,
        timesteps=indices,
        guidance_scale=0,
        latents=noise.draw(),
        generator=noise.generators,
        output_type="pt",
    ).images

    own = load_pipeline(sdxl_folder)
    with torch.no_grad():
        again = SampleNoise([1, 2], (4, LATENT_SIDE, LATENT_SIDE))
        x0 = few_step(student, again, own.encoder.encode(prompts), indices)
        expected = (own.latents.decode(x0) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-5)


def test_a_unet_is_a_plain_diffusers_folder(tmp_path: Path) -> None:
    denoiser = StableDiffusionDenoiser(tiny_unet(), VPSchedule("v", 0.001, 0.02, 500), ConditionLayout(77, 16))
    save_denoiser(denoiser, tmp_path / "student")
    stock = UNet2DConditionModel.from_pretrained(tmp_path / "student", subfolder="unet", local_files_only=True)
    for name, value in denoiser.network.state_dict().items():
        assert torch.equal(stock.state_dict()[name], value)
    saved = load_denoiser(tmp_path / "student", StableDiffusionDenoiser)
    found, indices = saved.denoiser, saved.indices
    assert indices == [] and found.schedule.prediction == "v"
    assert torch.equal(found.schedule.log_alpha_bar, denoiser.schedule.log_alpha_bar)


class TestWhatIsWrong:
    @pytest.fixture
    def saved(self, student: StableDiffusionDenoiser, tmp_path: Path) -> Path:
        save_denoiser(student, tmp_path / "student", [999])
        return tmp_path / "student"

    def test_a_lora_of_another_model(self, sdxl_folder: Path, tmp_path: Path) -> None:
        lora = load_pipeline(sdxl_folder).denoiser()
        lora.add_adapters(2, 8)
        save_denoiser(lora, tmp_path / "student", [999])
        other = load_pipeline(save_sd15(tmp_path / "sd15")).denoiser()
        with pytest.raises(UserError, match="LoRA and network do not fit"):
            load_denoiser(tmp_path / "student", StableDiffusionDenoiser, other)

    @pytest.mark.parametrize(
        ("key", "value"), [("kind", ["text"]), ("betas", 3), ("weights", "all"), ("layout", {"tokens": 1})]
    )
    def test_a_damaged_description(self, saved: Path, sdxl_folder: Path, key: str, value: object) -> None:
        file = saved / "denoiser.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
        with pytest.raises(UserError, match=r"denoiser\.json is damaged"):
            load_denoiser(saved, StableDiffusionDenoiser, load_pipeline(sdxl_folder).denoiser())

    def test_an_edm_task_does_not_take_it(self, saved: Path) -> None:
        with pytest.raises(UserError, match=r"the backbone family 'text', and 'edm' is wanted; fix: name another"):
            load_denoiser(saved, EDMDenoiser)

    def test_missing_weights(self, saved: Path, sdxl_folder: Path) -> None:
        for file in saved.rglob("*.safetensors"):
            file.unlink()
        with pytest.raises(UserError, match=r"does not exist|cannot read|has neither"):
            load_denoiser(saved, StableDiffusionDenoiser, load_pipeline(sdxl_folder).denoiser())


def test_merged_twice_is_not_merged_once(sdxl_folder: Path, tmp_path: Path) -> None:
    """The teacher that a LoRA is merged into stays as it is: reading a student twice gives the same."""
    teacher = load_pipeline(sdxl_folder).denoiser()
    lora = load_pipeline(sdxl_folder).denoiser()
    lora.add_adapters(2, 8)
    save_denoiser(lora, tmp_path / "student", [999])
    before = sample(teacher, [999])
    one = load_denoiser(tmp_path / "student", StableDiffusionDenoiser, teacher).denoiser
    two = load_denoiser(tmp_path / "student", StableDiffusionDenoiser, teacher).denoiser
    assert torch.equal(sample(one, [999]), sample(two, [999]))
    assert torch.equal(sample(teacher, [999]), before)
