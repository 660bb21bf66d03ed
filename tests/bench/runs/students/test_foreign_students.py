"""`bench eval` of something else than a student, or of a broken one, ends with one line."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from command import Printed, bench
from safetensors.torch import load_file, save_file
from tests_support import TINY_PLUGIN

from bench.cli.options import subject_of
from bench.cli.prepare import refuse_special
from bench.core.errors import UserError
from bench.runs.students.saved import loaded_student
from bench.task.base import PreparedTask
from bench.task.declaration import Sources
from tasks.fashion.task import TASK


def test_a_pipe_or_a_device_as_checkpoint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "a named pipe"), (Path("/dev/zero"), "a character device")):
        with pytest.raises(UserError, match=f"{path} is {kind}, but a regular file or a folder is expected"):
            subject_of("bench eval", TASK, path, None, None)


@pytest.mark.parametrize("field", ["teacher", "tiny_vae", "prompts", "training_prompts", "data", "reals"])
def test_a_pipe_as_any_input_of_prepare(field: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe is a named pipe"):
        refuse_special(Sources(tmp_path, **{field: tmp_path / "pipe"}), {})  # type: ignore[arg-type]


def test_a_pipe_as_weights_or_reference(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for inputs, weights in (
        (Sources(tmp_path), {"hps": tmp_path / "pipe"}),
        (Sources(tmp_path, references=(str(tmp_path / "pipe"),)), {}),
    ):
        with pytest.raises(UserError, match="pipe is a named pipe"):
            refuse_special(inputs, weights)
    refuse_special(Sources(tmp_path, references=("a-name-of-refs-list",), teacher=Path("owner/model")), {})


def test_a_start_is_of_one_step() -> None:
    with pytest.raises(UserError, match="students of one step; fix: leave out --steps 4"):
        loaded_student(None, Path("x"), 4, 2.5)  # type: ignore[arg-type]


@pytest.fixture
def student(tiny: PreparedTask, tmp_path: Path) -> Path:
    folder = tmp_path / "a student"
    tiny.save_student(tiny.teacher, folder, [999])
    return folder


def evaluated(student: Path, cache: Path, tmp_path: Path, *more: str) -> Printed:
    where = ("--plugin", TINY_PLUGIN, "--cache", cache, "--runs", tmp_path / "runs")
    return bench("eval", "--task", "tiny", "--checkpoint", student, *where, *more)


def test_a_diverged_student_is_a_sentence(student: Path, cache: Path, tmp_path: Path) -> None:
    weights = student / "unet" / "diffusion_pytorch_model.safetensors"
    state = {name: value * torch.nan for name, value in load_file(weights).items()}
    save_file(state, weights, metadata={"format": "pt"})
    printed = evaluated(student, cache, tmp_path)
    assert printed.code == 2
    assert "error: " in printed.text and "images that are not finite" in printed.text
    assert "its training diverged, or the file is damaged; fix: name another student" in printed.text


@pytest.mark.parametrize("gone", ["unet", "unet/config.json", "denoiser.json"])
def test_an_incomplete_student_is_a_sentence(gone: str, student: Path, cache: Path, tmp_path: Path) -> None:
    if (student / gone).is_dir():
        shutil.rmtree(student / gone)
    else:
        (student / gone).unlink()
    printed = evaluated(student, cache, tmp_path)
    assert printed.code == 2 and f"error: {student}" in printed.text and "fix: " in printed.text


def test_a_student_of_other_images_or_classes(student: Path, cache: Path, tmp_path: Path) -> None:
    config, weights = student / "unet" / "config.json", student / "unet" / "diffusion_pytorch_model.safetensors"
    whole, state = json.loads(config.read_text()), load_file(weights)
    for changes, message in (
        ({"in_channels": 7}, "cannot read"),
        ({"sample_size": 99}, "makes images of"),
        ({"num_class_embeds": 99}, "and 99 classes, but students of task 'tiny' have"),
    ):
        config.write_text(json.dumps(whole | changes))
        if "num_class_embeds" in changes:
            state["class_embedding.weight"] = torch.zeros(99, state["class_embedding.weight"].shape[1])
            save_file(state, weights, metadata={"format": "pt"})
        printed = evaluated(student, cache, tmp_path)
        assert printed.code == 2 and message in printed.text and str(student) in printed.text


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        pytest.param("{}", "has no student yet, since its training has not ended; fix:", id="training"),
        pytest.param(
            '{"kind": "baseline", "name": "teacher-ode"}',
            "has no student; fix: --sampler teacher-ode",
            id="a sampler",
        ),
    ],
    ids=["training", "a sampler"],
)
def test_a_run_without_a_student_is_refused_before_the_task_is_prepared(
    plan: str, message: str, tmp_path: Path
) -> None:
    run, empty = tmp_path / "run", tmp_path / "cache"
    run.mkdir()
    (run / "run.json").write_text(plan)
    printed = evaluated(run, empty, tmp_path)
    assert printed.code == 2 and message in printed.text and not empty.exists()


def test_a_start_where_the_student_says_it(student: Path, cache: Path, tmp_path: Path) -> None:
    printed = evaluated(student, cache, tmp_path, "--student-start", "2.5")
    assert printed.code == 2 and "says where its student starts; fix: leave out --student-start" in printed.text
