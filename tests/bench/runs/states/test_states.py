"""The state of a run, from its folder, its attempts and its queue."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from bench.core.run_folder import PLAN
from bench.runs.states import attempts
from bench.runs.states.attempts import End
from bench.runs.states.lock import locked
from bench.runs.states.state import CANCELLED, run_state
from slurm.queue import QueuedJob


def tried(folder: Path, end: End | None, reason: str = "", stage: str = "train", restart: int = 0) -> None:
    """Note an attempt in a run's folder."""
    attempt = attempts.begin(folder, "7", restart, "n1", stage)
    if end is not None:
        attempts.finish(folder, attempt, end, reason)


def job(state: str, reason: str = "None", number: str = "7") -> QueuedJob:
    return QueuedJob(number, "bench-x-train", state, reason, "n1" * (state == "RUNNING"))


@pytest.mark.parametrize(
    ("end", "reason", "said", "state"),
    [
        ("done", "", "", "stopped"),  # trained, and its evaluation has no job
        ("failed", "RuntimeError: x", "FAILED", "failed"),
        ("stopped", "SIGTERM", "", "stopped"),
        ("stopped", "SIGTERM", "CANCELLED by 0", "cancelled"),
        ("stopped", CANCELLED, "", "cancelled"),
        (None, "", "CANCELLED by 0", "cancelled"),
        (None, "", "NODE_FAIL", "died"),
        (None, "", "", "died"),
        ("requeued", "SIGUSR2", "FAILED", "died"),  # it came back, and ended before it could say so
        ("requeued", "SIGUSR2", "", "stopped"),
        ("refused", "another command works on it", "", "failed"),
    ],
)
def test_without_a_job_the_last_attempt_tells(
    end: End | None, reason: str, said: str, state: str, tmp_path: Path
) -> None:
    tried(tmp_path, end, reason)
    assert run_state(tmp_path, said=said).state == state


@pytest.mark.parametrize("end", [None, "failed", "stopped"])
def test_a_job_that_was_refused_says_nothing_about_the_run(end: End | None, tmp_path: Path) -> None:
    """A second command came while the first worked, and its job was the last to write in the run's folder."""
    tried(tmp_path, end, "of the run")
    attempts.finish(tmp_path, attempts.begin(tmp_path, "8", 0, "n1", "run"), "refused", "another command works")
    with locked(tmp_path):
        assert run_state(tmp_path).state == "running"
    found = run_state(tmp_path)
    assert found.state == {None: "died"}.get(end, end) and "another command" not in found.reason


def test_a_run_that_no_job_began(tmp_path: Path) -> None:
    assert run_state(tmp_path).state == "new"
    assert run_state(tmp_path, said="CANCELLED").state == "cancelled"
    assert run_state(tmp_path, said="FAILED").state == "died"
    assert run_state(tmp_path, [job("PENDING", "Priority")]).state == "queued"
    assert [run_state(tmp_path, [job("PENDING", why)]).reason for why in ("Priority", "None")] == ["Priority", ""]


def test_nothing_is_done_without_a_record(tmp_path: Path) -> None:
    tried(tmp_path, "done", stage="run")
    (tmp_path / PLAN).write_text("{}")
    found = run_state(tmp_path)
    assert (found.state, found.reason) == ("stopped", "its job ended, but there is no record.json")


def test_evaluations_of_saved_students_are_done_without_a_record_of_their_own(tmp_path: Path) -> None:
    tried(tmp_path, "done", stage="evaluate")
    assert run_state(tmp_path).state == "done"


def test_of_several_jobs_the_one_that_runs_or_waits_for_no_other(tmp_path: Path) -> None:
    jobs = [job("PENDING", "Dependency", "8"), job("PENDING", "Resources")]
    assert (run_state(tmp_path, jobs).state, run_state(tmp_path, jobs).job) == ("queued", "7")
    jobs = [job("PENDING", "Dependency", "8"), job("RUNNING")]
    assert (run_state(tmp_path, jobs).state, run_state(tmp_path, jobs).job) == ("running", "7")
    assert run_state(tmp_path, jobs[:1]).state == "waiting"


def test_what_was_cancelled_is_so_while_its_job_ends(tmp_path: Path) -> None:
    tried(tmp_path, "stopped", CANCELLED)
    assert run_state(tmp_path, [job("COMPLETING")]).state == "cancelled"
    with locked(tmp_path):  # it writes a checkpoint
        assert run_state(tmp_path, [job("COMPLETING")]).state == "cancelled"
        assert run_state(tmp_path).state == "running", "a command of the user works on it now"
    assert run_state(tmp_path, [job("COMPLETING"), job("PENDING", number="9")]).state == "queued"


def test_a_run_that_came_back_does_not_show_how_far_it_was_before(tmp_path: Path) -> None:
    status = {"stage": "training", "total": 9, "completed": 5, "began": 0, "began_at": 0, "figures": {}}
    (tmp_path / "status.json").write_text(json.dumps({**status, "time": time.time() - 60}))
    tried(tmp_path, "requeued", "SIGUSR2")
    tried(tmp_path, None, restart=1)
    found = run_state(tmp_path, [job("RUNNING")])
    assert (found.state, found.completed, found.requeues) == ("running", None, 1)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"error": 3}', '{"error": {}}', '{"metrics": [3]}', '{"metrics": null}']
)
def test_a_damaged_record_is_named_and_hides_no_other_run(text: str, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(text)
    found = run_state(tmp_path)
    assert found.state == "failed" and "record.json is damaged" in found.reason


@pytest.mark.parametrize(
    ("names", "shown"), [(["clip", "fd"], 2.0), (["fd-teacher", "clip"], 1.0), (["clip"], None)]
)
def test_the_distance_of_a_finished_run_is_that_of_its_protocol(
    names: list[str], shown: float | None, tmp_path: Path
) -> None:
    """Tasks of flow transformers compare with the teacher's images alone."""
    metrics = [{"name": name, "value": number} for number, name in enumerate(names, start=1)]
    (tmp_path / "record.json").write_text(json.dumps({"metrics": metrics}))
    assert (run_state(tmp_path).state, run_state(tmp_path).fd) == ("done", shown)


def test_a_status_file_of_somebody_else_is_no_status(tmp_path: Path) -> None:
    status = {"stage": "training", "total": None, "completed": "a", "began": 0, "began_at": 0, "figures": 3}
    (tmp_path / "status.json").write_text(json.dumps({**status, "time": time.time() + 60}))
    (tmp_path / "run.json").write_text("{}")
    assert (run_state(tmp_path).state, run_state(tmp_path).completed) == ("stopped", None)


def test_a_divergence_is_a_result(tmp_path: Path) -> None:
    error = {"type": "DivergedError", "message": "training diverged at iteration 3"}
    (tmp_path / "record.json").write_text(json.dumps({"error": error, "metrics": []}))
    assert run_state(tmp_path).state == "failed" and not run_state(tmp_path).resumable
    error["type"] = "RuntimeError"
    (tmp_path / "record.json").write_text(json.dumps({"error": error, "metrics": []}))
    assert run_state(tmp_path).resumable
