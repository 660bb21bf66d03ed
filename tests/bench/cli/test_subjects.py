"""`bench eval` evaluates one thing, and every option that does not go with it is refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.cli.options import subject_of
from bench.cli.subjects import Subject
from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from tasks.digits.task import TASK


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"checkpoint": Path("runs/x"), "steps": 4}, "checkpoint"),
        ({"sampler": "teacher-ode"}, "sampler"),
        ({"sampler": "mine.py:draw", "name": "my model"}, "function"),
        ({"images": Path("mine"), "manifest": Path("m.csv")}, "images"),
        ({"pipeline": "owner/name", "scheduler": "DDIMScheduler", "steps": 8, "guidance": 2.0}, "pipeline"),
    ],
)
def test_the_kind_of_a_subject(options: dict[str, Any], kind: str) -> None:
    assert Subject(**options).kind == kind


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "bench eval takes one of --checkpoint PATH, .* and none is given"),
        ({"images": Path("a"), "sampler": "teacher-ode"}, "not --sampler and --images together"),
        (
            {"sampler": "teacher-ode", "steps": 4},
            "--steps goes with --checkpoint and --pipeline; fix: leave it out",
        ),
        (
            {"images": Path("a"), "guidance": 2.0},
            "--guidance goes with --pipeline; fix: leave it out with --images",
        ),
        ({"checkpoint": Path("a"), "name": "b"}, "--name goes with --images and --pipeline and --sampler FILE.py"),
        (
            {"sampler": "a.py:f", "student_start": 1.0},
            "--student-start goes with --checkpoint; .* --sampler FILE.py",
        ),
        (
            {"pipeline": "a", "manifest": Path("b")},
            "--manifest goes with --images; fix: leave it out with --pipeline",
        ),
    ],
)
def test_what_does_not_go_together(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        _ = Subject(**options).kind


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"images": Path("nothing-there")}, "there is nothing at nothing-there; fix: name a folder of images"),
        ({"sampler": "nothing.py:draw"}, r"there is no plug-in file nothing\.py"),
        ({"sampler": "mine:draw"}, r"--sampler takes NAME or FILE\.py:FUNCTION, not 'mine:draw'"),
        ({"sampler": "teacher-ade"}, "unknown sampler 'teacher-ade'; did you mean 'teacher-sde' or 'teacher-ode'"),
        ({"images": Path("dmd2")}, "'dmd2' is the name of a method"),
    ],
)
def test_what_is_not_there(options: dict[str, Any], problem: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=problem):
        Subject(**options).measuring(TASK, tmp_path, ["dmd2"], SilentProgress(), download=False)


def test_a_sampler_with_other_steps_is_named() -> None:
    with pytest.raises(UserError, match=r"fix: leave it out, or --sampler teacher-ode\+steps4$"):
        subject_of("bench latency", TASK, None, "teacher-ode", 4)
    with pytest.raises(UserError, match="unknown sampler 'teacher-ade'; did you mean"):
        subject_of("bench latency", TASK, None, "teacher-ade", 4)
