"""Denoisers from every published form: recognised by content, and refused in words that help."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import CMStochasticIterativeScheduler
from edm_files import to_official, write_official
from edm_reference import SMALLEST, random_weights
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.core.errors import UserError
from bench.models.backbones.edm import EDMDenoiser
from bench.models.saved import save_denoiser
from bench.models.weights.checkpoints import load_edm_denoiser
from bench.models.weights.consistency import ConsistencyDenoiser
from bench.models.weights.convert import infer_network, to_diffusers
from bench.models.weights.edm_unet import edm_unet_with


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.fixture(scope="module")
def generator() -> dict[str, Tensor]:
    return random_weights(SMALLEST, seed=0)


@pytest.fixture(scope="module")
def guidance() -> dict[str, Tensor]:
    """The second file of a DMD2 training: teacher, critic, discriminator, the grid of noise levels."""
    return {
        **prefixed("real_unet.", random_weights(SMALLEST, seed=1)),
        **prefixed("fake_unet.", random_weights(SMALLEST, seed=2)),
        "cls_pred_branch.0.weight": torch.ones(2, 2, 4, 4),
        "karras_sigmas": torch.linspace(0.002, 80, 1000),
    }


def holds(denoiser: EDMDenoiser, official: dict[str, Tensor]) -> bool:
    """Whether a denoiser has exactly these official weights."""
    found = to_official(denoiser.network.state_dict(), infer_network(official))
    return all(torch.equal(found[name], tensor) for name, tensor in official.items())


# EDM's pickle


def test_an_edm_pickle(tmp_path: Path, generator: dict[str, Tensor]) -> None:
    path = write_official(tmp_path / "edm.pkl", generator, {"": {"sigma_data": 0.5}})
    loaded = load_edm_denoiser(path)
    assert (loaded.format, loaded.source, loaded.taken) == ("EDM pickle", path, "ema")
    assert type(loaded.denoiser) is EDMDenoiser
    assert holds(loaded.denoiser, generator)
    assert not loaded.denoiser.network.training
    assert not any(parameter.requires_grad for parameter in loaded.denoiser.parameters())
    assert loaded.denoiser.taps == ("encoder",)
    assert loaded.denoiser.schedule.sigma_data == 0.5


def test_the_name_of_a_file_does_not_matter(tmp_path: Path, generator: dict[str, Tensor]) -> None:
    assert load_edm_denoiser(write_official(tmp_path / "weights.bin", generator)).format == "EDM pickle"
    torch.save(generator, tmp_path / "weights.pkl")
    assert load_edm_denoiser(tmp_path / "weights.pkl").format == "DMD2 checkpoint"


def test_a_pickle_whose_modules_differ_is_refused(tmp_path: Path, generator: dict[str, Tensor]) -> None:
    path = write_official(tmp_path / "edm.pkl", generator, {"model.out_norm": {"num_groups": 16}})
    with pytest.raises(UserError, match=r"edm\.pkl: model\.out_norm\.num_groups is 16"):
        load_edm_denoiser(path)


def test_a_pickle_that_runs_something_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    for protocol in range(6):
        (tmp_path / "edm.pkl").write_bytes(pickle.dumps({"ema": Evil()}, protocol=protocol))
        with pytest.raises(UserError):
            load_edm_denoiser(tmp_path / "edm.pkl")
        torch.save({"model.map_layer0.weight": Evil()}, tmp_path / "model.bin", pickle_protocol=2)
        with pytest.raises(UserError, match="nothing in it was run"):
            load_edm_denoiser(tmp_path / "model.bin")
    assert not (tmp_path / "ran").exists()


# DMD2's checkpoints


def write_zip(state: dict[str, Tensor], path: Path) -> None:
    torch.save(state, path)


def write_old(state: dict[str, Tensor], path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("write", "name"),
    [(write_zip, "pytorch_model.bin"), (write_old, "pytorch_model.bin"), (save_file, "model.safetensors")],
    ids=["torch", "torch before 1.6", "safetensors"],
)
def test_a_generator_as_a_file_and_as_its_folder(
    tmp_path: Path, generator: dict[str, Tensor], write: Callable[[dict[str, Tensor], Path], None], name: str
) -> None:
    write(generator, tmp_path / name)
    for path in (tmp_path / name, tmp_path):
        loaded = load_edm_denoiser(path)
        assert (loaded.format, loaded.source) == ("DMD2 checkpoint", tmp_path / name)
        assert loaded.taken == "generator"
        assert holds(loaded.denoiser, generator)


@pytest.fixture(scope="module")
def training(
    tmp_path_factory: pytest.TempPathFactory, generator: dict[str, Tensor], guidance: dict[str, Tensor]
) -> Path:
    """A training's folder as accelerate leaves it."""
    folder = tmp_path_factory.mktemp("checkpoint_model_193500")
    torch.save(generator, folder / "pytorch_model.bin")
    torch.save(guidance, folder / "pytorch_model_1.bin")
    (folder / "optimizer.bin").write_bytes(b"never opened")
    return folder


def test_a_training_s_folder_is_its_generator(training: Path, generator: dict[str, Tensor]) -> None:
    loaded = load_edm_denoiser(training)
    assert holds(loaded.denoiser, generator)
    assert (loaded.source, loaded.taken) == (training / "pytorch_model.bin", "generator")


def test_a_whole_training_in_one_file(
    tmp_path: Path, generator: dict[str, Tensor], guidance: dict[str, Tensor]
) -> None:
    whole = {**prefixed("feedforward_model.", generator), **prefixed("guidance_model.", guidance)}
    torch.save(whole, tmp_path / "pytorch_model.bin")
    loaded = load_edm_denoiser(tmp_path)
    assert loaded.taken == "generator (feedforward_model.*)"
    assert holds(loaded.denoiser, generator)


def test_a_file_without_the_generator_is_refused(training: Path) -> None:
    with pytest.raises(UserError, match="holds no generator but teacher, critic; fix: name the file"):
        load_edm_denoiser(training / "pytorch_model_1.bin")


def test_missing_keys_are_named_with_the_file(tmp_path: Path, generator: dict[str, Tensor]) -> None:
    torch.save({name: t for name, t in generator.items() if "out_norm" not in name}, tmp_path / "model.bin")
    with pytest.raises(
        UserError, match=r"model\.bin: .*2 missing: model\.out_norm\.weight, model\.out_norm\.bias"
    ):
        load_edm_denoiser(tmp_path / "model.bin")


def test_other_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.ones(3)}, tmp_path / "resnet.pt")
    with pytest.raises(UserError, match=r"resnet\.pt: not EDM's .* only conv1\.weight"):
        load_edm_denoiser(tmp_path / "resnet.pt")


# Diffusers folders


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory, generator: dict[str, Tensor]) -> Path:
    """A consistency model as it is published: model_index.json, scheduler/, unet/."""
    folder = tmp_path_factory.mktemp("diffusers-cd")
    network = infer_network(generator)
    edm_unet_with(network, to_diffusers(generator, network)).save_pretrained(folder / "unet")
    index = {"_class_name": "ConsistencyModelPipeline", "unet": ["diffusers", "UNet2DModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    CMStochasticIterativeScheduler(num_train_timesteps=201).save_pretrained(folder / "scheduler")
    return folder


@pytest.mark.parametrize("inner", ["", "unet"])
def test_a_consistency_model(pipeline: Path, generator: dict[str, Tensor], inner: str) -> None:
    loaded = load_edm_denoiser(pipeline / inner)
    assert (loaded.format, loaded.source, loaded.taken) == ("diffusers", pipeline / "unet", "consistency")
    assert isinstance(loaded.denoiser, ConsistencyDenoiser)
    assert (loaded.denoiser.noise_scale, loaded.denoiser.sigma_min) == (250.0, 0.002)
    assert holds(loaded.denoiser, generator)
    assert loaded.samplers == {1: [200], 2: [200, 94]}
    assert loaded.denoiser.schedule.grid[[200, 94]].tolist() == pytest.approx([80, 1.9128436])


def test_a_consistency_model_without_its_levels_is_refused(pipeline: Path, tmp_path: Path) -> None:
    shutil.copytree(pipeline, tmp_path / "cd")
    config = tmp_path / "cd" / "scheduler" / "scheduler_config.json"
    config.write_text("{}")
    with pytest.raises(UserError, match=f"{config}: num_train_timesteps is None"):
        load_edm_denoiser(tmp_path / "cd")
    config.unlink()
    with pytest.raises(UserError, match=r"holds no scheduler/scheduler_config\.json: a consistency model needs"):
        load_edm_denoiser(tmp_path / "cd")


def test_openai_s_edm_teacher_has_the_scale_without_the_boundary(pipeline: Path) -> None:
    denoiser = load_edm_denoiser(pipeline, preconditioning="openai-edm").denoiser
    assert isinstance(denoiser, ConsistencyDenoiser)
    assert (denoiser.noise_scale, denoiser.sigma_min) == (250.0, 0.0)


@pytest.fixture
def bare(tmp_path: Path, pipeline: Path) -> Path:
    """A UNet's folder alone."""
    shutil.copytree(pipeline / "unet", tmp_path / "bare")
    return tmp_path / "bare"


def test_a_bare_unet_must_be_told_its_preconditioning(bare: Path, generator: dict[str, Tensor]) -> None:
    with pytest.raises(UserError, match=r"how its network is used.* fix: name the file that its training wrote"):
        load_edm_denoiser(bare)
    loaded = load_edm_denoiser(bare, preconditioning="edm")
    assert type(loaded.denoiser) is EDMDenoiser
    assert holds(loaded.denoiser, generator)


def test_dropout_is_off_whatever_the_config(bare: Path) -> None:
    config = json.loads((bare / "config.json").read_text())
    (bare / "config.json").write_text(json.dumps({**config, "dropout": 0.1}))
    denoiser = load_edm_denoiser(bare, preconditioning="openai-edm").denoiser
    rates = {module.p for module in denoiser.modules() if isinstance(module, torch.nn.Dropout)}
    assert rates == {0.0}


def test_torch_weights_in_a_diffusers_folder(bare: Path, generator: dict[str, Tensor]) -> None:
    weights = bare / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), bare / "diffusion_pytorch_model.bin")
    weights.unlink()
    assert holds(load_edm_denoiser(bare, preconditioning="edm").denoiser, generator)


def test_weights_that_do_not_fit_the_config_are_not_left_random(bare: Path) -> None:
    weights = load_file(bare / "diffusion_pytorch_model.safetensors")
    weights["unknown"] = weights.pop("conv_out.bias")
    save_file(weights, bare / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"conv_out\.bias \(missing\)") as caught:
        load_edm_denoiser(bare, preconditioning="edm")
    assert "unknown (unexpected)" in str(caught.value)


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("config.json", b"{", "cannot read"),
        ("config.json", b"[]", "it contains no JSON object"),
        ("config.json", b'{"_class_name": "AutoencoderKL"}', "holds a AutoencoderKL"),
        ("config.json", b'{"_class_name": "UNet2DModel"}', "for no classes"),
        ("diffusion_pytorch_model.safetensors", b"", "cannot read"),
        ("diffusion_pytorch_model.safetensors", b"garbage, not weights", "cannot read"),
    ],
)
def test_damaged_diffusers_folders_are_named(bare: Path, file: str, content: bytes, reason: str) -> None:
    (bare / file).write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        load_edm_denoiser(bare, preconditioning="edm")
    assert str(bare) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_student_of_bench(tmp_path: Path, pipeline: Path, generator: dict[str, Tensor]) -> None:
    denoiser = load_edm_denoiser(pipeline, preconditioning="edm").denoiser
    save_denoiser(denoiser, tmp_path / "student", [999])
    loaded = load_edm_denoiser(tmp_path / "student")
    assert (loaded.format, loaded.source) == ("bench", tmp_path / "student")
    assert holds(loaded.denoiser, generator)


# Choices that there are not


def test_a_choice_that_means_nothing_is_refused(
    tmp_path: Path, generator: dict[str, Tensor], training: Path
) -> None:
    edm = write_official(tmp_path / "edm.pkl", generator)
    for path in (edm, training):
        with pytest.raises(UserError, match="'consistency' is for diffusers folders"):
            load_edm_denoiser(path, preconditioning="consistency")


def test_an_unknown_choice_answers_with_the_nearest(training: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'consistency'"):
        load_edm_denoiser(training, preconditioning="consistent")  # type: ignore[arg-type]


# Files that are no weights


def test_a_missing_file_answers_with_the_nearest(training: Path) -> None:
    with pytest.raises(UserError, match=r"does not exist; did you mean pytorch_model\.bin"):
        load_edm_denoiser(training / "pytorch_mode.bin")
    with pytest.raises(UserError, match=r"does not exist; fix: name a file or folder that is there$"):
        load_edm_denoiser(training / "nowhere" / "file")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>", "starts with b'<!DOCTYPE html><'"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"PK\x03\x04 a zip of something else", "nothing in it was run"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{ no json at all", "cut short or damaged"),
        (b"\x80\x04 no pickle", "not a whole pickle"),
    ],
)
def test_files_that_are_no_weights_are_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        load_edm_denoiser(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("write", [write_zip, write_old, save_file])
@pytest.mark.parametrize("keep", [0.001, 0.5, 0.99])
def test_cut_off_checkpoints_are_named(
    tmp_path: Path, write: Callable[[dict[str, Tensor], Path], None], keep: float
) -> None:
    path = tmp_path / "pytorch_model.bin"
    write({"model.map_layer0.weight": torch.ones(1000, 10), "b": torch.ones(3)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(UserError, match="cut short") as caught:
        load_edm_denoiser(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("value", [[torch.ones(1)], {"a": {"b": torch.ones(1)}}, {1: torch.ones(1)}, 3])
def test_checkpoints_of_something_else_are_named(tmp_path: Path, value: Any) -> None:
    torch.save(value, tmp_path / "other.bin")
    with pytest.raises(UserError, match=r"not a network's weights by name|more than a network's weights"):
        load_edm_denoiser(tmp_path / "other.bin")


def test_a_folder_without_weights_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=r"none of pytorch_model\.bin, .* only notes\.txt"):
        load_edm_denoiser(tmp_path)
