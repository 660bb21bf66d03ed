"""Records: their content, their files, and the errors of broken ones."""

import copy
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.core.errors import UserError
from bench.core.files import digest, whole_file
from bench.report.render import to_csv, to_markdown
from bench.report.table import task_table
from bench.runs.record import Record
from bench.runs.records import load_records, read_record, tuned_runs, write_record
from bench.runs.tuning.record import read_tunings

PROTOCOL = {"name": "fashion", "samples": 10_000, "repetitions": 3, "smoke": False}


def example(**changes: Any) -> Record:
    """A complete record of a student trained with DMD2."""
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
    with pytest.raises(UserError, match=r"already has another result.*fix: mv "):
        write_record(path, example(train_seed=1))
    assert read_record(path).train_seed == 0


def test_a_failure_makes_room_for_the_result(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(path, example(status="failed", metrics=[], checkpoint=None, error=FAILURE))
    write_record(path, example())
    assert read_record(path).status == "ok"


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_half_written_record_names_the_file_and_the_fix(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "record.json"
    text = example().model_dump_json()
    path.write_text(text[: int(kept * len(text))])
    with pytest.raises(UserError) as caught:
        read_record(path)
    assert str(path) in str(caught.value)
    assert f"fix: put back a whole copy, or mv {path} {path}.aside, then run again" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"schema_version": 0}, "schema_version"), ({"fid": 1.0}, "fid"), ({"task": None}, "task")],
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
    records, problems, _ = load_records([runs, committed, tmp_path / "not-there"])
    assert [record.run_id for record in records] == ["a", "b"]
    assert len(problems) == 1
    assert "torn.json" in problems[0]


@pytest.mark.parametrize(
    "place",
    [
        "runs/fashion/a/record.json",
        "runs/fashion/a/protocols/b.json",
        "records/b.json",
        "runs/tuning/fashion/b.json",
    ],
)
def test_a_file_that_somebody_writes_at_this_moment_is_no_broken_record(tmp_path: Path, place: str) -> None:
    runs, committed = tmp_path / "runs", tmp_path / "records"
    write_record(runs / "fashion" / "a" / "record.json", example(run_id="a"))
    with whole_file(tmp_path / place) as half:
        half.write_text('{"points": [{"run_id": "a"}]')
        loaded = load_records([runs, committed])
        assert [record.run_id for record in loaded.records] == ["a"] and loaded.problems == []
        assert read_tunings(runs) == ([], []) and tuned_runs([runs]) == set()


def changed(path: tuple[str | int, ...], value: object) -> str:
    """Return the JSON of the example with another value at a path of keys."""
    fields = example().model_dump()
    inner: Any = fields
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    if path[0] == "protocol":
        with_digest = copy.deepcopy(fields["protocol"])
        try:
            fields["protocol_sha256"] = digest(with_digest)
        except (ValueError, RecursionError):
            fields["protocol_sha256"] = "0" * 64
    return json.dumps(fields).replace('"enormous"', "9" * 5000)  # which Python would not write


def deep(levels: int) -> Any:
    found: Any = 1
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("method", "recipe", "lr"), math.nan),
        (("method", "passed", "lr"), math.inf),
        (("method", "recipe", "iterations"), "enormous"),
        (("sampler", "sigmas"), [math.nan]),
        (("protocol", "name"), ["x"]),
        (("protocol", "extractors"), {"main": 3}),
        (("protocol", "samples"), math.nan),
        (("metrics", 0, "diagnostics"), "none"),
        (("metrics", 0, "diagnostics", 0, "clipped"), "many"),
        (("metrics", 0, "diagnostics", 0, "clipped"), "3"),
        (("metrics", 0, "level"), 95),
        (("metrics", 0, "name"), 7),
        (("cost", "iterations"), 2**63),
        (("cost", "peak_memory_bytes"), -1),
        (("train_seed",), 2**63),
        (("run_id",), "../../evil"),
        (("task",), "a\x1b[31m"),
        (("method", "name"), None),
        (("method", "recipe", "betas"), deep(900)),
    ],
)
def test_an_odd_record_is_named_and_the_rest_is_shown(
    tmp_path: Path, path: tuple[str, ...], value: object
) -> None:
    write_record(tmp_path / "good.json", example(run_id="good"))
    (tmp_path / "odd.json").write_text(changed(path, value))
    records, problems, _ = load_records([tmp_path])
    shown = to_markdown(task_table(records, "fashion"))
    assert "0.300" in shown
    assert [record.run_id for record in records] == ["good"]
    assert len(problems) == 1
    assert str(tmp_path / "odd.json") in problems[0]
    assert "\n" not in problems[0]


def test_a_record_with_two_results_of_one_metric_is_refused() -> None:
    """A comparison would count its training seed twice."""
    metric = example().metrics[0]
    with pytest.raises(ValidationError, match=f"several results of '{metric.name}'"):
        example(metrics=[metric.model_dump(), metric.model_dump()])


@pytest.mark.parametrize("kind", ["fifo", "folder", "bytes", "zero", "huge"])
def test_a_record_that_is_no_text_file_neither_hangs_nor_hides_others(tmp_path: Path, kind: str) -> None:
    write_record(tmp_path / "runs" / "fashion" / "good" / "record.json", example(run_id="good"))
    odd = tmp_path / "runs" / "fashion" / "odd" / "record.json"
    odd.parent.mkdir()
    if kind == "fifo":
        os.mkfifo(odd)
    elif kind == "folder":
        odd.mkdir()
    elif kind == "zero":
        odd.symlink_to("/dev/zero")
    elif kind == "huge":
        with odd.open("wb") as file:
            file.truncate(1 << 40)
    else:
        odd.write_bytes(b"\xff\xfe{}")
    records, problems, _ = load_records([tmp_path / "runs"])
    assert [record.run_id for record in records] == ["good"]
    assert len(problems) == 1
    assert str(odd) in problems[0]


def every_path(value: Any, here: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Yield the paths of keys to all values of a record."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [path for key, inner in items for path in ((*here, key), *every_path(inner, (*here, key)))]
    return []


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["\x1b[2J", "[/x]", "a|b\nc", "=1+1", "../../x", "NaN", "$x", "`"]),
    st.lists(st.one_of(st.integers(), st.text(max_size=3)), max_size=3),
    st.dictionaries(st.text(max_size=4), st.one_of(st.floats(), st.text(max_size=4)), max_size=3),
)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(every_path(example().model_dump())), value=ODD)
def test_a_record_with_any_odd_value_is_shown_or_named(
    tmp_path: Path, path: tuple[str | int, ...], value: object
) -> None:
    write_record(tmp_path / "good.json", example(run_id="good"))
    (tmp_path / "odd.json").write_text(changed(path, value), encoding="utf-8")
    records, problems, _ = load_records([tmp_path])
    assert len(records) + len(problems) == 2
    assert all(str(tmp_path / "odd.json") in problem and "\n" not in problem for problem in problems)
    if not problems:  # records come in the order of their files' names
        table = task_table(records, records[1].task)
        assert "\x1b" not in to_markdown(table) + to_csv(table)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=64), st.text(max_size=64).map(lambda text: json.dumps(text).encode())))
def test_any_bytes_as_a_record_are_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_record(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_record_of_a_later_version_is_not_to_be_removed(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps({**example().model_dump(mode="json"), "schema_version": 2, "new": 1}))
    with pytest.raises(
        UserError, match=r"a record of version 2, which this .* cannot read; fix: install"
    ) as caught:
        read_record(path)
    assert "rm " not in str(caught.value)


def test_two_results_of_one_run_in_a_folder_are_told(tmp_path: Path) -> None:
    """A table would show one of them, and a reader could not know which."""
    one = example()
    value = one.metrics[0].value or 0.0
    rounded, better = (
        one.model_copy(update={"metrics": [one.metrics[0].model_copy(update={"value": other})]})
        for other in (value * (1 + 1e-7), 1.0)
    )
    folder = tmp_path / "records"
    write_record(folder / "fashion" / "a.json", one)
    write_record(folder / "fashion" / "b.json", rounded)
    assert not load_records([folder]).problems
    write_record(folder / "fashion" / "c.json", better)
    (problem,) = load_records([folder]).problems
    assert problem.startswith(f"{folder}/fashion/c.json: {folder}/fashion/a.json is a record of the same run with")
    elsewhere = tmp_path / "other" / "records"
    write_record(elsewhere / "fashion" / "c.json", better)
    (folder / "fashion" / "c.json").unlink()
    assert not load_records([folder, elsewhere]).problems, "another machine may have another result"
