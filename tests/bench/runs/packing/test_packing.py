"""What is packed of a run, and which runs are not."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_records import EXAMPLE, SAMPLER, changed
from finished_runs import finished_run

from bench.core.errors import UserError
from bench.runs.checks.check import Checker
from bench.runs.packing.pack import MOST_LINES, packed, thinned, write_packed
from bench.runs.registry import load_catalogue
from bench.training.log import read_lines

RUN = EXAMPLE["run_id"]
Runs = Callable[..., Path]


@pytest.fixture
def finished(tmp_path: Path) -> Runs:
    """Return a function that makes the folder of a finished run from a record."""
    return partial(finished_run, tmp_path / "runs")


@pytest.fixture(scope="module")
def checker() -> Checker:
    """The checks of this installation."""
    return Checker(load_catalogue())


def test_a_bundle_has_the_layout_of_committed_records(finished: Runs, checker: Checker, tmp_path: Path) -> None:
    folders = [finished(), finished(base=SAMPLER)]
    found = packed(folders, checker)
    write_packed(found, tmp_path / "bundle.zip")
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        assert archive.namelist() == [
            *(f"digits/{RUN}{suffix}" for suffix in (".json", ".jsonl", ".png")),
            *(f"digits/{SAMPLER['run_id']}{suffix}" for suffix in (".json", ".png")),
        ]
        assert archive.read(f"digits/{RUN}.json") == (folders[0] / "record.json").read_bytes()
        assert archive.read(f"digits/{RUN}.png") == (folders[0] / "sheet.png").read_bytes()
    assert not any(one.errors for one in checker.check([tmp_path / "bundle.zip"]))


def test_the_same_runs_give_the_same_bytes(finished: Runs, checker: Checker, tmp_path: Path) -> None:
    folders = [finished(), finished(base=SAMPLER)]
    for name, order in (("a.zip", folders), ("b.zip", folders[::-1])):
        write_packed(packed(order, checker), tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_folder_of_records_is_added_to(finished: Runs, checker: Checker, tmp_path: Path) -> None:
    records = tmp_path / "records"
    write_packed(packed([finished()], checker), records)
    write_packed(packed([finished(base=SAMPLER)], checker), records)
    assert len(checker.check([records])) == 2
    assert read_lines(records / "digits" / f"{RUN}.jsonl")[-1] == {"iteration": 1500, "loss/a": 214.286}


def test_another_record_of_the_run_is_not_overwritten(finished: Runs, checker: Checker, tmp_path: Path) -> None:
    found = packed([finished()], checker)
    there = tmp_path / "records" / "digits" / f"{RUN}.json"
    there.parent.mkdir(parents=True)
    there.write_text(json.dumps(changed(EXAMPLE, {"metrics.0.values.0": 30.0})))
    before = there.read_bytes()
    with pytest.raises(UserError, match=r"has another result of this run \(2026-11-28T07:48:04"):
        write_packed(found, tmp_path / "records")
    assert there.read_bytes() == before and len(list(there.parent.iterdir())) == 1


def test_a_repeated_run_adds_its_files_to_the_record_that_is_there(
    finished: Runs, checker: Checker, tmp_path: Path
) -> None:
    """Its numbers agree but for the rounding of another processor, and the older record stays."""
    there = tmp_path / "records" / "digits" / f"{RUN}.json"
    there.parent.mkdir(parents=True)
    value = EXAMPLE["metrics"][0]["values"][0] * (1 + 1e-7)
    there.write_text(json.dumps(changed(EXAMPLE, {"provenance.threads": 2, "metrics.0.values.0": value})))
    before = there.read_bytes()
    assert write_packed(packed([finished()], checker), tmp_path / "records") == [there]
    assert there.read_bytes() == before
    assert there.with_suffix(".png").exists() and there.with_suffix(".jsonl").exists()


def test_records_under_other_protocols_are_packed_too(finished: Runs, checker: Checker) -> None:
    folder = finished()
    other = changed(EXAMPLE, {"run_id": f"{RUN}-best", "checkpoint.selection": "best-by-test-metric"})
    other["checkpoint"] |= {"sha256": "ab" * 32, "iteration": 10}  # the only one with an FD
    for metric in other["metrics"]:  # other weights have other values
        metric |= {"values": [1 / 3, 1 / 3, 2 / 3], "value": 4 / 9, "std": None, "low": None, "high": None}
        metric["diagnostics"] = []
    (folder / "protocols").mkdir()
    path = folder / "protocols" / "best-digits-0123456789ab.json"
    path.write_text(json.dumps(other))
    with pytest.raises(UserError, match="std is None, but"):
        packed([folder], checker)
    for metric in other["metrics"]:
        from bench.metrics.intervals import t_interval

        metric |= dict(zip(("value", "std", "low", "high"), t_interval(metric["values"]), strict=True))
    path.write_text(json.dumps(other))
    assert set(packed([folder], checker).files) == {
        *(f"digits/{RUN}{suffix}" for suffix in (".json", ".jsonl", ".png")),
        *(f"digits/{RUN}-best{suffix}" for suffix in (".json", ".jsonl")),
    }


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"provenance.git_dirty": True}, "commit the code, and run again, or --allow dirty"),
        ({"protocol.smoke": True}, "run the task's own protocol, or --allow smoke"),
        (
            {"provenance.argv": ["bench", "--runs", "/home/alice/runs"]},
            "a path of one machine, '/home/alice/runs'",
        ),
        ({"metrics.0.value": 1.0}, "value is 1.0, but"),
    ],
)
def test_runs_that_are_no_results_are_refused_by_name(
    finished: Runs, checker: Checker, values: dict[str, Any], reason: str
) -> None:
    folders = [finished(values), finished(base=SAMPLER)]
    with pytest.raises(UserError, match="these are not packed:") as caught:
        packed(folders, checker)
    assert reason in str(caught.value) and RUN in str(caught.value)
    assert SAMPLER["run_id"] not in str(caught.value)


def test_dirty_and_smoke_runs_are_packed_by_request(finished: Runs, checker: Checker) -> None:
    folder = finished({"provenance.git_dirty": True, "protocol.smoke": True})
    with pytest.raises(UserError, match="--allow smoke") as caught:
        packed([folder], checker, ["dirty"])
    assert "--allow dirty" not in str(caught.value)
    assert len(packed([folder], checker, ["dirty", "smoke"]).records) == 1


def test_failed_and_unfinished_runs_are_never_packed(finished: Runs, checker: Checker, tmp_path: Path) -> None:
    error = {"type": "OutOfMemoryError", "message": "no memory", "traceback": "", "log_tail": []}
    failed = finished({"status": "failed", "error": error, "metrics": [], "checkpoint": None})
    unfinished = tmp_path / "runs" / "digits" / "gan-s0-0123456789"
    unfinished.mkdir()
    with pytest.raises(UserError) as caught:
        packed([failed, unfinished], checker, ["smoke", "dirty"])
    assert "the run failed, 'OutOfMemoryError: no memory'" in str(caught.value)
    unnamed = (
        "gan-s0-0123456789: it has no record.json, since it has not finished; fix: bench status digits/gan-s0"
    )
    assert unnamed in str(caught.value)


def test_damaged_files_beside_a_record_are_not_packed(finished: Runs, checker: Checker) -> None:
    folder = finished()
    (folder / "sheet.png").write_bytes(b"GIF89a")
    with pytest.raises(UserError, match=r"sheet\.png"):
        packed([folder], checker)


def test_a_long_log_is_thinned_evenly_and_keeps_every_fd() -> None:
    lines: list[dict[str, Any]] = [{"iteration": step, "loss/a": step / 3} for step in range(1, 10_001)]
    for step in range(10_000, 0, -500):
        lines.insert(step, {"iteration": step, "fd": 100 / step})
    kept = thinned(lines)
    assert len(kept) <= MOST_LINES
    assert [line["iteration"] for line in kept] == sorted(line["iteration"] for line in kept)
    assert sum("fd" in line for line in kept) == 20
    plain = [line["iteration"] for line in kept if "fd" not in line]
    assert plain[0] == 1 and plain[-1] == 10_000 and max(np.diff(plain)) <= 37
    assert kept[0]["loss/a"] == 0.333333


def test_a_short_log_keeps_its_lines_and_figures_that_are_not_finite() -> None:
    (line,) = thinned([{"iteration": 1, "loss/a": float("inf"), "fd_samples": 1000}])
    assert line == {"iteration": 1, "loss/a": float("inf"), "fd_samples": 1000}
    assert len(thinned([{"iteration": step, "fd": 1.0} for step in range(500)])) == 500


def test_a_bundle_takes_no_folders_place_and_a_folder_no_files(
    finished: Runs, checker: Checker, tmp_path: Path
) -> None:
    found = packed([finished()], checker)
    (tmp_path / "folder.zip").mkdir()
    (tmp_path / "file").touch()
    for name, reason in (("folder.zip", "is a folder already"), ("file", "is a file already")):
        with pytest.raises(UserError, match=reason):
            write_packed(found, tmp_path / name)
