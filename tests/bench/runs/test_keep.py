"""A trained student whose features were kept: `bench eval` with another metric makes no image."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.core.run_folder import KEPT, STUDENT
from bench.evaluation.image_source import SampledImages
from bench.evaluation.kept import archive_of
from bench.runs.plan import Run
from bench.runs.protocols.networks import with_metrics
from bench.runs.records import read_record
from bench.runs.registry import Catalogue
from bench.runs.runner import Runner
from bench.runs.students.saved import measure_student
from bench.task.base import PreparedTask


def under(prepared: PreparedTask, catalogue: Catalogue, *metrics: str) -> PreparedTask:
    """Return the prepared task under a protocol of these metrics, as --metric makes it."""
    other = object.__new__(type(prepared))
    other.__dict__.update(vars(prepared))
    other.task = with_metrics(prepared.task, metrics, catalogue)
    return other


def test_a_metric_added_to_a_finished_run_reads_what_it_kept(
    plan: Callable[..., Run],
    catalogue: Catalogue,
    tiny: PreparedTask,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = plan()
    record = Runner(catalogue, tiny, SilentProgress(), keep=["images", "features"]).run(run)
    assert record.status == "ok"
    kept = sorted(str(path.relative_to(run.folder / KEPT)) for path in (run.folder / KEPT).rglob("*.*"))
    assert kept == [
        *("features/main-0.json", "features/main-0.safetensors", "features/main-1.json"),
        *("features/main-1.safetensors", "images/repetition-0.json", "images/repetition-0.zip"),
        *("images/repetition-1.json", "images/repetition-1.zip"),
    ]
    fresh = measure_student(
        Runner(catalogue, under(tiny, catalogue, "is"), SilentProgress()),
        copy_of(run, tmp_path),
        None,
        None,
        tmp_path,
    )

    def never(*_: object) -> None:
        raise AssertionError("an image was made again")

    monkeypatch.setattr(SampledImages, "batch", never)
    added = Runner(catalogue, under(tiny, catalogue, "is"), SilentProgress())
    measured = measure_student(added, run.folder, None, None, tmp_path)
    assert measured.metrics == fresh.metrics, "to the bit"
    assert measured.record is not None and read_record(measured.record).metrics == list(measured.metrics)

    assert record.checkpoint is not None
    sha256, notes = record.checkpoint.sha256, list[str]()
    assert archive_of(run.folder / KEPT, 1, sha256, record.protocol, notes.append) is not None
    fewer = replace(tiny.task.protocol, samples=60).as_dict()
    assert archive_of(run.folder / KEPT, 1, sha256, fewer, notes.append) is None
    assert "is of a protocol with other seeds, samples or conditions, and is not used" in notes[0]


def copy_of(run: Run, folder: Path) -> Path:
    """Return a copy of a run's student in a folder that keeps nothing."""
    return Path(shutil.copytree(run.folder / STUDENT, folder / "copied" / STUDENT))


def test_a_student_outside_of_a_run_keeps_nothing(
    catalogue: Catalogue, tiny: PreparedTask, tmp_path: Path
) -> None:
    tiny.save_student(tiny.teacher, tmp_path / "mine", [999])
    runner = Runner(catalogue, tiny, SilentProgress(), keep=["images"])
    with pytest.raises(UserError, match=r"--keep writes into the folder of a run, and .*mine is none; fix: leave"):
        measure_student(runner, tmp_path / "mine", None, None, tmp_path)
