"""Records: what a result is, how it is kept, and what a broken one says."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bench.records import Record, load_records, read_record, write_record
from tasks.errors import UserError
from tasks.files import digest

PROTOCOL = {"name": "fashion", "samples": 10_000, "repetitions": 3, "smoke": False}


def example(**changes: Any) -> Record:
    """A whole record of a student trained with DMD2."""
    fields = {
        "run_id": "fashion-dmd2-seed0",
        "kind": "method",
        "status": "ok",
        "method": {
            "name": "dmd2",
            "origin": "distillation-bench",
            "distiller": "methods.dmd2:DMD2",
            "passed": {"iterations": 500},
            "recipe": {"iterations": 500, "lr": 3e-4, "betas": [0.9, 0.999]},
        },
        "task": "fashion",
        "protocol": PROTOCOL,
        "protocol_sha256": digest(PROTOCOL),
        "train_seed": 0,
        "metrics": [
            {
                "name": "fd",
                "title": "FD",
                "direction": "lower",
                "value": 0.1 + 0.2,
                "values": [0.1, 1e-300, 1 / 3],
                "std": 0.5,
                "low": -1.0,
                "high": 2.0,
                "samples": 10_000,
                "diagnostics": [{"rank": 64}, {"rank": 64}, {"rank": 64}],
            }
        ],
        "checkpoint": {"iteration": 500, "selection": "last", "sha256": "ab" * 32, "weights": "ema"},
        "cost": {
            "iterations": 500,
            "generator_updates": 100,
            "generated_images": 32_000,
            "network_evaluations": 1,
            "train_seconds": 110.0,
            "evaluate_seconds": 20.0,
            "threads": 1,
            "peak_memory_bytes": 1 << 29,
            "parameters": 333_000,
            "gpu_hours": 0.0,
        },
        "weights": [{"role": "features", "sha256": "cd" * 32, "bytes": 100}],
        "data": [],
        "provenance": {
            "created": "2025-01-01T00:00:00+00:00",
            "git_commit": None,
            "git_dirty": None,
            "packages": {"torch": "2.4"},
            "python": "3.11",
            "platform": "Linux",
            "cpu": "a laptop",
            "gpu": None,
            "threads": 1,
            "argv": ["bench", "run", "fashion", "dmd2"],
            "precision": "float32",
            "tf32": False,
        },
        "sampler": {"steps": 1, "sigmas": [80.0]},
        "error": None,
    }
    return Record.model_validate(fields | changes)


FAILURE = {"type": "RuntimeError", "message": "out of memory", "traceback": "...", "log_tail": ["step 3"]}


def test_a_record_survives_the_disk_to_the_last_bit(tmp_path: Path) -> None:
    write_record(tmp_path / "record.json", example())
    assert read_record(tmp_path / "record.json") == example()
    assert read_record(tmp_path / "record.json").metrics[0].values == [0.1, 1e-300, 1 / 3]


def test_writing_the_same_result_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(path, example())
    before = path.read_bytes()
    write_record(path, example())
    assert path.read_bytes() == before


def test_a_result_is_never_replaced_by_a_different_one(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(path, example())
    with pytest.raises(UserError, match=r"already holds another result.*rm "):
        write_record(path, example(train_seed=1))
    assert read_record(path).train_seed == 0


def test_a_failure_makes_room_for_the_result(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(path, example(status="failed", metrics=[], checkpoint=None, error=FAILURE))
    write_record(path, example())
    assert read_record(path).status == "ok"


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_half_written_record_names_the_file_and_the_mend(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "record.json"
    text = example().model_dump_json()
    path.write_text(text[: int(kept * len(text))])
    with pytest.raises(UserError) as caught:
        read_record(path)
    assert str(path) in str(caught.value)
    assert f"delete it and run again: rm {path}" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"schema_version": 2}, "schema_version"), ({"fid": 1.0}, "fid"), ({"task": None}, "task")],
)
def test_a_record_of_another_schema_names_the_field(
    tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(example().model_dump() | change))
    with pytest.raises(UserError, match=rf"{path}.*{complaint}"):
        read_record(path)


def test_a_missing_record_is_an_error_without_traceback(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_record(tmp_path / "record.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"protocol": PROTOCOL | {"samples": 500}},
        {"status": "failed"},
        {"error": FAILURE},
        {"train_seed": math.nan},
    ],
)
def test_a_record_that_contradicts_itself_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        example(**changes)


def test_load_finds_run_folders_and_committed_records_and_reports_broken_ones(tmp_path: Path) -> None:
    runs, committed = tmp_path / "runs", tmp_path / "records"
    write_record(runs / "fashion" / "a" / "record.json", example(run_id="a"))
    (runs / "fashion" / "a" / "config.json").write_text("{}")
    write_record(committed / "table3" / "b.json", example(run_id="b"))
    (committed / "table3" / "torn.json").write_text("{")
    records, problems = load_records([runs, committed, tmp_path / "not-there"])
    assert [record.run_id for record in records] == ["a", "b"]
    assert len(problems) == 1
    assert "torn.json" in problems[0]
