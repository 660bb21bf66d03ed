"""A missing sample sheet is made from the student on disk, and is the one that the run would have left."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.core.run_folder import SHEET, STUDENT
from bench.runs.evidence.sheets import ensure_sheet, preparer
from bench.runs.plan import BaselineRun, Run
from bench.runs.registry import Catalogue
from bench.runs.runner import Runner


def test_a_sheet_that_is_missing_is_made_again(
    runner: Runner, plan: Callable[..., Run], catalogue: Catalogue, cache: Path, tmp_path: Path
) -> None:
    trained = plan("dmd2")
    task = runner.prepared.task
    baseline = BaselineRun(task, tmp_path, next(iter(task.baselines.values())))
    prepare = preparer(catalogue, cache)
    for run, record in ((trained, runner.run(trained)), (baseline, runner.baseline(baseline))):
        said: list[str] = []
        before = (run.folder / SHEET).read_bytes()
        assert ensure_sheet(record, run.record, catalogue, prepare, said.append) == run.folder / SHEET
        assert not said
        (run.folder / SHEET).unlink()
        assert ensure_sheet(record, run.record, catalogue, prepare, said.append).read_bytes() == before
        (line,) = said
        assert line.startswith(f"{record.run_id} has no sample sheet; preparing tiny and making its first images")
    record = trained.finished()
    assert record is not None
    (trained.folder / SHEET).unlink()
    shutil.rmtree(trained.folder / STUDENT)
    with pytest.raises(UserError, match=r"has no sample sheet .* not the one that was measured; fix: bench run"):
        ensure_sheet(record, trained.record, catalogue, prepare, print)
