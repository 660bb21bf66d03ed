"""FD to the teacher: its images are made once, continued after a kill, and never those of another teacher."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from command import Printed
from tests_support import TINY_PLUGIN

import results
from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.evaluation import teacher_images as made
from bench.evaluation.teacher_images import teacher_images
from bench.metrics.catalogue import FD, FD_TEACHER
from bench.report.table import task_table
from bench.runs.plan import BaselineRun
from bench.runs.record import Record
from bench.runs.records import load_records
from bench.runs.registry import Catalogue
from bench.runs.runner import Runner
from bench.task.base import PreparedTask
from bench.task.protocol import Protocol, TeacherReference

PLUGIN = ("--plugin", str(TINY_PLUGIN))


def to_teacher(tiny: PreparedTask, cache: Path, sampler: str = "teacher-ode", **changes: object) -> PreparedTask:
    """The tiny task under a protocol with FD to real images and to the teacher's, with a cache of its own."""
    prepared = copy.copy(tiny)
    prepared.cache = cache
    protocol = replace(
        tiny.task.protocol,
        name="to-teacher",
        samples=100,
        repetitions=1,
        metrics=("fd", "fd-teacher"),
        teacher_reference=TeacherReference.by(tiny.task.baselines[sampler]),
        **changes,
    )
    prepared.task = replace(tiny.task, protocol=protocol)
    prepared.evaluation_batch = 40
    return prepared


def measured(catalogue: Catalogue, prepared: PreparedTask, sampler: str, runs: Path) -> Record:
    """The record of one of the teacher's samplers."""
    run = BaselineRun(prepared.task, runs, prepared.task.baselines[sampler])
    return Runner(catalogue, prepared, SilentProgress()).baseline(run)


def values(record: Record) -> dict[str, float]:
    return {metric.name: metric.value or 0.0 for metric in record.metrics}


def test_the_teacher_is_at_distance_zero_from_itself_and_its_other_sampler_is_not(
    tiny: PreparedTask, catalogue: Catalogue, tmp_path: Path
) -> None:
    """The two distances have names of their own, and both come from one pass over the images."""
    prepared = to_teacher(tiny, tmp_path / "cache")
    own = measured(catalogue, prepared, "teacher-ode", tmp_path)
    other = measured(catalogue, prepared, "teacher-sde", tmp_path)
    assert values(own)["fd-teacher"] == pytest.approx(0, abs=1e-6)
    assert values(own)["fd"] > 0 and values(other)["fd-teacher"] > 0.001
    titles = {metric.name: metric.title for metric in own.metrics}
    assert titles == {"fd": "FD (digits-cnn32)", "fd-teacher": "FD to the teacher (digits-cnn32)"}


def test_a_record_and_its_table_say_which_reference(
    tiny: PreparedTask, catalogue: Catalogue, tmp_path: Path
) -> None:
    prepared = to_teacher(tiny, tmp_path / "cache")
    record = measured(catalogue, prepared, "teacher-sde", tmp_path)
    (reference,) = [asset for asset in record.data if asset.role == "reference of the teacher, main"]
    assert reference.sha256 == prepared.teacher_references["main"].sha256
    assert record.protocol["teacher_reference"] == {"sampler": "teacher-ode", "settings": [3, 0.0]}
    (section,) = task_table([record], "tiny").sections
    assert "FD to the teacher (digits-cnn32) ↓" in section.cells.columns
    assert any("same prompts and seeds, by its sampler teacher-ode" in note for note in section.notes)


def test_students_of_two_teachers_are_never_in_one_table(
    tiny: PreparedTask, catalogue: Catalogue, tmp_path: Path
) -> None:
    """Not even if all that the protocol declares is the same."""
    one, other = to_teacher(tiny, tmp_path / "cache"), to_teacher(tiny, tmp_path / "cache")
    other.teacher_sha256 = "another teacher"
    other.weights = [
        replace(asset, sha256="0" * 64) if asset.role == "teacher" else asset for asset in tiny.weights
    ]
    found = [
        measured(catalogue, prepared, "teacher-sde", tmp_path / str(number))
        for number, prepared in enumerate((one, other))
    ]
    assert len(list((tmp_path / "cache" / "teacher-images").iterdir())) == 2
    assert len(task_table(found, "tiny").sections) == 2


def test_another_sampler_of_the_same_teacher_is_another_protocol(tiny: PreparedTask, tmp_path: Path) -> None:
    digests = {
        to_teacher(tiny, tmp_path, sampler).task.protocol.digest() for sampler in ("teacher-ode", "teacher-sde")
    }
    assert len(digests) == 2


def test_a_killed_generation_continues_where_it_stopped(
    tiny: PreparedTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = teacher_images(to_teacher(tiny, tmp_path / "whole"), SilentProgress())
    prepared, generated = to_teacher(tiny, tmp_path / "killed"), made.generate
    begun: list[int] = []

    def killed_at_the_third(*arguments: object) -> object:
        begun.append(int(str(arguments[4])))
        if len(begun) == 3:
            raise KeyboardInterrupt
        return generated(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(made, "generate", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        teacher_images(prepared, SilentProgress())
    again = teacher_images(prepared, SilentProgress())
    assert begun == [0, 40, 80, 80]
    assert again.source_sha256 == whole.source_sha256 and again.count == 100
    assert [len(batch) for batch in again.batches()] == [40, 40, 20]


def test_locks_that_a_kill_left_beside_the_finished_images_go_at_the_next_reading(
    tiny: PreparedTask, tmp_path: Path
) -> None:
    prepared = to_teacher(tiny, tmp_path)
    teacher_images(prepared, SilentProgress())
    (manifest,) = tmp_path.rglob(made.MANIFEST)
    before = {*manifest.parent.iterdir()}
    (manifest.parent / ".0-000000.lock").touch()
    teacher_images(prepared, SilentProgress())
    assert {*manifest.parent.iterdir()} == before


def test_every_repetition_is_in_the_reference(tiny: PreparedTask, tmp_path: Path) -> None:
    prepared = to_teacher(tiny, tmp_path)
    prepared.task = replace(prepared.task, protocol=replace(prepared.task.protocol, repetitions=2))
    images = teacher_images(prepared, SilentProgress())
    assert images.count == 200 == sum(len(batch) for batch in images.batches())


def test_images_that_have_changed_are_refused(tiny: PreparedTask, tmp_path: Path) -> None:
    images = teacher_images(to_teacher(tiny, tmp_path), SilentProgress())
    next(tmp_path.glob("teacher-images/*/0-000040/000041.png")).unlink()
    with pytest.raises(UserError, match=r"0-000040 is missing, or has changed since .*; fix: rm -r .*, and run"):
        list(images.batches())


class TestASamplerThatIsNotTheTeacher:
    def test_one_that_the_task_has_not(self, tiny: PreparedTask, tmp_path: Path) -> None:
        prepared = to_teacher(tiny, tmp_path)
        changed = replace(prepared.task.protocol, teacher_reference=TeacherReference("teacher-ode", [4, 0.0]))
        prepared.task = replace(prepared.task, protocol=changed)
        with pytest.raises(UserError, match="which task 'tiny' has not, or has with other settings"):
            teacher_images(prepared, SilentProgress())

    def test_one_with_weights_of_its_own(self, tiny: PreparedTask, tmp_path: Path) -> None:
        prepared = to_teacher(tiny, tmp_path)
        own = tiny.sampled(tiny.task.baselines["teacher-ode"])
        prepared.sampled = lambda _: replace(own, sha256="a student's")  # type: ignore[method-assign]
        with pytest.raises(UserError, match="'teacher-ode' has weights of its own, and a reference"):
            teacher_images(prepared, SilentProgress())

    def test_none_at_all(self, tiny: PreparedTask, tmp_path: Path) -> None:
        prepared = to_teacher(tiny, tmp_path)
        protocol = replace(prepared.task.protocol, teacher_reference=None)
        prepared.task = replace(prepared.task, protocol=protocol)
        with pytest.raises(UserError, match="does not say by which sampler they are made; fix: declare it"):
            teacher_images(prepared, SilentProgress())


def test_protocols_from_before_it_have_the_digests_of_their_records() -> None:
    """The committed records of `scenes` were made when protocols had no such field."""
    path = next((Path(results.__file__).parent / "records" / "scenes").rglob("*.json"))
    recorded = json.loads(path.read_text())["protocol"]
    assert "teacher_reference" not in recorded
    fields = recorded | {"metrics": tuple(recorded["metrics"])}
    assert Protocol(**fields).as_dict() == recorded


def test_any_task_can_be_asked_for_it(bench: Callable[..., Printed], tmp_path: Path) -> None:
    """Its first sampler then makes the images."""
    printed = bench("eval", "--task", "tiny", "--sampler", "teacher-sde", "--metric", "fd-teacher", *PLUGIN)
    assert "FD to the teacher (digits-cnn32)" in printed.text
    (record,) = load_records([tmp_path / "runs"]).records
    assert record.protocol["teacher_reference"]["sampler"] == "teacher-ode"


def test_prepare_makes_no_images_that_the_protocol_does_not_compare_with(bench: Callable[..., Printed]) -> None:
    refused = bench("prepare", "--task", "tiny", "--teacher-images", *PLUGIN)
    assert "protocol 'tiny' compares with no images of the teacher; fix: leave" in refused.text


def test_the_two_distances_differ_in_what_they_compare_with_alone() -> None:
    assert replace(FD_TEACHER, name=FD.name, title=FD.title, summary=FD.summary, source=FD.source) == replace(
        FD, compares_with="teacher"
    )
