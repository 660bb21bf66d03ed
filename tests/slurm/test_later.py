"""Jobs that do not fit in the queue are not refused, lost or submitted twice, with few calls of Slurm."""

from __future__ import annotations

import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm

from bench.cli import cluster
from bench.core.errors import UserError
from bench.jobs.spec import JobSpec
from bench.runs.states.state import RunState
from slurm import aftermath, later
from slurm.control import cancel_runs, resume_runs
from slurm.graph import Batch, part, runs_of
from slurm.later import left, submit_later, waiting_runs
from slurm.profile import Profile
from slurm.queue import QueueFullError
from slurm.refusal import is_full, refusal
from slurm.resources import Resources
from slurm.script import LATER, Script
from slurm.submission import FILE, Submission, new_submission, submissions, submit, submitting
from slurm.watch import busy_folders, submitted_states

RUNS = 6


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """A cluster that takes 7 jobs of a user: a preparation, and three runs."""
    folder = tmp_path / "commands"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return FakeSlurm(folder, 7)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of runs."""
    (tmp_path / "mine.toml").write_text("")
    return tmp_path / "runs"


def planned(runs: Path, count: int = RUNS) -> Submission:
    """Return a graph that prepares a task and makes this many runs."""
    new = new_submission(runs, str(runs.parent / "mine.toml"))
    folders = [(runs / "tiny" / f"a-s{k}-0") for k in range(count)]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_text("{}")
    prepare = JobSpec("p", "prepare", new.folder / "prepare-tiny" / "assets")
    train = tuple(JobSpec("a", "train", folder) for k, folder in enumerate(folders))
    graph = (
        Batch("prepare-tiny", "prepare", (prepare,), Resources()),
        Batch("train-tiny-0", "train", train, Resources(), "prepare-tiny"),
        Batch(
            "evaluate-tiny-0",
            "evaluate",
            tuple(replace(work, stage="evaluate") for work in train),
            Resources(),
            "train-tiny-0",
            each=True,
        ),
    )
    return replace(new, graph=graph, code=runs / "code")


def sent(runs: Path, count: int = RUNS) -> Submission:
    """Submit it."""
    with submitting(runs):
        return submit(planned(runs, count), Profile())


def submitted(runs: Path) -> Counter[str]:
    """How often each run was submitted."""
    return Counter(folder.name for one in submissions(runs) if one.jobs for folder in runs_of(one.graph))


def test_an_array_larger_than_the_limit_is_submitted_in_part(
    slurm: FakeSlurm, runs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = sent(runs)
    assert not capfd.readouterr().err, "that is no news for the terminal"
    assert len(slurm.jobs) == 7 and not any("Held" in job["reason"] for job in slurm.jobs.values())
    assert len(runs_of(made.graph)) == 3 and len(waiting_runs(runs)) == RUNS - 3 and made.full == 7
    for batch in made.graph:
        assert len(batch.specs) == sum(number.startswith(made.jobs[batch.name]) for number in slurm.jobs)


def test_all_runs_follow_as_jobs_end_each_of_them_once_with_few_requests(slurm: FakeSlurm, runs: Path) -> None:
    sent(runs)
    for _ in range(2 * RUNS):
        slurm.end(2)
        submit_later(runs)
        assert len(slurm.jobs) <= 7
    assert submitted(runs) == Counter({f"a-s{k}-0": 1 for k in range(RUNS)})
    assert not waiting_runs(runs) and not (runs / ".slurm" / LATER).exists()
    assert slurm.calls("sbatch") < 12 * RUNS


def test_while_few_jobs_have_ended_nothing_is_asked_but_the_queue(slurm: FakeSlurm, runs: Path) -> None:
    sent(runs)
    before = slurm.calls("sbatch")
    slurm.end(1)
    assert [submit_later(runs) for _ in range(5)] == [0] * 5
    assert slurm.calls("sbatch") == before


def test_a_full_queue_of_other_jobs_is_asked_again_only_once_it_has_moved(slurm: FakeSlurm, runs: Path) -> None:
    sent(runs)
    slurm.change(jobs={str(k): {"name": "bench-other", "reason": "None"} for k in range(5)})
    assert submit_later(runs) == 0
    asked = slurm.calls("sbatch")
    assert [submit_later(runs) for _ in range(3)] == [0] * 3 and slurm.calls("sbatch") == asked
    slurm.end(3)
    assert submit_later(runs) == 2


def test_what_was_submitted_by_a_process_that_was_killed_before_it_noted_that_is_not_submitted_twice(
    slurm: FakeSlurm, runs: Path
) -> None:
    first = sent(runs)
    noted = (first.folder / FILE).read_text()
    slurm.change(jobs={})
    assert submit_later(runs) == 3
    (first.folder / FILE).write_text(noted)
    (runs / ".slurm" / LATER).touch()
    slurm.change(jobs={})  # and all failed
    while waiting_runs(runs):
        submit_later(runs)
        slurm.change(jobs={})
    assert submitted(runs) == Counter({f"a-s{k}-0": 1 for k in range(RUNS)})


def test_what_waits_is_under_way_can_be_cancelled_and_resumed(slurm: FakeSlurm, runs: Path) -> None:
    sent(runs, 5)
    states = {state.run: state for state in submitted_states(runs)}
    assert Counter(state.reason for state in states.values())[later.NO_ROOM] == 2
    assert all(states[f"a-s{k}-0"].state == "waiting" for k in (3, 4))
    assert {folder.name for folder in busy_folders(runs)} >= {f"a-s{k}-0" for k in range(5)}
    assert cancel_runs([states["a-s4-0"]], runs) == ["a-s4-0"]
    state = next(state for state in submitted_states(runs) if state.run == "a-s4-0")
    assert state.state == "cancelled" and state.submitted and state.resumable
    slurm.change(jobs={})
    assert submit_later(runs) == 1 and not waiting_runs(runs)
    slurm.change(jobs={})
    assert [runs_of(one.graph) for one in resume_runs(lambda: [state], runs, None)] == [[state.folder]]
    assert submitted(runs) == Counter({f"a-s{k}-0": 1 for k in range(5)})


def test_cancelling_all_lets_nothing_follow(slurm: FakeSlurm, runs: Path) -> None:
    sent(runs)
    states = submitted_states(runs)
    assert len(cancel_runs(states, runs)) == RUNS + 1
    assert not slurm.jobs and not waiting_runs(runs) and submit_later(runs) == 0
    assert {state.state for state in submitted_states(runs)} == {"cancelled"}


def test_not_even_one_run_finds_room_is_a_refusal_that_leaves_nothing(slurm: FakeSlurm, runs: Path) -> None:
    slurm.change(limit=2)
    with pytest.raises(QueueFullError, match=r"QOSMaxSubmitJobPerUserLimit.*fix: wait until jobs of yours"):
        sent(runs)
    assert not slurm.jobs and not submissions(runs) and not waiting_runs(runs)


def test_what_no_node_can_take_is_refused_even_where_the_array_is_too_large_for_the_queue(
    slurm: FakeSlurm, runs: Path
) -> None:
    slurm.change(alone="Requested node configuration is not available")
    with pytest.raises(UserError, match=r"configuration is not available.*fix: no node has that much"):
        sent(runs)
    assert not slurm.jobs and not submissions(runs)


def test_another_limit_of_the_account_is_no_full_queue(slurm: FakeSlurm, runs: Path) -> None:
    slurm.change(limit=0, says="QOSMaxWallDurationPerJobLimit")
    with pytest.raises(UserError, match=r"QOSMaxWallDurationPerJobLimit.*fix: sacctmgr show qos") as caught:
        sent(runs)
    assert not isinstance(caught.value, QueueFullError)
    assert not submissions(runs)


POLICY = "\nerror: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


@pytest.mark.parametrize(
    ("said", "full"),
    [
        (f"error: QOSMaxSubmitJobPerUserLimit{POLICY}", True),
        (f"error: AssocMaxSubmitJobLimit{POLICY}", True),
        (f"error: AssocGrpSubmitJobsLimit{POLICY}", True),
        (POLICY, True),
        ("error: Slurm temporarily unable to accept job, sleeping and retrying", True),
        (f"error: QOSMaxGRESPerUser{POLICY}", False),
        (f"error: AssocMaxWallDurationPerJobLimit{POLICY}", False),
        ("error: invalid partition specified: mian", False),
    ],
)
def test_only_a_submit_limit_is_a_full_queue(said: str, full: bool) -> None:
    assert is_full(said) is full
    assert ("wait until jobs" in refusal(said, "x", "cpu")) is full


def test_another_users_rest_is_looked_at_and_left_alone(
    slurm: FakeSlurm, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent(runs)
    slurm.change(jobs={})
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    monkeypatch.setattr(later.os, "getuid", lambda: 12345678)
    assert submit_later(runs) == 0 and slurm.calls("sbatch") > 0
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*")} == before


def test_a_job_submits_what_waits_when_it_is_over(
    slurm: FakeSlurm, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = sent(runs)
    slurm.end(5)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    with pytest.raises(SystemExit) as ended:
        aftermath.main(str(made.folder), made.graph[1].name, "0")
    assert ended.value.code == 0 and len(waiting_runs(runs)) < RUNS - 3


@pytest.mark.parametrize("waits", [False, True])
def test_a_job_that_went_well_starts_python_again_only_if_something_waits(waits: bool, tmp_path: Path) -> None:
    folder = tmp_path / "my runs" / ".slurm" / "1"
    folder.mkdir(parents=True)
    if waits:
        (folder.parent / LATER).touch()
    for name, does in (("srun", "exit 0"), ("python", f'echo "$@" > "{tmp_path}/arguments"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    batch = Batch("train", "train", (JobSpec("a", "train", folder),), Resources())
    text = Script(batch, Profile(python=str(tmp_path / "python")), "bench-1-train", folder, folder / "code").text()
    (tmp_path / "job.sh").write_text(text)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert subprocess.run(["bash", "job.sh"], cwd=tmp_path, env=path, check=False).returncode == 0
    assert (tmp_path / "arguments").exists() is waits


def test_a_look_goes_on_when_what_waits_cannot_be_submitted(
    slurm: FakeSlurm, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sent(runs)
    (runs.parent / "mine.toml").write_text("partitoin = 1")
    slurm.change(jobs={})
    watch = cluster._Watch(runs, [], [RunState(runs / "tiny" / "x", "running")])
    watch.update()
    watch.update()
    assert capsys.readouterr().err.count("warning: what waits for room in the queue waits on: ") == 1
    assert len(watch.states) > 1 and not watch.silent


def test_a_part_of_a_graph_keeps_what_its_runs_wait_for(runs: Path) -> None:
    graph = planned(runs).graph
    folders = runs_of(graph)
    some = part(graph, {folders[2], folders[5]})
    assert [batch.name for batch in some] == [batch.name for batch in graph]
    assert [[work.folder for work in batch.specs] for batch in some[1:]] == [[folders[2], folders[5]]] * 2
    assert part(graph, set()) == () and part(graph, set(folders)) == graph
    assert left([]) == []
