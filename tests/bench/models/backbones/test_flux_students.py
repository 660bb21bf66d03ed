"""Students of FLUX.1 on disk: read back equal, used by the stock pipeline, and LoRAs as they are published."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from flux_networks import conditions, own_latents, stock_latents, stock_pipeline, tiny_denoiser
from peft import get_peft_model_state_dict
from torch import Tensor

from bench.models.backbones.flux import FluxDenoiser
from bench.models.saved import LORA_FILE, load_denoiser, save_denoiser

GUIDANCE = 3.5


def changed(student: FluxDenoiser, of: str = "") -> FluxDenoiser:
    """Move the parameters whose names have `of`, as a training would."""
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if of in name:
                parameter += 0.05 * torch.randn_like(parameter)
    return student


def student_of(kind: str) -> FluxDenoiser:
    student = tiny_denoiser(GUIDANCE)
    if kind == "full":
        return changed(student)
    student.add_adapters(4, 6)
    return changed(student, "lora_B")


@pytest.mark.parametrize("kind", ["full", "lora"])
class TestAStudent:
    def test_it_is_read_back_equal(self, kind: str, tmp_path: Path) -> None:
        student = student_of(kind)
        save_denoiser(student, tmp_path / "student", [999, 499])
        assert (tmp_path / "student" / LORA_FILE).is_file() == (kind == "lora")
        found = load_denoiser(tmp_path / "student", FluxDenoiser, tiny_denoiser(GUIDANCE))
        assert (found.indices, found.denoiser.describe()) == ([999, 499], student.describe())
        expected = own_latents(student, conditions(3), 2)
        torch.testing.assert_close(own_latents(found.denoiser, conditions(3), 2), expected, rtol=0, atol=1e-5)

    def test_the_stock_pipeline_makes_its_images(self, kind: str, tmp_path: Path) -> None:
        student = student_of(kind)
        save_denoiser(student, tmp_path / "student", [999, 749, 499, 249])
        stock = stock_pipeline(tiny_denoiser(GUIDANCE).network)
        before = self.images(stock)
        if kind == "lora":
            stock.load_lora_weights(tmp_path / "student")
        else:
            stock.transformer = FluxTransformer2DModel.from_pretrained(
                tmp_path / "student", subfolder="transformer"
            )
        expected = own_latents(student, conditions(3), 4)
        torch.testing.assert_close(self.images(stock), expected, rtol=0, atol=1e-5)
        assert not torch.allclose(before, expected, atol=1e-2)

    @staticmethod
    def images(stock: FluxPipeline) -> Tensor:
        return stock_latents(stock, conditions(3), num_inference_steps=4, guidance_scale=GUIDANCE)


def test_a_lora_adapts_the_layers_of_diffusers_own_training() -> None:
    student = tiny_denoiser(layers=(1, 1))
    student.add_adapters(2, 2)
    adapted = {
        name.partition(".lora_")[0] for name, one in student.network.named_parameters() if one.requires_grad
    }
    attention = [f"attn.{name}" for name in ("to_q", "to_k", "to_v")]
    double = [
        *attention,
        "attn.to_out.0",
        *(f"attn.{name}" for name in ("add_q_proj", "add_k_proj", "add_v_proj")),
    ]
    double += ["attn.to_add_out", "ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2"]
    assert adapted == {f"transformer_blocks.0.{name}" for name in double} | {
        f"single_transformer_blocks.0.{name}" for name in attention
    }


def test_a_lora_that_diffusers_saved_is_merged_as_the_pipeline_loads_it(tmp_path: Path) -> None:
    adapted, teacher = student_of("lora"), tiny_denoiser(GUIDANCE)
    state = get_peft_model_state_dict(adapted.network)  # without alpha: its rank is taken
    FluxPipeline.save_lora_weights(tmp_path, transformer_lora_layers=state)
    stock = stock_pipeline(tiny_denoiser(GUIDANCE).network)
    stock.load_lora_weights(tmp_path)
    teacher.merge_adapters({f"transformer.{name}": value for name, value in state.items()}, "here")
    expected = stock_latents(stock, conditions(3), num_inference_steps=1, guidance_scale=GUIDANCE)
    torch.testing.assert_close(own_latents(teacher, conditions(3), 1), expected, rtol=0, atol=1e-5)
