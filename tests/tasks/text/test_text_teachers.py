"""A teacher of another kind than the task's is refused by name, as a folder, a file or a hub's model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from flux_networks import save_flux
from pixart_pipelines import tiny_pixart
from recorded_notes import RecordedNotes
from safetensors.torch import save_file
from sana_pipelines import tiny_sana, tiny_sprint
from sd3_pipelines import original_network, stock
from single_file import write_single_file

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.models.text.pipelines import load_pipeline, pipeline_class
from bench.task.declaration import Sources
from bench.task.pinned import PinnedAsset, pin_assets, read_pinned
from tasks.coco import TASK_10K, TASK_30K
from tasks.compositional import TASK_DPG, TASK_GENEVAL, TASK_OCR
from tasks.flow_text import COCO_FLUX, COCO_SANA, COCO_SD35, COCO_SD35_LARGE
from tasks.partiprompts import TASK as PARTIPROMPTS
from tasks.text.prepared import PreparedText
from tasks.text.task import TextTask
from tasks.text.teachers import pinned_teacher

OF_SDXL = (TASK_10K, PARTIPROMPTS, TASK_GENEVAL, TASK_DPG, TASK_OCR)
OTHERS = (
    *((TASK_30K, "sd15"), (COCO_SD35, "sd3"), (COCO_SD35_LARGE, "sd3")),
    *((COCO_FLUX, "flux"), (COCO_SANA, "sana")),
)


@pytest.fixture(scope="module")
def pipelines(
    sd15_folder: Path,
    sdxl_folder: Path,
    sd3_folder: Path,
    flux_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """One pipeline of each class."""
    root = tmp_path_factory.mktemp("pipelines")
    for name, made in {"sana": tiny_sana(), "sprint": tiny_sprint(), "pixart": tiny_pixart()}.items():
        made.save_pretrained(root / name)
    own = {name: root / name for name in ("sana", "sprint", "pixart")}
    return {"sd15": sd15_folder, "sdxl": sdxl_folder, "sd3": sd3_folder, "flux": flux_folder, **own}


def pin(task: TextTask, teacher: Path, cache: Path) -> None:
    task.pin(Sources(cache, teacher=teacher), SilentProgress())


@pytest.mark.parametrize(("task", "own"), [*((task, "sdxl") for task in OF_SDXL), *OTHERS])
def test_a_task_takes_pipelines_of_its_own_class_alone(
    task: TextTask, own: str, pipelines: dict[str, Path], tmp_path: Path
) -> None:
    pin(task, pipelines[own], tmp_path)
    for name in pipelines.keys() - {own}:
        found = pipeline_class(pipelines[name])
        with pytest.raises(UserError) as refused:
            pin(task, pipelines[name], tmp_path)
        (wanted,) = task.teacher_pipelines
        said = f"{pipelines[name]} is a {found}, but the teacher of task {task.name!r} is a {wanted}"
        assert str(refused.value).startswith(said) and f"--teacher {task.teacher_repository}" in str(refused.value)
    assert read_pinned(task.pinned_path(tmp_path))["teacher"].path == str(pipelines[own])


def test_a_file_is_refused_before_its_configuration_is_looked_for(
    sd15_folder: Path, sdxl_folder: Path, sd3_folder: Path, tmp_path: Path
) -> None:
    """It would be downloaded for nothing."""
    for folder in (sd15_folder, sdxl_folder):
        write_single_file(folder, tmp_path / f"{folder.name}.safetensors")
    save_file(original_network(stock(sd3_folder).transformer), tmp_path / "sd3.safetensors")
    for name, kind, task in (
        ("sd15", "StableDiffusionPipeline", TASK_10K),
        ("sd3", "StableDiffusion3Pipeline", TASK_10K),
        ("sdxl", "StableDiffusionXLPipeline", TASK_30K),
        ("sdxl", "StableDiffusionXLPipeline", COCO_FLUX),
    ):
        with pytest.raises(UserError, match=rf"{name}\.safetensors is a {kind}, but the teacher of task"):
            pin(task, tmp_path / f"{name}.safetensors", tmp_path)


def test_a_hub_s_model_is_refused_before_its_networks_are_downloaded(
    sd15_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def from_hub(_name: str, *, allow_patterns: list[str], **_more: object) -> str:
        asked.append(allow_patterns)
        return str(sd15_folder)

    monkeypatch.setattr("bench.models.text.hub.snapshot_download", from_hub)
    with pytest.raises(UserError, match=r"^me/finetuned is a StableDiffusionPipeline, but the teacher of task"):
        pinned_teacher(TASK_10K, Path("me/finetuned"), True, SilentProgress())
    assert asked == [["model_index.json"]]


def test_a_network_that_takes_another_guidance_is_refused(tmp_path: Path) -> None:
    """FLUX.1-schnell is a FluxPipeline, too."""
    schnell = save_flux(tmp_path / "schnell", guidance_embeds=False)
    with pytest.raises(UserError, match=r"schnell takes no scale of its guidance as an input, but .* takes one"):
        pin(COCO_FLUX, schnell, tmp_path)


def test_samplers_without_the_guidance_that_the_teacher_takes_are_named(flux_folder: Path, tmp_path: Path) -> None:
    """A task of the user's own for FLUX.1-dev: another teacher would not help."""
    teacher = replace(COCO_FLUX.pair_sampler, embedded_guidance=False)
    for own in (
        replace(COCO_FLUX, pair_sampler=teacher),
        replace(COCO_FLUX, baselines={**COCO_FLUX.baselines, "teacher": teacher}),
    ):
        with pytest.raises(UserError) as refused:
            pin(own, flux_folder, tmp_path)
        said = str(refused.value)
        assert "flux takes a scale of its guidance as an input, but the teacher of task 'coco10k-flux'" in said
        assert "takes none (embedded_guidance=False of teacher)" in said
        assert said.endswith("or give the samplers of a task of your own embedded_guidance=True")


def test_a_teacher_that_was_pinned_before_is_checked_when_it_is_used(sd15_folder: Path, tmp_path: Path) -> None:
    pin_assets(TASK_10K.pinned_path(tmp_path), {"teacher": PinnedAsset(str(sd15_folder), "0" * 64, "sd15")})
    with pytest.raises(UserError, match=r"sd15 is a StableDiffusionPipeline, but the teacher of task 'coco10k'"):
        PreparedText(TASK_10K.located(tmp_path), Sources(tmp_path), SilentProgress())


def test_a_task_that_names_no_class_takes_all(pipelines: dict[str, Path], tmp_path: Path) -> None:
    for name in ("sd15", "sdxl", "pixart"):
        pin(replace(TASK_10K, teacher_pipelines=()), pipelines[name], tmp_path)


def test_a_network_of_another_size_is_told(sdxl_folder: Path) -> None:
    """SD3.5 Large on the task of Medium, or a smaller SDXL: its recipes were made for another network."""
    progress = RecordedNotes()
    pinned_teacher(TASK_10K, sdxl_folder, False, progress)
    own = sum(one.numel() for one in load_pipeline(sdxl_folder).network.parameters())
    (said,) = progress.notes
    assert f"has {own:,} parameters" in said and said.endswith("has 2,567,463,684")
    pinned_teacher(replace(TASK_10K, network_parameters=own), sdxl_folder, False, progress)
    assert len(progress.notes) == 1
