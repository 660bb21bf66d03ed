"""LoRA: what is trained, what is written, and that stock pipelines make the same images with it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file
from text_pipelines import normal, tiny_unet
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.saved import save_denoiser
from bench.models.text.lora import LoRASpec, add_lora, has_lora, lora_state, merge_lora
from bench.models.text.pipelines import load_pipeline

STOCK = {"sd15": StableDiffusionPipeline, "sdxl": StableDiffusionXLPipeline}


@pytest.fixture(params=STOCK)
def folder(request: pytest.FixtureRequest, sd15_folder: Path, sdxl_folder: Path) -> Path:
    """A tiny pipeline of each kind."""
    return sd15_folder if request.param == "sd15" else sdxl_folder


def trained(unet: nn.Module, spec: LoRASpec) -> nn.Module:
    """The UNet with adapters, moved as if training had been."""
    torch.manual_seed(0)
    add_lora(unet, spec, StableDiffusionDenoiser.lora_targets)
    with torch.no_grad():
        for seed, (name, parameter) in enumerate(unet.named_parameters()):
            if "lora_B" in name:
                parameter += 0.2 * normal(seed, *parameter.shape)
    return unet


def stock(folder: Path) -> StableDiffusionPipeline | StableDiffusionXLPipeline:
    """The pipeline as anyone would load it."""
    kind = STOCK["sd15" if folder.name == "sd15" else "sdxl"]
    pipeline = kind.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def images(pipeline: StableDiffusionPipeline | StableDiffusionXLPipeline) -> Tensor:
    """Two images of three steps, always from the same noise."""
    latents = normal(7, 2, 4, 8, 8)
    prompts = ["a red cat", "the dog"]
    return pipeline(prompts, num_inference_steps=3, latents=latents, output_type="pt").images


def test_adapters_alone_are_trained_and_change_nothing_yet() -> None:
    unet = tiny_unet(sdxl=True)
    inputs = normal(0, 2, 4, 8, 8), torch.tensor([10, 900]), normal(1, 2, 77, 40)
    added = {"text_embeds": normal(2, 2, 24), "time_ids": torch.zeros(2, 6)}
    before = unet(*inputs, added_cond_kwargs=added).sample
    assert not has_lora(unet)
    add_lora(unet, LoRASpec(), StableDiffusionDenoiser.lora_targets)
    assert has_lora(unet)
    assert torch.equal(unet(*inputs, added_cond_kwargs=added).sample, before)
    assert {name.split(".lora_")[1][:1] for name, p in unet.named_parameters() if p.requires_grad} == {"A", "B"}


def test_the_official_layers_are_adapted_with_rank_64() -> None:
    """Of all linear maps and convolutions, those named; DMD2's has rank 64 and alpha 8."""
    unet = tiny_unet(sdxl=True)
    layers = [name for name, m in unet.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    targets = StableDiffusionDenoiser.lora_targets
    expected = {name for name in layers if any(name.endswith(f".{target}") for target in targets)}
    add_lora(unet, LoRASpec(), targets)
    state = lora_state(unet)
    assert {key.partition(".")[0] for key in state} == {f"lora_unet_{n.replace('.', '_')}" for n in expected}
    assert len(state) == 3 * len(expected)
    assert all(target in "".join(expected) for target in targets)
    assert {float(value) for key, value in state.items() if key.endswith(".alpha")} == {8.0}
    assert {len(value) for key, value in state.items() if key.endswith("lora_down.weight")} == {64}


def test_the_encoder_view_has_the_adapters_too(folder: Path) -> None:
    """A LoRA's student or critic has its bottleneck where the full network has it."""
    denoiser = load_pipeline(folder).denoiser()
    batch = normal(1, 2, 4, 8, 8), torch.tensor([10.0, 900.0]), normal(2, 2, denoiser.layout.size)
    (before,) = denoiser.features(*batch)
    trained(denoiser.network, LoRASpec(rank=2))
    x0, (features,) = denoiser.with_features(*batch)
    assert torch.equal(features, denoiser.features(*batch)[0]) and torch.equal(x0, denoiser(*batch))
    assert (features - before).abs().max() > 1e-2
    adapters = [parameter for parameter in denoiser.feature_parameters() if parameter.requires_grad]
    assert all(gradient.abs().sum() > 0 for gradient in torch.autograd.grad(features.sum(), adapters))


def test_a_stock_pipeline_with_the_lora_makes_the_student_s_images(folder: Path, tmp_path: Path) -> None:
    student = load_pipeline(folder).denoiser()
    trained(student.network, LoRASpec(rank=4, alpha=8))
    save_denoiser(student.eval(), tmp_path / "student", [999])

    ours = stock(folder)
    before = images(ours)
    ours.unet = student.network
    expected = images(ours)
    assert (expected - before).abs().max() > 1e-2

    theirs = stock(folder)
    theirs.load_lora_weights(tmp_path / "student")
    torch.testing.assert_close(images(theirs), expected, rtol=0, atol=1e-5)
    theirs.fuse_lora(lora_scale=1.0)
    torch.testing.assert_close(images(theirs), expected, rtol=0, atol=1e-5)


def test_merging_is_what_the_adapters_do(folder: Path) -> None:
    plain = load_pipeline(folder).network
    adapted = trained(copy.deepcopy(plain), LoRASpec(rank=4, alpha=3))
    merge_lora(plain, StableDiffusionDenoiser.lora_names(plain), lora_state(adapted), "here")
    pipeline = stock(folder)
    pipeline.unet = adapted
    expected = images(pipeline)
    pipeline.unet = plain
    torch.testing.assert_close(images(pipeline), expected, rtol=0, atol=1e-5)


def test_a_fp16_file_is_merged_like_diffusers_fuses_it(folder: Path, tmp_path: Path) -> None:
    """Published LoRAs are fp16."""
    state = lora_state(trained(load_pipeline(folder).network, LoRASpec(rank=4, alpha=8)))
    file = tmp_path / "lora_fp16.safetensors"
    save_file({name: value.half() for name, value in state.items()}, file)
    theirs = stock(folder)
    theirs.load_lora_weights(file)
    theirs.fuse_lora(lora_scale=1.0)
    ours = stock(folder)
    merge_lora(ours.unet, StableDiffusionDenoiser.lora_names(ours.unet), load_file(file), "here")
    torch.testing.assert_close(images(ours), images(theirs), rtol=0, atol=1e-5)


class TestWhatDoesNotFit:
    def state(self) -> dict[str, Tensor]:
        return lora_state(trained(tiny_unet(), LoRASpec(rank=2)))

    def refused(self, state: dict[str, Tensor], message: str) -> None:
        unet = tiny_unet()
        before = copy.deepcopy(unet.state_dict())
        with pytest.raises(UserError, match=message):
            merge_lora(unet, StableDiffusionDenoiser.lora_names(unet), state, "file")
        assert all(torch.equal(before[name], value) for name, value in unet.state_dict().items())

    def test_a_layer_that_the_unet_has_not(self) -> None:
        state = self.state() | {"lora_unet_nothing.alpha": torch.tensor(1.0), "lora_te_x.alpha": torch.ones(1)}
        self.refused(state, r"file: .*lora_unet_nothing\.alpha \(unexpected\), lora_te_x\.alpha \(unexpected\)")

    def test_half_a_layer(self) -> None:
        state = self.state()
        del state["lora_unet_mid_block_attentions_0_proj_in.lora_up.weight"]
        self.refused(state, r"mid_block\.attentions\.0\.proj_in \(lora_up\.weight is missing\)")

    def test_a_wrong_shape(self) -> None:
        state = self.state()
        key = "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"
        state[key] = state[key][:, :5]
        self.refused(state, r"proj_in \(\[32, 2, 1, 1\] by \[2, 5, 1, 1\] for \[32, 32, 1, 1\]\)")

    def test_nothing_at_all(self) -> None:
        self.refused({}, r"layers that fit: 0")
