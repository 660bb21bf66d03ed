"""`bench eval` of what is no student, or a broken one: one line each, nothing hangs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.cli.options import loaded_student, subject_of
from bench.cli.prepare import refuse_special
from tasks.errors import UserError
from tasks.fashion import TASK
from tasks.task import Sources


def test_a_pipe_or_a_device_as_checkpoint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "a named pipe"), (Path("/dev/zero"), "a character device")):
        with pytest.raises(UserError, match=f"{path} is {kind}, and a regular file or a folder is wanted"):
            subject_of("bench eval", TASK, path, None, None)


@pytest.mark.parametrize(
    "field", ["teacher", "features", "dinov2", "clip", "lpips", "tiny_vae", "prompts", "data", "reals"]
)
def test_a_pipe_as_any_input_of_prepare(field: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe is a named pipe"):
        refuse_special(Sources(tmp_path, **{field: tmp_path / "pipe"}))  # type: ignore[arg-type]


def test_a_pipe_as_preference_or_reference(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for inputs in (
        Sources(tmp_path, preferences={"hps": tmp_path / "pipe"}),
        Sources(tmp_path, references=(str(tmp_path / "pipe"),)),
    ):
        with pytest.raises(UserError, match="pipe is a named pipe"):
            refuse_special(inputs)
    refuse_special(Sources(tmp_path, references=("a-name-of-refs-list",), teacher=Path("owner/model")))


def test_a_start_is_of_one_step() -> None:
    with pytest.raises(UserError, match="students of one step; fix: leave out --steps 4"):
        loaded_student(None, Path("x"), 4, 2.5)  # type: ignore[arg-type]
