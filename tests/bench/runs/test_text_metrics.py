"""Metrics of images alone on text-to-image tasks: `bench eval --metric` with tiny networks and real images."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from command import output
from inception_files import photographs, random_inception
from PIL import Image
from tests_support import TEXT_PLUGIN
from text_pipelines import save_sd15, save_sdxl
from tiny_clip import tiny_openai_clip
from transformers import Dinov2Config, Dinov2Model

from bench.core.errors import UserError
from bench.features import published_images
from bench.features.files import PORT
from bench.features.networks.aesthetic import PLACES, WIDTHS
from bench.features.published_images import AESTHETIC, CLIP_IMAGES
from bench.features.scoring import CLIP_L14, CLIP_L14_336
from bench.runs.record import Record
from bench.runs.records import load_records

PLUGIN = ("--plugin", str(TEXT_PLUGIN))
TINY = "tiny-openai"


@pytest.fixture(scope="module", autouse=True)
def _tiny_networks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The extractors of OpenAI's CLIP, with its form and 32 pixels."""
    with (
        pytest.MonkeyPatch.context() as patch,
        tiny_openai_clip(TINY, 768, tmp_path_factory.mktemp("architecture")),
    ):
        for name, extractor, protocol in (
            ("CLIP_IMAGES", CLIP_IMAGES, CLIP_L14_336),
            ("AESTHETIC", AESTHETIC, CLIP_L14),
        ):
            tiny = replace(extractor, protocol=replace(protocol, architecture=TINY))
            patch.setattr(published_images, name, tiny)
        yield


@pytest.fixture(scope="module")
def reals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five photographs of three sizes."""
    folder = tmp_path_factory.mktemp("reals")
    for i, photo in enumerate(photographs(5, 60)):
        Image.fromarray(photo[:, : 40 + 10 * (i % 3)].permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def files(reals: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, ...]]:
    """Options of `bench prepare` for what a user has downloaded."""
    root = tmp_path_factory.mktemp("files")
    save_sd15(root / "sd15")
    save_sdxl(root / "sdxl")
    (root / "prompts.txt").write_text("a red bird\ntwo dogs in the snow\n")
    torch.manual_seed(0)
    torch.save(random_inception(16), root / PORT.name)
    torch.save(open_clip.create_model(TINY).state_dict(), root / "clip.bin")
    head = {}
    for place, sizes in zip(PLACES, itertools.pairwise(WIDTHS), strict=True):
        head[f"layers.{place}.weight"] = torch.randn(sizes[::-1]) * sizes[0] ** -0.5
        head[f"layers.{place}.bias"] = torch.zeros(sizes[1])
    torch.save(head, root / "head.pth")
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, mlp_ratio=2, image_size=56, patch_size=14
    )
    Dinov2Model(config).save_pretrained(root / "dinov2")
    weights = {
        "inception": PORT.name,
        "dinov2": "dinov2",
        "clip-l14-336": "clip.bin",
        "clip-l14": "clip.bin",
        "aesthetic": "head.pth",
    }
    return {
        "sd15": ("--teacher", str(root / "sd15"), "--prompts", str(root / "prompts.txt")),
        "sdxl": ("--teacher", str(root / "sdxl"), "--prompts", str(root / "prompts.txt")),
        "weights": tuple(
            part for name, file in weights.items() for part in ("--weights", f"{name}={root / file}")
        ),
        "reals": ("--reals", str(reals)),
    }


def prepare(name: str, cache: Path, *options: str) -> None:
    """Pin what is named; what the task's own protocol also wants, CLIP and LPIPS, is said to be missing."""
    with pytest.raises(UserError, match="is not prepared; missing:"):
        output("prepare", "--task", name, *options, "--own-weights", "--cache", str(cache), *PLUGIN)


def evaluated(name: str, cache: Path, metrics: str) -> Record:
    """The record of the teacher under these metrics."""
    task = ("--task", name, "--sampler", "teacher", "--metric", metrics)
    text = output("eval", *task, "--cache", str(cache), "--runs", str(cache / metrics), *PLUGIN)
    assert "record: " in text
    (record,) = load_records([cache / metrics]).records
    return record


def test_every_space_is_measured_in_one_pass(files: dict[str, tuple[str, ...]], tmp_path: Path) -> None:
    """The references are made of the folder of real images, which the task asks for by its option."""
    prepare("standin-sd15", tmp_path, *files["sd15"], *files["weights"])
    with pytest.raises(
        UserError, match=r"not prepared; missing:[^$]*reals: bench prepare --task .* --reals FOLDER"
    ):
        evaluated("standin-sd15", tmp_path, "cmmd")
    prepare("standin-sd15", tmp_path, *files["reals"])
    distances = ("kid", "fd-dinov2", "cmmd", "saturation", "sharpness", "contrast")
    record = evaluated("standin-sd15", tmp_path, ",".join((*distances, "vendi", "vendi-dinov2", "aesthetic")))
    found = {metric.name.removesuffix("-rms"): metric for metric in record.metrics}
    assert list(found) == [*distances, "vendi", "vendi-dinov2", "aesthetic"]
    assert all(metric.value is not None and np.isfinite(metric.value) for metric in record.metrics)
    for name in ("kid", "cmmd", "contrast"):
        assert found[name].diagnostics[0]["reference_samples"] == 5
    assert found["fd-dinov2"].title.startswith("FD (dinov2, weights ")
    assert found["vendi"].title.startswith("Vendi (inception-own-")
    assert found["vendi-dinov2"].title.startswith("Vendi (dinov2, weights ")
    assert found["aesthetic"].diagnostics[0]["prompts"] == 2
    assert record.protocol["extractors"]["clip-l14-336"].startswith("clip-l14-336, weights ")


def test_diversity_in_a_space_is_of_each_prompts_images(files: dict[str, tuple[str, ...]], tmp_path: Path) -> None:
    """Also the Vendi score of all images by an Inception, which the task's own protocol has no name for."""
    prepare("standin-parti", tmp_path, *files["sdxl"], *files["weights"])
    record = evaluated("standin-parti", tmp_path, "vendi-prompt,diversity-dino,vendi")
    prompt, dino, whole = record.metrics
    assert (prompt.samples, prompt.diagnostics[0]["prompts"], dino.diagnostics[0]["prompts"]) == (8, 2, 2)
    assert prompt.value is not None and 1 < prompt.value <= 4
    assert whole.title.startswith("Vendi (inception-own-") and record.protocol["features"] != "none"
    assert prompt.title.startswith("Vendi of a prompt (dinov2, weights ")
