"""FLUX.1's pipelines, read from folders and one file, against diffusers' own FluxPipeline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from flux_networks import first_noise, own_latents, save_flux
from safetensors.torch import load_file, save_file
from text_pipelines import PROMPTS
from torch import Tensor

from bench.core.errors import UserError
from bench.models.backbones.flux import FluxDenoiser, pack
from bench.models.backbones.text import TextPipeline
from bench.models.samplers import SampleNoise
from bench.models.text.flux_names import SWAPPED, original_layers
from bench.models.text.pipelines import load_pipeline
from bench.models.text.published import load_published

RESOLUTION = 16
WEIGHTS = "diffusion_pytorch_model.safetensors"


def stock(folder: Path) -> FluxPipeline:
    pipeline = FluxPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def stock_images(folder: Path, steps: int, **options) -> Tensor:
    latents = pack(first_noise().draw())
    options = {"height": RESOLUTION, "width": RESOLUTION, "num_inference_steps": steps} | options
    return stock(folder)(PROMPTS[:2], latents=latents, output_type="pt", **options).images


def as_images(pipeline: TextPipeline, latents: Tensor) -> Tensor:
    return (pipeline.latents.decode(latents) / 2 + 0.5).clamp(0, 1)


def test_conditions_are_the_stock_pipeline_s(flux_folder: Path) -> None:
    encoder = load_pipeline(flux_folder).encoder
    with torch.no_grad():  # as the pipeline runs it; with gradients attention is computed in another way
        embeddings, pooled, _ = stock(flux_folder).encode_prompt(PROMPTS)
    assert (encoder.layout.tokens, encoder.layout.width, encoder.layout.pooled) == (512, 12, 16)
    found = encoder.layout.unpack(encoder.encode(PROMPTS))
    torch.testing.assert_close(found, (embeddings, pooled), rtol=0, atol=1e-5)
    torch.testing.assert_close(encoder.null_condition(), encoder.encode([""]))


@pytest.mark.parametrize("steps", [1, 4])
def test_images_of_dev_are_the_stock_pipeline_s(flux_folder: Path, steps: int) -> None:
    """With its own resolution's shift and 3.5 as embedded guidance, which both take by default."""
    pipeline = load_pipeline(flux_folder)
    denoiser = pipeline.denoiser(RESOLUTION)
    found = as_images(pipeline, own_latents(denoiser, pipeline.encoder.encode(PROMPTS[:2]), steps))
    torch.testing.assert_close(found, stock_images(flux_folder, steps), rtol=0, atol=1e-5)


def test_images_of_schnell_are_the_stock_pipeline_s(tmp_path: Path) -> None:
    folder = save_flux(tmp_path / "schnell", guidance_embeds=False)
    pipeline = load_pipeline(folder)
    denoiser = pipeline.denoiser(RESOLUTION)
    assert isinstance(denoiser, FluxDenoiser) and denoiser.embedded_guidance is None
    found = as_images(pipeline, own_latents(denoiser, pipeline.encoder.encode(PROMPTS[:2]), 4))
    expected = stock_images(folder, 4, guidance_scale=0.0, max_sequence_length=256)  # as its authors call it
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("guidance", [None, 1.5])
def test_diffusers_schedulers_sample_the_denoiser_as_the_pipeline_does(
    flux_folder: Path, guidance: float | None
) -> None:
    """At 7 steps, whose times are not on the grid."""
    pipeline = load_pipeline(flux_folder)
    family, denoiser = pipeline.family, pipeline.denoiser(RESOLUTION)
    assert family.takes_guidance(pipeline.network)
    scheduler = FlowMatchEulerDiscreteScheduler(**family.scheduler_options(pipeline, RESOLUTION))
    scheduler.set_timesteps(**family.step_options(pipeline, RESOLUTION, 7))
    latents, condition = first_noise().draw(), pipeline.encoder.encode(PROMPTS[:2])
    with torch.no_grad():
        for t in scheduler.timesteps:
            predicted = denoiser.predict(latents, t.expand(2), condition, guidance)
            latents = scheduler.step(predicted, t, latents, return_dict=False)[0]
    options = {} if guidance is None else {"guidance_scale": guidance}
    expected = stock_images(flux_folder, 7, **options)
    torch.testing.assert_close(as_images(pipeline, latents), expected, rtol=0, atol=1e-5)


def test_a_pipeline_is_made_for_latents_of_side_128(flux_folder: Path) -> None:
    assert load_pipeline(flux_folder).resolution == 128 * 2


def test_a_resolution_without_whole_patches_is_refused(flux_folder: Path) -> None:
    with pytest.raises(UserError, match="do not consist of whole patches of 4; fix: name a multiple of 4"):
        load_pipeline(flux_folder).denoiser(18)


def original_file(folder: Path, file: Path, prefix: str = "") -> dict[str, Tensor]:
    """Write the network of a pipeline's folder with its original names, fused layers as one."""
    network = load_file(folder / "transformer" / WEIGHTS)
    state = {}
    for original, layers in original_layers(network).items():
        for kind in ("weight", "bias"):
            parts = [network[f"{layer}.{kind}"] for layer in layers if f"{layer}.{kind}" in network]
            if parts:
                whole = torch.cat(parts)
                swapped = torch.cat(whole.chunk(2)[::-1]) if layers == (SWAPPED,) else whole
                name = f"{original}.scale" if "norm." in original else f"{original}.{kind}"
                state[prefix + name] = swapped.contiguous()
    save_file(state, file)
    return state


class TestOneFile:
    @pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
    def test_its_network_is_that_of_the_folder(self, prefix: str, flux_folder: Path, tmp_path: Path) -> None:
        original_file(flux_folder, tmp_path / "flux.safetensors", prefix)
        found = load_pipeline(tmp_path / "flux.safetensors", architecture=flux_folder)
        self.assert_equal(found.network, load_pipeline(flux_folder).network)
        assert found.denoiser(RESOLUTION).describe() == load_pipeline(flux_folder).denoiser(RESOLUTION).describe()

    def test_a_student_s_is_read_as_well(self, flux_folder: Path, tmp_path: Path) -> None:
        original_file(flux_folder, tmp_path / "student.safetensors")
        teacher = load_pipeline(flux_folder).network
        self.assert_equal(load_published(tmp_path / "student.safetensors", FluxDenoiser, teacher), teacher)

    @staticmethod
    def assert_equal(found: FluxTransformer2DModel, expected: FluxTransformer2DModel) -> None:
        assert not any(parameter.requires_grad for parameter in found.parameters())
        for name, value in expected.state_dict().items():
            assert torch.equal(found.state_dict()[name], value), name

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("img_in.bias", None, r"x_embedder\.bias \(missing\)"),
            ("img_in.scale_weight", torch.ones(1), r"img_in\.scale_weight \(unexpected\)"),
            (
                "img_in.bias",
                torch.ones(32).to(torch.float8_e4m3fn),
                r"bias \(float8_e4m3fn: quantised",
            ),
            ("img_in.bias", torch.full((32,), torch.nan), r"x_embedder\.bias \(not finite\)"),
            ("text_encoders.clip_l.weight", torch.ones(1), r"text_encoders\.clip_l\.weight \(unexpected\)"),
        ],
    )
    def test_what_does_not_belong_is_refused_by_name(
        self, name: str, value: Tensor | None, message: str, flux_folder: Path, tmp_path: Path
    ) -> None:
        file = tmp_path / "flux.safetensors"
        state = original_file(flux_folder, file)
        state.pop(name, None)
        save_file(state if value is None else state | {name: value}, file)
        with pytest.raises(UserError, match=message):
            load_pipeline(file, architecture=flux_folder)

    def test_a_gguf_file_is_refused(self, flux_folder: Path, tmp_path: Path) -> None:
        (tmp_path / "flux.gguf").write_bytes(b"GGUF\x03" + bytes(100))
        with pytest.raises(UserError, match="a GGUF file: quantised weights are not read"):
            load_pipeline(tmp_path / "flux.gguf", architecture=flux_folder)


class TestFolders:
    @pytest.fixture
    def folder(self, flux_folder: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(flux_folder, tmp_path / "flux"))

    def test_a_network_in_parts_is_read(self, folder: Path, flux_folder: Path) -> None:
        network = load_pipeline(flux_folder).network
        (folder / "transformer" / WEIGHTS).unlink()
        network.save_pretrained(folder / "transformer", max_shard_size="100KB")
        assert len(list((folder / "transformer").glob("*-of-*.safetensors"))) > 1
        TestOneFile.assert_equal(load_pipeline(folder).network, network)

    def test_quantised_weights_are_refused(self, folder: Path) -> None:
        config = folder / "transformer" / "config.json"
        quantised = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
        config.write_text(json.dumps(json.loads(config.read_text()) | quantised))
        with pytest.raises(UserError, match="transformer holds quantised weights"):
            load_pipeline(folder)

    def test_a_missing_tensor_is_refused_by_name(self, folder: Path) -> None:
        state = load_file(folder / "transformer" / WEIGHTS)
        del state["single_transformer_blocks.1.proj_mlp.weight"]
        save_file(state, folder / "transformer" / WEIGHTS)
        with pytest.raises(UserError, match=r"single_transformer_blocks\.1\.proj_mlp\.weight \(missing\)"):
            load_pipeline(folder)

    def test_a_network_that_fills_images_is_refused(self, folder: Path) -> None:
        config = folder / "transformer" / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"in_channels": 32, "out_channels": 16}))
        state = load_file(folder / "transformer" / WEIGHTS)
        save_file(state | {"x_embedder.weight": torch.zeros(32, 32)}, folder / "transformer" / WEIGHTS)
        with pytest.raises(UserError, match="edits or fills images"):
            load_pipeline(folder).denoiser(RESOLUTION)


def test_a_published_lora_makes_the_stock_pipeline_s_images(flux_folder: Path, tmp_path: Path) -> None:
    """With an alpha in the file's header, as diffusers' own training writes it."""
    torch.manual_seed(7)
    layers = ("transformer_blocks.0.attn.to_q", "single_transformer_blocks.1.attn.to_v")
    state = {
        f"{layer}.lora_{part}.weight": 0.2 * torch.randn(shape)
        for layer in layers
        for part, shape in (("A", (2, 32)), ("B", (32, 2)))
    }
    settings = {"r": 2, "lora_alpha": 6, "target_modules": list(layers)}
    FluxPipeline.save_lora_weights(
        tmp_path, transformer_lora_layers=state, transformer_lora_adapter_metadata=settings
    )
    pipeline = load_pipeline(flux_folder)
    student = load_published(tmp_path, FluxDenoiser, pipeline.network)
    denoiser = TextPipeline(**{**vars(pipeline), "network": student}).denoiser(RESOLUTION)
    found = as_images(pipeline, own_latents(denoiser, pipeline.encoder.encode(PROMPTS[:2]), 1))
    lora = stock(flux_folder)
    lora.load_lora_weights(tmp_path)
    expected = lora(
        PROMPTS[:2],
        height=RESOLUTION,
        width=RESOLUTION,
        num_inference_steps=1,
        latents=pack(SampleNoise([1, 2], (4, 8, 8)).draw()),
        output_type="pt",
    ).images
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert not torch.allclose(expected, stock_images(flux_folder, 1), atol=1e-3)
