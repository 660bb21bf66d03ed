"""A text task that is prepared tells what it does with prompts that its networks cannot read."""

from pathlib import Path

import pytest
from recorded_notes import RecordedNotes
from safetensors.torch import load_file, save_file
from text_standin import CATALOGUE, choose_sdxl, declared

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.runs.protocols.derived import without_metrics
from bench.task.declaration import Sources


def test_prompts_that_the_teacher_does_not_read_whole_are_told(tmp_path: Path) -> None:
    cache, progress = choose_sdxl(tmp_path), RecordedNotes()
    declared(cache).prepare(Sources(cache), progress)
    assert not progress.notes
    (tmp_path / "long.txt").write_text(f"a cat\n{'a dog ' * 40}\n{'not used ' * 40}\n")
    declared(cache).pin(Sources(cache, prompts=tmp_path / "long.txt"), SilentProgress())
    declared(cache).prepare(Sources(cache), progress)
    assert progress.notes == [
        "2 prompts: 1 longer than the text encoder reads, and cut there, at 1 (counted from 0)"
    ]


def test_images_are_made_without_the_networks_and_real_images_of_metrics(tmp_path: Path) -> None:
    cache = choose_sdxl(tmp_path)
    task = CATALOGUE.tasks.get("standin-sdxl").located(cache)
    with pytest.raises(UserError, match="not prepared; missing:\n  features: "):
        task.prepare(Sources(cache), SilentProgress())
    assert not without_metrics(task, 1).prepare(Sources(cache), SilentProgress()).references


@pytest.mark.parametrize("named", ["", "unet", "unet/diffusion_pytorch_model.safetensors", "half.safetensors"])
def test_the_teacher_is_no_student(named: str, tmp_path: Path) -> None:
    """Its numbers would stand in tables as those of a student of four steps."""
    cache = choose_sdxl(tmp_path)
    teacher = load_file(tmp_path / "sdxl" / "unet" / "diffusion_pytorch_model.safetensors")
    save_file({name: value.half() for name, value in teacher.items()}, tmp_path / "sdxl" / "half.safetensors")
    prepared = declared(cache).prepare(Sources(cache), SilentProgress())
    with pytest.raises(UserError, match=r"is the teacher itself, not a student; fix: .*--sampler"):
        prepared.load_student(tmp_path / "sdxl" / named)
