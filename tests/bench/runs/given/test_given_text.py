"""On a task with prompts: a stock pipeline is measured, and its images, given by prompt, have its numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import bench
from given_forms import write_folder
from tests_support import TEXT_PLUGIN
from text_standin import choose_sdxl, declared

from bench.core.progress import SilentProgress
from bench.evaluation.pipeline_images import PipelineImages
from bench.models.stock_pipelines import open_pipeline
from bench.runs.record import Record
from bench.runs.records import read_record
from bench.task.declaration import Sources


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given-text")
    choose_sdxl(folder)
    return folder


def evaluated(root: Path, *arguments: object) -> Record:
    where = ("--plugin", TEXT_PLUGIN, "--cache", root / "cache", "--runs", root / "runs")
    printed = bench("eval", "--task", "standin-sdxl", "--protocol", "quick", *where, *arguments)
    assert printed.code == 0, printed.text
    line = next(line for line in printed.text.splitlines() if line.startswith("record: "))
    return read_record(Path(line.removeprefix("record: ")))


def test_a_pipeline_and_its_images_by_prompt_have_the_same_numbers(root: Path) -> None:
    settings = ("--steps", 2, "--guidance", 1.5, "--scheduler", "DDIMScheduler")
    record = evaluated(root, "--pipeline", root / "sdxl", *settings)
    assert record.method.name == "sdxl" and record.cost.network_evaluations == 4
    assert record.cost.parameters and record.checkpoint is not None and record.checkpoint.weights == "published"
    assert {
        key: record.sampler[key] for key in ("images", "scheduler", "num_inference_steps", "guidance_scale")
    } == {
        "images": "pipeline",
        "scheduler": "DDIMScheduler",
        "num_inference_steps": 2,
        "guidance_scale": 1.5,
    }

    prepared = declared(root / "cache").prepare(Sources(root / "cache"), SilentProgress())
    protocol = prepared.task.protocol
    stock = open_pipeline(str(root / "sdxl"), False, "DDIMScheduler", 2, 1.5, "float32")
    source = PipelineImages(stock.load(), stock.settings(), prepared)
    batches = [source.batch(r, 0, protocol.samples).images for r in range(protocol.repetitions)]
    images = torch.cat(batches).numpy()
    prompts = prepared.prompts_of(torch.arange(protocol.samples))
    counts = dict.fromkeys(prompts, 0)
    names = []
    for prompt in [*prompts] * protocol.repetitions:
        names.append(f"{prompt}_{counts[prompt]}.png")
        counts[prompt] += 1
    given = evaluated(root, "--images", write_folder(root / "by prompt", np.ascontiguousarray(images), names))
    assert given.metrics == record.metrics
    assert given.method.name == "by prompt"


def test_images_need_no_teacher(root: Path, tmp_path: Path) -> None:
    """Their record is the same where a teacher is pinned and where there is none."""
    prepared = declared(root / "cache").prepare(Sources(root / "cache"), SilentProgress())
    protocol = prepared.task.protocol
    noise = np.random.default_rng(0).integers(
        0, 256, (protocol.samples * protocol.repetitions, *prepared.task.image_shape), dtype=np.uint8
    )
    images = write_folder(tmp_path / "noise", noise)
    shutil.copytree(root / "cache", tmp_path / "cache")
    pinned = declared(tmp_path / "cache").pinned_path(tmp_path / "cache")
    kept = {
        role: one for role, one in json.loads(pinned.read_text()).items() if role not in ("teacher", "latents")
    }
    pinned.write_text(json.dumps(kept))

    def given(cache: Path, *arguments: object) -> Any:
        where = ("--plugin", TEXT_PLUGIN, "--cache", cache, "--runs", tmp_path / cache.parent.name)
        return bench("eval", "--task", "standin-sdxl", "--protocol", "quick", *where, *arguments)

    records = []
    for cache in (root / "cache", tmp_path / "cache"):
        printed = given(cache, "--images", images)
        assert printed.code == 0, printed.text
        line = next(line for line in printed.text.splitlines() if line.startswith("record: "))
        records.append(read_record(Path(line.removeprefix("record: "))))
    assert records[0].run_id == records[1].run_id and records[0].metrics == records[1].metrics
    assert "teacher" not in {one.role for record in records for one in record.weights}
    refused = given(tmp_path / "cache", "--sampler", "teacher")
    assert refused.code == 2 and "--teacher" in refused.text
