"""Published students: the files' forms on a tiny SDXL, and what of a wrong file is said."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from diffusers import LCMScheduler
from safetensors.torch import save_file
from text_pipelines import SCALED_LINEAR, normal, tiny_unet
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.text.lora import LoRASpec, add_lora, lora_state
from bench.models.text.published import load_published


@pytest.fixture
def teacher() -> nn.Module:
    torch.manual_seed(0)
    return tiny_unet(sdxl=True)


@pytest.fixture
def student() -> nn.Module:
    """Other weights of the same network."""
    torch.manual_seed(1)
    return tiny_unet(sdxl=True)


def run(unet: nn.Module) -> Tensor:
    added = {"text_embeds": normal(2, 2, 24), "time_ids": torch.full((2, 6), 16.0)}
    times = torch.tensor([399, 999])
    with torch.no_grad():
        return unet(normal(0, 2, 4, 8, 8), times, normal(1, 2, 77, 40), added_cond_kwargs=added).sample


def adapted(teacher: nn.Module) -> nn.Module:
    """A LoRA student of the teacher in training, with DMD2's alpha."""
    unet = tiny_unet(sdxl=True)
    unet.load_state_dict(teacher.state_dict())
    add_lora(unet, LoRASpec(rank=4), StableDiffusionDenoiser.lora_targets)
    with torch.no_grad():
        for seed, (name, parameter) in enumerate(unet.named_parameters()):
            if "lora_B" in name:
                parameter += 0.5 * normal(seed, *parameter.shape)
    return unet


def test_a_unet_s_state_dict_in_fp16(teacher: nn.Module, student: nn.Module, tmp_path: Path) -> None:
    """`dmd2_sdxl_4step_unet_fp16.bin`: torch.save of a half-precision state dict."""
    file = tmp_path / "dmd2_sdxl_4step_unet_fp16.bin"
    torch.save(student.half().state_dict(), file)
    found = load_published(file, StableDiffusionDenoiser, teacher)
    assert found.dtype == torch.float32 and not found.training
    assert not any(parameter.requires_grad for parameter in found.parameters())
    assert torch.equal(run(found), run(student.float()))


def test_a_safetensors_unet(teacher: nn.Module, student: nn.Module, tmp_path: Path) -> None:
    save_file(student.state_dict(), tmp_path / "sdxl_lightning_4step_unet.safetensors")
    found = load_published(tmp_path / "sdxl_lightning_4step_unet.safetensors", StableDiffusionDenoiser, teacher)
    assert torch.equal(run(found), run(student))


@pytest.mark.parametrize("prefix", ["", "feedforward_model."])
def test_a_training_s_folder(teacher: nn.Module, student: nn.Module, tmp_path: Path, prefix: str) -> None:
    """Its `pytorch_model.bin` is the generator, beside it lies the guidance model."""
    torch.save({prefix + name: v for name, v in student.state_dict().items()}, tmp_path / "pytorch_model.bin")
    torch.save({"fake_unet.conv_in.weight": torch.zeros(1)}, tmp_path / "pytorch_model_1.bin")
    assert torch.equal(run(load_published(tmp_path, StableDiffusionDenoiser, teacher)), run(student))


def test_a_folder_of_diffusers(teacher: nn.Module, student: nn.Module, tmp_path: Path) -> None:
    student.save_pretrained(tmp_path / "unet")
    found = load_published(tmp_path / "unet", StableDiffusionDenoiser, teacher).state_dict()
    assert all(torch.equal(found[name], value) for name, value in student.state_dict().items())


def test_a_lora(teacher: nn.Module, tmp_path: Path) -> None:
    unet = adapted(teacher)
    save_file(lora_state(unet), tmp_path / "dmd2_sdxl_4step_lora.safetensors")
    before = run(teacher)
    found = load_published(tmp_path / "dmd2_sdxl_4step_lora.safetensors", StableDiffusionDenoiser, teacher)
    torch.testing.assert_close(run(found), run(unet), rtol=1e-5, atol=1e-5)
    assert (run(found) - before).abs().max() > 1e-2
    assert torch.equal(run(teacher), before)


def test_a_lora_training_s_folder(teacher: nn.Module, tmp_path: Path) -> None:
    """Its generator has peft's layers inside; alpha is not in the file."""
    unet = adapted(teacher)
    torch.save(unet.state_dict(), tmp_path / "pytorch_model.bin")
    torch.testing.assert_close(
        run(load_published(tmp_path, StableDiffusionDenoiser, teacher)), run(unet), rtol=1e-5, atol=1e-5
    )


def test_a_unet_in_parts(teacher: nn.Module, student: nn.Module, tmp_path: Path) -> None:
    student.save_pretrained(tmp_path, max_shard_size="50KB")
    assert (tmp_path / "diffusion_pytorch_model.safetensors.index.json").is_file()
    assert torch.equal(run(load_published(tmp_path, StableDiffusionDenoiser, teacher)), run(student))


def test_a_pipeline_s_folder(teacher: nn.Module, student: nn.Module, tmp_path: Path) -> None:
    """Its unet/ is the student, and that is said; its scheduler must be of the teacher's schedule."""
    student.save_pretrained(tmp_path / "unet")
    (tmp_path / "model_index.json").write_text("{}")
    notes: list[str] = []
    own = LCMScheduler(**SCALED_LINEAR).config
    found = load_published(tmp_path, StableDiffusionDenoiser, teacher, notes.append, own)
    assert torch.equal(run(found), run(student))
    assert notes == [
        f"only unet/ of the pipeline {tmp_path} is used as the student; everything else is the teacher's"
    ]
    (tmp_path / "scheduler").mkdir()
    LCMScheduler(**SCALED_LINEAR, prediction_type="v_prediction").save_pretrained(tmp_path / "scheduler")
    with pytest.raises(UserError, match="another schedule than the teacher: prediction v for epsilon; fix"):
        load_published(tmp_path, StableDiffusionDenoiser, teacher, notes.append, own)


@pytest.mark.parametrize("named", ["unet", "unet/diffusion_pytorch_model.safetensors"])
def test_a_part_of_a_pipeline_is_compared_as_the_whole_pipeline_is(
    teacher: nn.Module, student: nn.Module, named: str, tmp_path: Path
) -> None:
    student.save_pretrained(tmp_path / "unet")
    LCMScheduler(**SCALED_LINEAR, prediction_type="v_prediction").save_pretrained(tmp_path / "scheduler")
    with pytest.raises(UserError, match="another schedule than the teacher: prediction v for epsilon; fix"):
        load_published(
            tmp_path / named, StableDiffusionDenoiser, teacher, None, LCMScheduler(**SCALED_LINEAR).config
        )
    config = tmp_path / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"act_fn": "gelu"}))
    with pytest.raises(UserError, match=r"act_fn \(gelu for silu\)"):
        load_published(tmp_path / named, StableDiffusionDenoiser, teacher)


def test_options_that_this_diffusers_has_not_are_named(
    teacher: nn.Module, student: nn.Module, tmp_path: Path
) -> None:
    """Such as those of the average that diffusers' own training script writes there."""
    student.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"decay": 0.9999, "later": 1}))
    notes: list[str] = []
    load_published(tmp_path, StableDiffusionDenoiser, teacher, notes.append)
    assert len(notes) == 1 and notes[0].endswith("has no such options, and they are not used: decay, later")


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "module.", "unet.", "model.diffusion_model.", "module._orig_mod."]
)
def test_prefixes_of_tools(teacher: nn.Module, student: nn.Module, prefix: str, tmp_path: Path) -> None:
    torch.save({prefix + name: value for name, value in student.state_dict().items()}, tmp_path / "unet.bin")
    assert torch.equal(run(load_published(tmp_path / "unet.bin", StableDiffusionDenoiser, teacher)), run(student))


class TestWhatIsWrong:
    def test_a_folder_with_two_students(self, teacher: nn.Module, student: nn.Module, tmp_path: Path) -> None:
        folder = tmp_path / "two students"
        student.save_pretrained(folder)
        save_file(lora_state(adapted(teacher)), folder / "pytorch_lora_weights.safetensors")
        with pytest.raises(UserError, match=r"any of these could be the student; fix: .*--checkpoint '.*two stud"):
            load_published(folder, StableDiffusionDenoiser, teacher)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"act_fn": "relu"}, r"act_fn \(relu for silu\)"),
            ({"attention_head_dim": [4, 4]}, r"attention_head_dim \(\[4, 4\] for"),
            ({"_class_name": "UNet3DConditionModel"}, "holds a UNet3DConditionModel, and a UNet2D"),
        ],
    )
    def test_another_network_of_the_same_shapes(
        self, teacher: nn.Module, student: nn.Module, values: dict[str, object], message: str, tmp_path: Path
    ) -> None:
        student.save_pretrained(tmp_path)
        config = tmp_path / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | values))
        with pytest.raises(UserError, match=message):
            load_published(tmp_path, StableDiffusionDenoiser, teacher)

    @pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
    def test_a_quantised_unet(
        self, teacher: nn.Module, student: nn.Module, dtype: torch.dtype, tmp_path: Path
    ) -> None:
        state = {name: value.to(dtype) for name, value in student.state_dict().items()}
        save_file(state, tmp_path / "unet.safetensors")
        with pytest.raises(UserError, match=r"unet\.safetensors is not a UNet2D.*quantised or not weights"):
            load_published(tmp_path / "unet.safetensors", StableDiffusionDenoiser, teacher)

    def test_a_pipeline_in_one_file_is_no_student(self, teacher: nn.Module, tmp_path: Path) -> None:
        state = {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(1)}
        save_file(state, tmp_path / "sdxl.safetensors")
        with pytest.raises(UserError, match=r"a pipeline in one file; fix: read it with .*from_single_file"):
            load_published(tmp_path / "sdxl.safetensors", StableDiffusionDenoiser, teacher)

    def test_a_training_of_a_lora_says_which_alpha_is_taken(self, teacher: nn.Module, tmp_path: Path) -> None:
        torch.save(adapted(teacher).state_dict(), tmp_path / "pytorch_model.bin")
        notes: list[str] = []
        load_published(tmp_path, StableDiffusionDenoiser, teacher, notes.append)
        assert len(notes) == 1 and "keeps no alpha: DMD2's 8 is taken" in notes[0]

    def test_names_and_shapes(self, teacher: nn.Module, student: nn.Module, tmp_path: Path) -> None:
        state = student.state_dict()
        del state["conv_out.bias"]
        state["conv_in.weight"] = state["conv_in.weight"][:, :3]
        state["other"] = torch.zeros(1)
        torch.save(state, tmp_path / "unet.bin")
        with pytest.raises(UserError) as caught:
            load_published(tmp_path / "unet.bin", StableDiffusionDenoiser, teacher)
        message = str(caught.value)
        assert "conv_out.bias (missing)" in message and "other (unexpected)" in message
        assert "conv_in.weight ([16, 3, 3, 3] for [16, 4, 3, 3])" in message

    def test_another_model(self, teacher: nn.Module, tmp_path: Path) -> None:
        torch.save(tiny_unet().state_dict(), tmp_path / "sd15.bin")
        with pytest.raises(
            UserError, match=r"sd15\.bin is not a UNet2D\w+ like the teacher's: .*\(missing\).* more"
        ):
            load_published(tmp_path / "sd15.bin", StableDiffusionDenoiser, teacher)

    def test_adapters_without_their_layer(self, teacher: nn.Module, tmp_path: Path) -> None:
        state = adapted(teacher).state_dict()
        state = {name: value for name, value in state.items() if not name.endswith("lora_B.default.weight")}
        torch.save(state, tmp_path / "pytorch_model.bin")
        with pytest.raises(UserError, match=r"lora_B\.default\.weight|lora_A\.default\.weight"):
            load_published(tmp_path, StableDiffusionDenoiser, teacher)

    def test_a_folder_of_other_things(self, teacher: nn.Module, tmp_path: Path) -> None:
        (tmp_path / "optimizer.bin").touch()
        with pytest.raises(UserError, match=r"holds none of pytorch_model\.bin, .*; it holds optimizer\.bin"):
            load_published(tmp_path, StableDiffusionDenoiser, teacher)

    def test_nothing_in_a_file_is_run(self, teacher: nn.Module, tmp_path: Path) -> None:
        class Trap:
            def __reduce__(self) -> tuple[object, tuple[str]]:
                return Path.touch, (tmp_path / "sprung",)

        torch.save({"conv_in.weight": Trap()}, tmp_path / "unet.bin", pickle_module=pickle)
        with pytest.raises(UserError, match=r"holds more than weights"):
            load_published(tmp_path / "unet.bin", StableDiffusionDenoiser, teacher)
        assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (["config.json", "diffusion_pytorch_model.fp16.safetensors"], "diffusion_pytorch_model.fp16.safetensors"),
        (
            [
                "diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
                "diffusion_pytorch_model.fp16-00002-of-00002.safetensors",
                "diffusion_pytorch_model.fp16.safetensors.index.json",
            ],
            "diffusion_pytorch_model.fp16.safetensors.index.json",
        ),
        (["refs/main", "blobs/77aa", "snapshots/0123abcd/unet/config.json"], "snapshots/0123abcd"),
        (["notes.txt"], None),
    ],
)
def test_the_fix_of_a_folder_without_a_student_names_the_one_that_it_holds(
    files: list[str], named: str | None, teacher: nn.Module, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError) as refused:
        load_published(tmp_path, StableDiffusionDenoiser, teacher)
    assert str(refused.value).endswith(f"fix: name {tmp_path / named if named else 'the file itself'}")
