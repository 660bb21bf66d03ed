"""Published students of ImageNet-64: where one starts is asked, and the teacher is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from edm_files import write_official
from edm_reference import Sizes, random_weights
from torch import Tensor

from bench.core.errors import UserError
from bench.models.samplers import SampleNoise, few_step
from bench.models.schedules import EDMSchedule
from bench.models.weights.checkpoints import load_edm_denoiser
from tasks.imagenet.prepared import PreparedImageNet
from tasks.imagenet64 import TASK

NETWORK = Sizes(side=16, width=128, mult=(1, 1), blocks=1, attention=(8,), classes=3)


@pytest.fixture(scope="module")
def teacher_state() -> dict[str, Tensor]:
    return random_weights(NETWORK)


@pytest.fixture(scope="module")
def files(teacher_state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher's and a student's pickle, and both as state dicts."""
    folder = tmp_path_factory.mktemp("pickles")
    student = {name: value * 1.5 if "out_conv" in name else value for name, value in teacher_state.items()}
    for name, state in (("teacher", teacher_state), ("student", student)):
        write_official(folder / f"{name}.pkl", state)
        torch.save(state, folder / f"{name}.bin")
    return folder


@pytest.fixture(scope="module")
def prepared(files: Path) -> PreparedImageNet:
    """A prepared task with only what reading students uses: the task and the teacher."""
    found = object.__new__(PreparedImageNet)
    side = NETWORK.side
    found.task = replace(TASK, image_shape=(3, side, side))
    found.classes = NETWORK.classes
    found.teacher = load_edm_denoiser(files / "teacher.pkl").denoiser
    return found


def test_a_pickle_does_not_say_where_its_student_starts(prepared: PreparedImageNet, files: Path) -> None:
    with pytest.raises(UserError, match=r"student\.pkl .*fix: --student-start SIGMA \(80 as DMD2"):
        prepared.load_student(files / "student.pkl")


def test_it_starts_where_the_user_says(prepared: PreparedImageNet, files: Path) -> None:
    """SiD: D(sigma z, sigma) at 2.5, a level that is none of EDM's grid."""
    student, indices = prepared.load_student_from(files / "student.pkl", 2.5)
    assert student.schedule.grid[indices].tolist() == [2.5]
    side = NETWORK.side
    noise, label = SampleNoise([5], (3, side, side)), torch.tensor([1])
    with torch.no_grad():
        found = few_step(student, noise, label, indices)
        eps = SampleNoise([5], (3, side, side)).draw()
        expected = load_edm_denoiser(files / "student.pkl").denoiser(2.5 * eps, torch.tensor([2.5]), label)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_80_is_where_dmd2_s_start(prepared: PreparedImageNet, files: Path) -> None:
    student, indices = prepared.load_student_from(files / "student.pkl", 80.0)
    dmd2, theirs = prepared.load_student(files / "student.bin")
    assert indices == theirs == [999]
    assert torch.equal(student.schedule.grid, dmd2.schedule.grid)


@pytest.mark.parametrize("start", [0.0, -2.5, 81.0, 0.001, float("nan"), float("inf")])
def test_a_level_that_is_none(prepared: PreparedImageNet, files: Path, start: float) -> None:
    with pytest.raises(UserError, match=r"--student-start .* is not between 0\.002 and 80; fix"):
        prepared.load_student_from(files / "student.pkl", start)


@pytest.mark.parametrize("name", ["teacher.pkl", "teacher.bin"])
def test_the_teacher_is_no_student(prepared: PreparedImageNet, files: Path, name: str) -> None:
    for load in (prepared.load_student, lambda path: prepared.load_student_from(path, 80.0)):
        with pytest.raises(UserError, match=rf"{name} is the teacher itself, not a student; fix: .*--sampler"):
            load(files / name)


def test_a_student_of_other_images(prepared: PreparedImageNet, tmp_path: Path) -> None:
    other = random_weights(replace(NETWORK, classes=NETWORK.classes + 1))
    torch.save(other, tmp_path / "other.bin")
    with pytest.raises(UserError, match=r"other\.bin is a network for \(channels, pixels, classes\)"):
        prepared.load_student(tmp_path / "other.bin")


def test_students_that_say_it_themselves_are_not_asked(prepared: PreparedImageNet, tmp_path: Path) -> None:
    from bench.models.saved import save_denoiser

    save_denoiser(prepared.teacher, tmp_path / "student", [999])  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"says where its student starts; fix: leave out --student-start 2\.5"):
        prepared.load_student_from(tmp_path / "student", 2.5)


def test_a_level_takes_the_place_of_the_nearest() -> None:
    schedule = EDMSchedule()
    changed, index = schedule.starting_at(2.5)
    others = torch.arange(1000) != index
    assert changed.grid[index] == 2.5 and torch.equal(changed.grid[others], schedule.grid[others])
    assert schedule.grid[index] != 2.5 and bool((changed.grid.diff() > 0).all())
