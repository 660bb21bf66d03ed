"""A run's folder may contain any files: each is read, or named and skipped, and none hides other runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Printed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.core.errors import UserError
from bench.core.files import append_line
from bench.core.status import read_status
from bench.report.figures import read_progress
from bench.runs.states import attempts
from bench.runs.states.attempts import read_attempts
from bench.runs.states.lock import is_locked, locked
from bench.runs.states.pending import read_pending
from bench.runs.states.state import run_state

FILES = ("record.json", "attempts.jsonl", "status.json", "run.json", "metrics.jsonl", ".lock")
MANY = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(), st.text(max_size=6)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
ATTEMPT = {"job": "7", "restart": 0, "node": "n", "stage": "train", "began": 1.0, "ended": 2.0, "end": "failed"}
STATUS = {"stage": "training", "total": 9, "completed": 5, "began": 0, "began_at": 0, "time": 9e9, "figures": {}}
PLAN = {"name": "dmd2", "protocol": {"name": "digits"}, "seed": 0, "recipe": {"batch_size": 4}}


def odd(example: dict[str, object]) -> st.SearchStrategy[bytes]:
    """Return arbitrary bytes, arbitrary JSON, or the example with one value replaced."""
    one = st.tuples(st.sampled_from(sorted(example)), JSON).map(lambda pair: example | {pair[0]: pair[1]})
    return st.one_of(st.binary(max_size=40), st.one_of(JSON, one).map(lambda value: json.dumps(value).encode()))


@MANY
@given(line=odd(ATTEMPT))
def test_any_attempts_file_gives_the_attempts_or_names_itself(tmp_path: Path, line: bytes) -> None:
    good = json.dumps(ATTEMPT | {"job": "another one"}).encode()  # of the same job, the later line counts
    (tmp_path / "attempts.jsonl").write_bytes(good + b"\n" + line + b"\n")
    found, problems = read_attempts(tmp_path)
    assert found or problems  # only bytes that are no text take the good line with them
    assert len(found) > 1 or problems or line.strip(b"\n") == b""
    assert all(str(tmp_path / "attempts.jsonl") in problem for problem in problems)
    state = run_state(tmp_path)
    assert state.state
    assert state.problems == tuple(problems)


@MANY
@given(content=odd(STATUS))
def test_any_status_file_is_shown_or_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.json").write_text(json.dumps(PLAN))
    (tmp_path / "status.json").write_bytes(content)
    state = run_state(tmp_path)
    assert (read_status(tmp_path) is None) == (
        state.problems == (f"{tmp_path / 'status.json'}: not a status file; skipped",)
    )


@MANY
@given(content=odd(PLAN))
def test_any_plan_is_read_or_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.json").write_bytes(content)
    (tmp_path / "status.json").write_text(json.dumps(STATUS))
    work = read_pending(tmp_path)
    assert work is None or str(work).startswith("stopped at training 5/9")


@MANY
@given(line=odd({"iteration": 3, "fd": 1.0}))
def test_any_training_log_is_read_or_refused_by_name(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(line + b"\n")
    try:
        assert all(isinstance(entry["iteration"], int) for entry in read_progress(path))
    except UserError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)


@MANY
@given(content=odd({"error": {"type": "X", "message": "y"}, "metrics": [{"name": "fd", "value": 1.0}]}))
def test_any_record_has_a_state(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "record.json").write_bytes(content)
    assert run_state(tmp_path).state in ("done", "failed")


def a_run(folder: Path) -> Path:
    """Make a run's folder with a plan."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(PLAN))
    return folder


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "bytes", "enormous"])
@pytest.mark.parametrize("name", FILES)
def test_status_and_report_show_the_other_runs_whatever_a_file_is(
    bench: Callable[..., Printed], tmp_path: Path, name: str, kind: str
) -> None:
    folder = a_run(tmp_path / "runs" / "digits" / "odd")
    a_run(tmp_path / "runs" / "digits" / "good")
    attempts.begin(tmp_path / "runs" / "digits" / "good", "7", 0, "n1", "train")
    (folder / name).unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(folder / name)
    elif kind == "folder":
        (folder / name).mkdir()
    elif kind == "device":
        (folder / name).symlink_to("/dev/zero")
    elif kind == "enormous":
        with (folder / name).open("wb") as file:
            file.truncate(1 << 40)
    else:
        (folder / name).write_bytes(b"\xff\xfe\x00")
    shown = bench("status")
    assert shown.code == 1  # the good one died
    assert "good" in shown.text
    assert "odd" in shown.text
    if name in ("attempts.jsonl", "status.json"):
        assert f"{folder / name}: " in shown.text
    if name == "record.json":
        assert "record.json is damaged" in shown.text
    reported = bench("report", "--no-committed")
    assert "no records" in reported.text
    assert (str(folder / name) in reported.text) == (name == "record.json")


@pytest.mark.parametrize("name", ["attempts.jsonl", "metrics.jsonl", ".lock", "log.txt"])
def test_a_named_pipe_does_not_block_a_writer(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert not is_locked(tmp_path)
    if name == ".lock":
        with pytest.raises(UserError, match=r"\.lock is a named pipe"), locked(tmp_path):
            pass
    else:
        with pytest.raises(UserError, match="named pipe"):
            append_line(tmp_path / name, "{}")


def test_text_of_attempts_and_names_of_folders_are_no_markup_and_no_escapes(
    bench: Callable[..., Printed], tmp_path: Path
) -> None:
    for name in ("[bold]", "a\x1b[2J"):
        folder = a_run(tmp_path / "runs" / "digits" / name)
        attempt = attempts.begin(folder, "7", 0, "[red]n1", "train")
        attempts.finish(folder, attempt, "failed", "no such layer [/mid] \x1b]0;title\x07")
    shown = bench("status").text
    assert "\x1b" not in shown
    assert "\x07" not in shown
    for text in ("[bold]", "a\\x1b[2J", "[red]n1", "[/mid] \\x1b]0;title\\x07"):
        assert text in shown
