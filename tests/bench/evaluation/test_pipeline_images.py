"""A diffusers pipeline makes of the protocol's prompts and seeds what diffusers alone makes of them."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import class_transformers
import numpy as np
import pytest
import torch
from diffusers import (
    CMStochasticIterativeScheduler,
    ConsistencyModelPipeline,
    DDIMScheduler,
    DiTPipeline,
    StableDiffusionPipeline,
)
from pixart_pipelines import tiny_pixart
from safetensors.torch import load_file, save_file
from text_pipelines import SIDE, save_sd15, save_sdxl

from bench.core.errors import UserError
from bench.evaluation.pipeline_images import PipelineImages
from bench.models.backbones.edm import small_network
from bench.models.stock_pipelines import StockPipeline, open_pipeline
from bench.task.base import PreparedTask

PROMPTS = ["a red cat", "the dog", "a shoe", "two dogs"]


@pytest.fixture(scope="module")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sd15(tmp_path_factory.mktemp("pipelines") / "sd15")


def opened(source: Path, **options: Any) -> StockPipeline:
    settings = {"scheduler": None, "steps": None, "guidance": None, "dtype": "float32"} | options
    return open_pipeline(str(source), download=False, **settings)


def prepared(tiny: PreparedTask, prompts: list[str], side: int) -> PreparedTask:
    """As much of a prepared task as a pipeline reads: four images of a side, of prompts or of three classes."""
    protocol = replace(tiny.task.protocol, samples=4, repetitions=2, first_seed=10)
    found = SimpleNamespace(
        task=SimpleNamespace(name="standin", protocol=protocol, image_shape=(3, side, side)),
        prompts_of=lambda indices: [prompts[index] for index in indices.tolist()] if prompts else (),
        conditions=lambda indices: indices % 3,
        sample_shape=(3, side, side),
    )
    return cast("PreparedTask", found)


def images_of(pipeline: StockPipeline, task: PreparedTask) -> PipelineImages:
    return PipelineImages(pipeline.load(), pipeline.settings(), task)


def test_images_are_those_of_diffusers_alone(sd15: Path, tiny: PreparedTask) -> None:
    stock = opened(sd15, scheduler="DDIMScheduler", steps=3, guidance=4.0)
    source = images_of(stock, prepared(tiny, PROMPTS, SIDE))
    batch = source.batch(1, 1, 4)
    own = StableDiffusionPipeline.from_pretrained(sd15, safety_checker=None, requires_safety_checker=False)
    own.scheduler = DDIMScheduler.from_config(own.scheduler.config)
    own.set_progress_bar_config(disable=True)
    settings = {"num_inference_steps": 3, "guidance_scale": 4.0, "height": SIDE, "width": SIDE}
    seeds = [10 + 4 + index for index in (1, 2, 3)]
    pictures = own(
        PROMPTS[1:], generator=[torch.Generator().manual_seed(seed) for seed in seeds], **settings
    ).images
    expected = torch.from_numpy(np.stack([np.array(picture) for picture in pictures])).permute(0, 3, 1, 2)
    assert torch.equal(batch.images, expected)
    assert batch.prompts == PROMPTS[1:] and batch.conditions is None and batch.finite
    assert source.evaluations == 6, "guidance takes two passes for one"
    assert source.parameters == sum(one.numel() for one in own.unet.parameters())
    alone = source.batch(1, 2, 3)
    assert (alone.images.int() - batch.images[1:2].int()).abs().max() <= 1, "an image does not depend on its batch"


def test_prompts_that_are_cut_are_counted_once_and_not_shown(
    sd15: Path, tiny: PreparedTask, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts, notes = [*PROMPTS[:3], "a cat " * 60], list[str]()
    task = prepared(tiny, prompts, SIDE)
    task.protocol_prompts = lambda: prompts  # type: ignore[method-assign]
    source = images_of(opened(sd15, steps=1), task)
    source.note_cut(notes.append)
    source.batch(0, 0, 4)
    assert notes == [
        "4 prompts of StableDiffusionPipeline: 1 longer than the text encoder reads, and cut there, at 3 (counted "
        "from 0)"
    ]
    assert "truncated" not in capsys.readouterr().err


def test_all_settings_are_recorded_with_the_pipelines_own_defaults(sd15: Path) -> None:
    settings = opened(sd15, steps=7).settings()
    assert settings["pipeline"] == "StableDiffusionPipeline" and settings["source"] == "sd15"
    assert settings["scheduler"] == "PNDMScheduler" and settings["dtype"] == "float32"
    assert settings["num_inference_steps"] == 7 and settings["guidance_scale"] == 7.5
    assert json.loads(json.dumps(settings)) == settings


def test_the_hash_is_of_all_that_the_pipeline_is_loaded_from(sd15: Path, tmp_path: Path) -> None:
    other = save_sd15(tmp_path / "other")
    assert opened(other).sha256() == opened(sd15).sha256()
    (other / "README.md").write_text("not loaded")
    assert opened(other).sha256() == opened(sd15).sha256()
    config = other / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace('"steps_offset": 1', '"steps_offset": 0'))
    assert opened(other).sha256() != opened(sd15).sha256()


def test_a_class_conditional_pipeline_gets_classes(tiny: PreparedTask, tmp_path: Path) -> None:
    class_transformers.tiny_pipeline().save_pretrained(tmp_path / "dit")
    side = class_transformers.SIDE * 4
    source = images_of(opened(tmp_path / "dit", steps=2, guidance=1.0), prepared(tiny, [], side))
    batch = source.batch(0, 1, 4)
    own = DiTPipeline.from_pretrained(tmp_path / "dit")
    own.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in (11, 12, 13)]
    arguments = {"num_inference_steps": 2, "guidance_scale": 1.0, "output_type": "np"}
    made = own([1, 2, 0], generator=generators, **arguments).images
    expected = torch.from_numpy((made * 255).round().astype(np.uint8)).permute(0, 3, 1, 2)
    apart = (batch.images.int() - expected.int()).abs()
    assert apart.max() <= 1 and (apart > 0).float().mean() < 0.001, "but for the rounding of single values"
    assert batch.conditions is not None and batch.conditions.tolist() == [1, 2, 0]
    assert source.evaluations == 2


def test_prompts_and_classes_are_not_mixed_up_and_neither_are_sizes(sd15: Path, tiny: PreparedTask) -> None:
    with pytest.raises(
        UserError, match="'standin' are of classes, and StableDiffusionPipeline takes prompts; fix"
    ):
        images_of(opened(sd15), prepared(tiny, [], SIDE))
    source = images_of(opened(sd15, steps=1), prepared(tiny, PROMPTS, SIDE + 1))
    with pytest.raises(UserError, match=r"StableDiffusionPipeline failed: ValueError.*divisible by 8"):
        source.batch(0, 0, 1)


def edited(sd15: Path, to: Path, **parts: Any) -> Path:
    """A copy of the index alone, with other parts."""
    to.mkdir()
    index = json.loads((sd15 / "model_index.json").read_text())
    (to / "model_index.json").write_text(json.dumps(index | parts))
    return to


def test_what_is_refused_before_anything_is_loaded(sd15: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, options, problem in (
        (tmp_path / "empty", {}, r"has no model_index\.json"),
        (
            edited(sd15, tmp_path / "a", _class_name="MyPipeline"),
            {},
            "'MyPipeline', which is no pipeline of diffusers",
        ),
        (edited(sd15, tmp_path / "b", _class_name=["mine", "Mine"]), {}, "which is no pipeline of diffusers"),
        (
            edited(sd15, tmp_path / "c", unet=["mine", "Net"]),
            {},
            "unet would run code that is not of diffusers or",
        ),
        (edited(sd15, tmp_path / "d", _class_name="DDPMPipeline"), {}, "takes neither prompts nor class labels"),
        (sd15, {"scheduler": "DDMScheduler"}, "unknown scheduler of diffusers 'DDMScheduler'; did you mean 'DD"),
        (sd15, {"scheduler": "UNet2DModel"}, "unknown scheduler of diffusers"),
        (sd15, {"dtype": "float8"}, "unknown --dtype 'float8'"),
    ):
        with pytest.raises(UserError, match=problem):
            opened(folder, **options)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    other = save_sd15(tmp_path / "other")
    weights = other / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save({}, weights.with_name("diffusion_pytorch_model.bin"))
    weights.unlink()
    with pytest.raises(UserError, match=r"unet has neither .*: pickles .* are not read; fix: python -c "):
        opened(other).load()


@pytest.mark.parametrize(
    ("part", "name", "change"),
    [
        ("unet", "conv_in.weight", None),
        ("text_encoder", "encoder.layers.0.mlp.fc1.weight", None),
        ("text_encoder", "of.nothing", torch.zeros(2)),
        ("vae", "quant_conv.bias", torch.zeros(8, dtype=torch.int8)),
        ("unet", "conv_in.bias", torch.full((16,), torch.nan)),
    ],
)
def test_no_weight_is_made_up_ignored_or_cast(
    part: str, name: str, change: torch.Tensor | None, tmp_path: Path
) -> None:
    """Missing weights of a text encoder are random in transformers, and only its log says so."""
    folder = save_sd15(tmp_path / "sd15")
    (file,) = (folder / part).glob("*.safetensors")
    state = {key: value for key, value in load_file(file).items() if key.removeprefix("text_model.") != name}
    save_file(state if change is None else state | {name: change}, file, {"format": "pt"})
    with pytest.raises(UserError, match=rf"{part}: weights and config\.json do not fit: {name} .*; fix"):
        opened(folder).load()


def test_a_vocabulary_is_not_made_up(tmp_path: Path) -> None:
    folder = save_sd15(tmp_path / "sd15")
    for file in (folder / "tokenizer").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="tokenizer has no vocabulary"):
        opened(folder).load()


def test_a_scheduler_of_other_networks_is_refused_before_anything_is_loaded(sd15: Path, tmp_path: Path) -> None:
    for folder in (sd15, save_sdxl(tmp_path / "sdxl")):
        with pytest.raises(UserError, match=r"EDMEulerScheduler .*; fix: leave out --scheduler, or .*DDIM"):
            opened(folder, scheduler="EDMEulerScheduler")


def test_prompts_are_not_rewritten_and_images_not_resized(tiny: PreparedTask, tmp_path: Path) -> None:
    """PixArt's pipeline would do both: the one where packages for it are installed, the other at unknown sizes."""
    tiny_pixart().save_pretrained(tmp_path / "pixart")
    stock = opened(tmp_path / "pixart", steps=2)
    assert stock.settings()["clean_caption"] is False and stock.settings()["use_resolution_binning"] is False
    batch = images_of(stock, prepared(tiny, PROMPTS, SIDE)).batch(0, 0, 2)
    assert batch.images.shape == (2, 3, SIDE, SIDE)


def test_a_consistency_models_pipeline(tiny: PreparedTask, tmp_path: Path) -> None:
    """It takes no guidance, and counts its images by an argument of its own."""
    unet = small_network((3, 8, 8), 3, (32, 64))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for parameter in unet.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    own = ConsistencyModelPipeline(unet, CMStochasticIterativeScheduler())
    own.save_pretrained(tmp_path / "cd")
    stock = opened(tmp_path / "cd")
    assert "guidance_scale" not in stock.settings() and stock.settings()["num_inference_steps"] == 1
    batch = images_of(stock, prepared(tiny, [], 8)).batch(0, 1, 3)
    own.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in (11, 12)]
    made = own(2, [1, 2], 1, generator=generators, output_type="np").images
    assert torch.equal(batch.images, torch.from_numpy((made * 255).round().astype(np.uint8)).permute(0, 3, 1, 2))


def test_loading_and_sampling_print_nothing_of_their_own(
    sd15: Path, tiny: PreparedTask, capfd: pytest.CaptureFixture[str]
) -> None:
    """Bars would be drawn among those of the command, on the same lines."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        images_of(opened(sd15, steps=1), prepared(tiny, PROMPTS, SIDE)).batch(0, 0, 1)
    assert not [one.message for one in warned if issubclass(one.category, FutureWarning)]
    assert capfd.readouterr() == ("", "")
