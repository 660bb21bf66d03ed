"""Students of FLUX.1 on disk: read back equal, used by the stock pipeline, and LoRAs as they are published."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from flux_networks import conditions, own_latents, stock_latents, stock_pipeline, tiny_denoiser
from peft import get_peft_model_state_dict
from torch import Tensor

from bench.core.errors import UserError
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
            folder = tmp_path / "student" / "transformer"
            stock.transformer = FluxTransformer2DModel.from_pretrained(folder, local_files_only=True)
        expected = own_latents(student, conditions(3), 4)
        torch.testing.assert_close(self.images(stock), expected, rtol=0, atol=1e-5)
        assert not torch.allclose(before, expected, atol=1e-2)

    @staticmethod
    def images(stock: FluxPipeline) -> Tensor:
        return stock_latents(stock, conditions(3), num_inference_steps=4, guidance_scale=GUIDANCE)


def test_a_lora_adapts_the_layers_of_diffusers_own_training() -> None:
    student = tiny_denoiser(layers=(1, 1))
    student.add_adapters(2, 2)
    trained = [name for name, one in student.network.named_parameters() if one.requires_grad]
    single = [f"attn.{name}" for name in ("to_q", "to_k", "to_v")]
    double = [f"attn.{name}" for name in ("to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")]
    double += [*single, "ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2"]
    assert {name.partition(".lora_")[0] for name in trained} == {
        *(f"transformer_blocks.0.{name}" for name in double),
        *(f"single_transformer_blocks.0.{name}" for name in single),
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


def test_a_lora_with_the_original_names_is_merged_as_the_pipeline_loads_it() -> None:
    """In kohya's form, of layers in double blocks: diffusers loads those of single ones at dev's width alone."""
    torch.manual_seed(6)
    state = {}
    for layer, rows in (("double_blocks_1_img_attn_qkv", 96), ("double_blocks_0_txt_mlp_0", 128)):
        state[f"lora_unet_{layer}.lora_down.weight"] = 0.1 * torch.randn(2, 32)
        state[f"lora_unet_{layer}.lora_up.weight"] = 0.1 * torch.randn(rows, 2)
        state[f"lora_unet_{layer}.alpha"] = torch.tensor(1.0)
    stock, teacher = stock_pipeline(tiny_denoiser(GUIDANCE).network), tiny_denoiser(GUIDANCE)
    stock.load_lora_weights(dict(state))
    teacher.merge_adapters(state, "here")
    expected = stock_latents(stock, conditions(3), num_inference_steps=1, guidance_scale=GUIDANCE)
    torch.testing.assert_close(own_latents(teacher, conditions(3), 1), expected, rtol=0, atol=1e-5)


def test_a_lora_of_layers_that_the_network_lacks_is_refused_by_name() -> None:
    state = {f"lora_unet_double_blocks_9_img_mlp_0.{part}": torch.ones(2, 2) for part in ("lora_down.weight",)}
    with pytest.raises(UserError, match=r"lora_unet_double_blocks_9_img_mlp_0\.lora_down\.weight \(unexpected\)"):
        tiny_denoiser().merge_adapters(state, "here")
