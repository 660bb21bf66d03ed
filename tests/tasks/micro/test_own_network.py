"""A micro task whose teacher is of a family that bench does not know: trained, kept, refused if odd."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.runs.registry import load_catalogue
from bench.task.declaration import Sources
from tasks.micro.prepared import PreparedMicroTask
from tasks.micro.task import DenoiserSpec, FlowTeacherRecipe, MicroTask
from tasks.micro.teacher import build_denoiser

EXAMPLE = Path(__file__).parents[3] / "examples" / "backbone.py"


def example(file: Path = EXAMPLE) -> MicroTask:
    """The example's task, hardly trained."""
    task = load_catalogue([file]).tasks.get("digits-transformer")
    assert isinstance(task, MicroTask)
    return replace(
        task,
        teacher=replace(task.teacher, iterations=3, batch_size=8),
        classifier=replace(task.classifier, epochs=1),
    )


def prepare(task: MicroTask, cache: Path) -> PreparedMicroTask:
    prepared = task.prepare(Sources(cache), SilentProgress())
    assert isinstance(prepared, PreparedMicroTask)
    return prepared


def test_its_teacher_is_trained_found_again_and_makes_students(tmp_path: Path) -> None:
    prepared = prepare(example(), tmp_path)
    assert prepared.teacher.name == "pixel-transformer" and prepared.null_condition is None
    assert prepare(example(), tmp_path).teacher_sha256 == prepared.teacher_sha256
    prepared.save_student(prepared.teacher, tmp_path / "student", [999])
    student, indices = prepared.load_student(tmp_path / "student")
    given = torch.zeros(2, 1, 8, 8), torch.ones(2), torch.tensor([0, 9])
    assert indices == [999] and torch.equal(student(*given), prepared.teacher(*given))


def test_an_edited_network_has_another_teacher(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first, second = tmp_path / "one" / "backbone.py", tmp_path / "two" / "backbone.py"
    shutil.copy(EXAMPLE, first)
    second.write_text(EXAMPLE.read_text().replace("0.0, batch_first", "0.1, batch_first"))
    before = example(first)
    key = before.teacher_key()
    assert example(second).teacher_key() != key == example().teacher_key()
    assert before.teacher_key() == key  # although the other file's module has its name now


@dataclass(frozen=True)
class Odd(DenoiserSpec):
    """Builds whatever it is given."""

    built: Any

    def build(self, image_shape: tuple[int, int, int], classes: int) -> Any:  # noqa: ARG002 (as given)
        return self.built


def test_a_network_for_other_images_or_classes_is_refused() -> None:
    denoiser = build_denoiser(example().network, (1, 8, 8), 10)
    assert build_denoiser(Odd(denoiser), (1, 8, 8), 10) is denoiser
    for shape, classes in (((1, 4, 4), 10), ((1, 8, 8), 3)):
        with pytest.raises(UserError, match=r"Odd\.build made a denoiser of images .* fix: use the arguments"):
            build_denoiser(Odd(denoiser), shape, classes)


def test_a_family_without_classes_is_refused() -> None:
    with pytest.raises(UserError, match="a Linear, and the teacher of a micro task is of a class-conditional fam"):
        build_denoiser(Odd(torch.nn.Linear(1, 1)), (1, 8, 8), 10)


def test_classes_are_dropped_only_for_a_null_class(tmp_path: Path) -> None:
    task = replace(example(), teacher=FlowTeacherRecipe(iterations=1))
    with pytest.raises(UserError, match=r"class_dropout=0\.1, and TransformerDenoiser has no null class; fix: "):
        prepare(task, tmp_path)


def test_images_without_hashes_are_refused_with_the_hashes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'fix: give it train_sha256="76bd74e4.*", held_out_sha256="67673184'):
        prepare(replace(example(), train_sha256=""), tmp_path)
