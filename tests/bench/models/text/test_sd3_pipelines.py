"""Stable Diffusion 3's pipelines, read from folders and one file, against diffusers' own pipeline."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from safetensors.torch import load_file, save_file
from sd3_pipelines import RESOLUTION, first_noise, original_network, save_sd3, stock, stock_images
from single_file import vae_name
from text_pipelines import PROMPTS
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.models.backbones.sd3 import SD3Denoiser
from bench.models.backbones.text import TextPipeline
from bench.models.samplers import few_step_ode
from bench.models.schedules import dynamic_shift
from bench.models.text.pipelines import load_pipeline
from bench.models.text.published import load_published

WEIGHTS = "diffusion_pytorch_model.safetensors"


def one_step(pipeline: TextPipeline, prompts: list[str]) -> Tensor:
    """Images [B, 3, H, W] in [0, 1] after one step from the last time, 1, to the image."""
    denoiser = pipeline.denoiser(RESOLUTION)
    with torch.no_grad():
        latents = few_step_ode(denoiser, first_noise(), pipeline.encoder.encode(prompts), [999])
        return (pipeline.latents.decode(latents) / 2 + 0.5).clamp(0, 1)


def assert_equal(found: nn.Module, expected: nn.Module) -> None:
    assert not any(parameter.requires_grad for parameter in found.parameters())
    for name, value in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name


@pytest.mark.parametrize("t5", [True, False])
def test_conditions_are_the_stock_pipeline_s(sd3_folder: Path, t5: bool, tmp_path: Path) -> None:
    """Also those of a prompt that is too long, and of a folder without T5, whose embeddings are zero."""
    folder = sd3_folder if t5 else save_sd3(tmp_path / "small", t5=False)
    encoder = load_pipeline(folder).encoder
    with torch.no_grad():
        embeddings, null, pooled, null_pooled = stock(folder, t5).encode_prompt(PROMPTS, None, None, device="cpu")
    assert (encoder.layout.tokens, encoder.layout.width, encoder.layout.pooled) == (77 + 256, 48, 40)
    found = encoder.layout.unpack(encoder.encode(PROMPTS))
    torch.testing.assert_close(found, (embeddings, pooled), rtol=0, atol=1e-5)
    found = encoder.layout.unpack(encoder.null_condition())
    torch.testing.assert_close(found, (null[:1], null_pooled[:1]), rtol=0, atol=1e-5)
    assert bool(embeddings[:, 77:].any()) == t5


def test_one_step_makes_the_stock_pipeline_s_images(sd3_folder: Path) -> None:
    expected = stock_images(stock(sd3_folder), PROMPTS[:2], num_inference_steps=1, guidance_scale=1)
    torch.testing.assert_close(one_step(load_pipeline(sd3_folder), PROMPTS[:2]), expected, rtol=0, atol=1e-5)


def test_its_schedule_is_that_of_its_scheduler(sd3_folder: Path, tmp_path: Path) -> None:
    pipeline = load_pipeline(sd3_folder)
    assert pipeline.resolution == RESOLUTION
    denoiser = pipeline.denoiser()
    assert isinstance(denoiser, SD3Denoiser) and denoiser.schedule.shift == 3
    assert denoiser.sample_shape == pipeline.latents.shape(RESOLUTION) == (16, 8, 8)
    dynamic = load_pipeline(save_sd3(tmp_path / "dynamic", use_dynamic_shifting=True)).denoiser()
    assert isinstance(dynamic, SD3Denoiser) and dynamic.schedule.shift == dynamic_shift(16)


class TestOneFile:
    @pytest.fixture(scope="class")
    def whole(self, sd3_folder: Path) -> dict[str, Tensor]:
        """All tensors of a file with its text encoders, as `sd3_medium_incl_clips_t5xxl` has them."""
        pipeline = stock(sd3_folder)
        state = {f"model.diffusion_model.{name}": v for name, v in original_network(pipeline.transformer).items()}
        vae, blocks = pipeline.vae.state_dict().items(), len(pipeline.vae.config.block_out_channels)
        state |= {f"first_stage_model.{vae_name(name, blocks)}": square(name, value) for name, value in vae}
        for name, model in (("clip_l", pipeline.text_encoder), ("clip_g", pipeline.text_encoder_2)):
            for key, value in model.state_dict().items():
                state[f"text_encoders.{name}.transformer.{key}"] = value
        for key, value in pipeline.text_encoder_3.state_dict().items():
            state[f"text_encoders.t5xxl.transformer.{key}"] = value
        del state["text_encoders.t5xxl.transformer.encoder.embed_tokens.weight"]  # the shared one
        return {name: value.contiguous().clone() for name, value in state.items()}

    @pytest.mark.parametrize("held", ["all", "no text encoders", "the network", "the network alone"])
    def test_it_is_the_folder_s_pipeline(
        self, held: str, whole: dict[str, Tensor], sd3_folder: Path, tmp_path: Path
    ) -> None:
        """The parts that a file lacks are those of its architecture."""
        start = {"no text encoders": ("model.", "first_"), "the network": ("model.",)}.get(held, ("",))
        state = {name: value for name, value in whole.items() if name.startswith(start)}
        if held == "the network alone":
            prefix = "model.diffusion_model."
            state = {name.removeprefix(prefix): v for name, v in whole.items() if name.startswith(prefix)}
        save_file(state, tmp_path / "sd3.safetensors")
        found, expected = (
            load_pipeline(tmp_path / "sd3.safetensors", architecture=sd3_folder),
            load_pipeline(sd3_folder),
        )
        assert_equal(found.network, expected.network)
        assert_equal(found.latents, expected.latents)
        assert_equal(found.encoder, expected.encoder)
        assert found.denoiser().describe() == expected.denoiser().describe()

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"model.diffusion_model.joint_blocks.1.x_block.mlp.fc2.bias": None}, r"lacks '.*fc2\.bias'"),
            ({"model.diffusion_model.other.weight": torch.ones(1)}, r"other\.weight \(unexpected\)"),
            ({"text_encoders.t5xxl.transformer.shared.weight": None}, "a tensor of its T5 is missing"),
            ({"other": torch.ones(1)}, r"other \(unexpected\)"),
            (
                {
                    "text_encoders.t5xxl.transformer.encoder.final_layer_norm.weight": torch.ones(
                        48, dtype=torch.int8
                    )
                },
                r"final_layer_norm\.weight \(int8: quantised or not weights\)",
            ),
        ],
    )
    def test_what_does_not_belong_is_refused_by_name(
        self,
        changes: dict[str, Tensor | None],
        message: str,
        whole: dict[str, Tensor],
        sd3_folder: Path,
        tmp_path: Path,
    ) -> None:
        state = {name: value for name, value in (whole | changes).items() if value is not None}
        save_file(state, tmp_path / "sd3.safetensors")
        with pytest.raises(UserError, match=message):
            load_pipeline(tmp_path / "sd3.safetensors", architecture=sd3_folder)

    def test_a_student_s_network_is_read_as_well(
        self, whole: dict[str, Tensor], sd3_folder: Path, tmp_path: Path
    ) -> None:
        teacher = load_pipeline(sd3_folder).network
        save_file({k: v for k, v in whole.items() if k.startswith("model.")}, tmp_path / "turbo.safetensors")
        assert_equal(load_published(tmp_path / "turbo.safetensors", SD3Denoiser, teacher), teacher)


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        ("37.x_block.mlp.fc1", "stable-diffusion-3.5-large"),
        ("0.x_block.attn2.qkv", "stable-diffusion-3.5-medium"),
        ("23.x_block.mlp.fc1", "stable-diffusion-3-medium-diffusers"),
    ],
)
def test_a_file_is_known_by_its_layers(
    layer: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is looked for in the folder of the published pipeline with this network."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    save_file({f"joint_blocks.{layer}.weight": torch.ones(1)}, tmp_path / "sd3.safetensors")
    with pytest.raises(UserError, match=f"^stabilityai/{name} is not in the hub's cache"):
        load_pipeline(tmp_path / "sd3.safetensors")


def square(name: str, value: Tensor) -> Tensor:
    """The attention's maps as 1x1 convolutions, as original VAEs have them."""
    return value[:, :, None, None] if "attentions" in name and value.ndim == 2 else value


class TestFolders:
    @pytest.fixture
    def folder(self, sd3_folder: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(sd3_folder, tmp_path / "sd3"))

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_in_parts_is_read_as_float32(
        self, folder: Path, sd3_folder: Path, dtype: torch.dtype
    ) -> None:
        network = load_pipeline(sd3_folder).network.to(dtype)
        (folder / "transformer" / WEIGHTS).unlink()
        network.save_pretrained(folder / "transformer", max_shard_size="50KB")
        assert len(list((folder / "transformer").glob("*-of-*.safetensors"))) > 1
        assert_equal(load_pipeline(folder).network, network.float())

    def test_quantised_weights_are_refused(self, folder: Path) -> None:
        config = folder / "text_encoder_3" / "config.json"
        quantised = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}
        config.write_text(json.dumps(json.loads(config.read_text()) | quantised))
        with pytest.raises(UserError, match="text_encoder_3 holds quantised weights"):
            load_pipeline(folder)

    @pytest.mark.parametrize("part", ["transformer", "text_encoder_2", "text_encoder_3"])
    def test_a_missing_tensor_is_refused_by_name(self, folder: Path, part: str) -> None:
        file = next((folder / part).glob("*.safetensors"))
        state = load_file(file)
        name = next(name for name in sorted(state) if "shared" not in name and "embed_tokens" not in name)
        del state[name]
        save_file(state, file, {"format": "pt"})
        with pytest.raises(
            UserError, match=rf"{part}: weights and config\.json do not fit: \S*{name} \(missing\)"
        ):
            load_pipeline(folder)

    def test_a_t5_that_the_index_names_must_be_there(self, folder: Path) -> None:
        shutil.rmtree(folder / "text_encoder_3")
        with pytest.raises(UserError, match=r"text_encoder_3 has no config\.json"):
            load_pipeline(folder)

    def test_a_scheduler_of_another_kind_is_refused_by_its_option(self, folder: Path) -> None:
        pipeline = load_pipeline(folder)
        other = replace(pipeline, scheduler={**pipeline.scheduler, "use_karras_sigmas": True})
        with pytest.raises(UserError, match="the scheduler's use_karras_sigmas is True; only False is known"):
            other.denoiser()

    def test_images_that_are_too_large_or_of_no_whole_patches(self, sd3_folder: Path) -> None:
        pipeline = load_pipeline(sd3_folder)
        with pytest.raises(UserError, match="images of 18 pixels do not consist of whole patches of 4"):
            pipeline.denoiser(18)
        with pytest.raises(UserError, match="latents of side 16 are larger than the network's positions"):
            pipeline.denoiser(32)


def test_a_published_lora_makes_the_stock_pipeline_s_images(sd3_folder: Path, tmp_path: Path) -> None:
    """With an alpha in the file's header, as diffusers' own training writes it."""
    torch.manual_seed(7)
    layers = ("transformer_blocks.0.attn.to_q", "transformer_blocks.1.attn.add_v_proj")
    state = {
        f"{layer}.lora_{part}.weight": 0.2 * torch.randn(shape)
        for layer in layers
        for part, shape in (("A", (2, 32)), ("B", (32, 2)))
    }
    settings = {"r": 2, "lora_alpha": 6, "target_modules": list(layers)}
    StableDiffusion3Pipeline.save_lora_weights(
        tmp_path, transformer_lora_layers=state, transformer_lora_adapter_metadata=settings
    )
    pipeline, lora = load_pipeline(sd3_folder), stock(sd3_folder)
    student = load_published(tmp_path, SD3Denoiser, pipeline.network)
    found = one_step(replace(pipeline, network=student), PROMPTS[:2])
    lora.load_lora_weights(tmp_path)
    expected = stock_images(lora, PROMPTS[:2], num_inference_steps=1, guidance_scale=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert not torch.allclose(expected, one_step(pipeline, PROMPTS[:2]), atol=1e-3)
