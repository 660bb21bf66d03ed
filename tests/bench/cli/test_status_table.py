"""The table of `bench status`: whatever an error says, in 80 columns, and the command to type next."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.cli.status_table import status_table
from bench.core.errors import UserError
from bench.jobs.spec import JobSpec
from bench.runs.states import attempts
from bench.runs.states.next_steps import next_steps
from bench.runs.states.state import RunState
from slurm import watch
from slurm.graph import Batch
from slurm.queue import QueuedJob
from slurm.resources import Resources
from slurm.submission import new_submission, submitting
from slurm.watch import submitted_states

LONG = "coco10k/dmd2-4step-no-backward-simulation-s0-c7ada8138d"


def drawn(states: list[RunState], width: int = 80, runs: Path = Path("runs")) -> str:
    console = Console(width=width, force_terminal=True, color_system=None)
    with console.capture() as shown:
        console.print(status_table(states, runs, width))
    return shown.get()


@pytest.mark.parametrize("reason", ["bad [/x] and [red]", "a\x1b[2Jb", "two\nlines", "\u202egnp"])
def test_whatever_an_error_says_is_printed_as_it_is(reason: str) -> None:
    shown = drawn([RunState(Path("runs/t/a"), "failed", reason=reason)], width=400)
    assert "\x1b[2J" not in shown and "\u202e" not in shown
    assert reason.encode("unicode_escape").decode() in shown or reason in shown


def test_all_fits_80_columns_and_the_first_columns_are_the_last_to_go() -> None:
    state = RunState(
        Path("runs", LONG), "running", stage="train", job="1234567_12", node="gpu-a-001", completed=99_990,
        total=200_000, images_per_second=123.4, seconds_left=12_345, fd=12.345, requeues=2, reason="x" * 300,
    )  # fmt: skip
    shown = drawn([state])
    assert max(map(len, shown.splitlines())) <= 80
    assert "running" in shown and LONG in shown.replace("\n", "")
    wide = drawn([state], width=240)
    assert all(part in wide for part in ("1234567_12", "gpu-a-001", "123", "3 h 26", "12.35", "99990/200000"))


def test_a_thousand_runs_that_wait_for_one_reason_are_one_line_and_hide_no_failure() -> None:
    waiting = [
        RunState(Path(f"runs/t/a-s{k}"), "waiting", reason="Dependency", submitted=True) for k in range(1000)
    ]
    shown = drawn([*waiting, RunState(Path("runs/t/b"), "failed", reason="Dependency", submitted=True)], width=200)
    assert "1000 runs: Dependency" in shown and shown.count(": Dependency") == 2
    assert "t/b: Dependency" in shown and "next: bench logs t/b" in shown and "then: bench resume t/b" in shown


def test_every_state_that_needs_a_hand_has_the_next_steps(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "digits" / "dmd2-s1-0123456789"
    folder.mkdir(parents=True)
    plan = {
        "name": "dmd2",
        "task": "digits",
        "seed": 1,
        "kind": "method",
        "passed": {"lr": 0.1, "betas": [0, 0.9]},
    }
    (folder / "run.json").write_text(json.dumps(plan))
    again = "bench run --method dmd2 --task digits --seed 1 --set lr=0.1 --set 'betas=[0, 0.9]' --no-baselines"
    name = "digits/dmd2-s1-0123456789"
    found = {
        (state, sent): next_steps(RunState(folder, state, submitted=sent), Path("runs"))  # type: ignore[arg-type]
        for state in ("done", "running", "queued", "waiting", "stopped", "cancelled", "failed", "died", "new")
        for sent in (False, True)
    }
    for state in ("done", "running", "queued", "waiting"):
        assert found[state, False] == found[state, True] == []
    for state in ("stopped", "cancelled", "new"):
        assert found[state, False] == [again] and found[state, True] == [f"bench resume {name}"]
    for state in ("failed", "died"):
        assert found[state, True] == [f"bench logs {name}", f"bench resume {name}"]
    diverged = RunState(folder, "failed", reason="DivergedError: loss is nan")
    assert next_steps(diverged, Path("runs")) == ["run it with another recipe, since this one would diverge again"]
    elsewhere = next_steps(RunState(folder, "stopped", submitted=True), Path("my runs"))
    assert elsewhere == [f"bench resume {name} --runs 'my runs'"]


@pytest.fixture
def sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, RunState]]:
    """A submission of two runs, and how their states are with these jobs in the queue."""
    new = new_submission(tmp_path / "runs", "cpu")
    prepare = JobSpec("p", "prepare", new.folder / "prepare-tiny" / "assets")
    folders = [tmp_path / "runs" / "tiny" / name for name in ("a-s0-01", "a-s1-02")]
    train = tuple(JobSpec("a", "train", folder, ("bench", "run")) for k, folder in enumerate(folders))
    evaluate = tuple(replace(work, stage="evaluate") for work in train)
    graph = (
        Batch("prepare-tiny", "prepare", (prepare,), Resources()),
        Batch("train-tiny-0", "train", train, Resources(), after="prepare-tiny"),
        Batch("evaluate-tiny-0", "evaluate", evaluate, Resources(), after="train-tiny-0", each=True),
    )

    def look(
        jobs: dict[str, str], queue: list[QueuedJob] | UserError, let_go: bool | None = None
    ) -> dict[str, RunState]:
        replace(new, graph=graph, jobs=jobs, let_go=bool(jobs) if let_go is None else let_go).write()

        def answer(users: set[str]) -> dict[str, QueuedJob]:
            look.asked = users  # type: ignore[attr-defined]
            if isinstance(queue, UserError):
                raise queue
            return {job.id: job for job in queue}

        monkeypatch.setattr(watch, "all_jobs", answer)
        monkeypatch.setattr(watch, "ended_states", lambda *_: {})
        return {state.run: state for state in submitted_states(tmp_path / "runs")}

    look.new = new  # type: ignore[attr-defined]
    return look


ALL = {"prepare-tiny": "7", "train-tiny-0": "8", "evaluate-tiny-0": "9"}


def test_a_run_says_which_failure_took_its_jobs_out_of_the_queue(sent: Any) -> None:
    folder = sent.new.folder / "prepare-tiny" / "assets"
    attempts.finish(folder, attempts.begin(folder, "7", 0, "n1", "prepare"), "failed", "no teacher")
    states = sent(ALL, [])
    assert states["a-s0-01"].reason == "its jobs left the queue: prepare-tiny/assets, which it waited for, failed"
    assert states["assets"].state == "failed" and states["assets"].reason == "no teacher"


def test_jobs_on_hold_after_a_killed_submission_are_seen_by_their_names(sent: Any) -> None:
    name = f"bench-{sent.new.id}-train-tiny-0"
    states = sent({}, [QueuedJob("8_1", name, "PENDING", "JobHeldUser", "")])
    assert set(states) == {"a-s1-02"}
    assert states["a-s1-02"].state == "stopped"
    assert states["a-s1-02"].reason == "on hold (job 8_1): its submission was killed"
    assert next_steps(states["a-s1-02"], Path("runs")) == ["bench run"]


@pytest.mark.parametrize(
    ("let_go", "busy", "state", "reason", "fix"),
    [
        (False, False, "stopped", "on hold (job 8_1): its submission was killed", "bench resume --runs RUNS"),
        (False, True, "queued", "it is being submitted", ""),
        (True, False, "queued", "on hold (job 8_1): JobHeldUser", "scontrol release 8_1"),
    ],
)
def test_what_is_on_hold_goes_on_by_itself_only_while_it_is_being_submitted(
    let_go: bool, busy: bool, state: str, reason: str, fix: str, sent: Any, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    job = QueuedJob("8_1", f"bench-{sent.new.id}-train-tiny-0", "PENDING", "JobHeldUser", "")
    with submitting(runs) if busy else contextlib.nullcontext():
        found = sent(ALL, [job], let_go)["a-s1-02"]
    assert (found.state, found.reason, "; ".join(next_steps(found, runs))) == (
        state,
        reason,
        fix.replace("RUNS", str(runs)),
    )


def test_another_users_jobs_are_asked_for_and_not_called_gone(sent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch.os, "getuid", lambda: 12345678)
    states = sent(ALL, [])
    assert sent.asked == {watch.user_name(Path(sent.new.folder).stat().st_uid)}
    assert states["a-s0-01"].reason.endswith("submitted it, and Slurm shows no such job here")
    running = sent(ALL, [QueuedJob("8_0", "bench-x", "RUNNING", "None", "n1")])
    assert running["a-s0-01"].state == "running"


@pytest.mark.parametrize(
    "damage",
    [
        "{",
        "[]",
        '"x"',
        "null",
        "\\x00",
        "[" * 100_000,
        '{"graph": 1}',
        '{"graph": [{"works": 1}]}',
        None,
        "after",
        "jobs",
    ],
)
def test_a_damaged_submission_is_told_of_and_hides_no_other(damage: str | None, sent: Any, tmp_path: Path) -> None:
    sent(ALL, [])
    odd = tmp_path / "runs" / ".slurm" / "20200101-odd"
    odd.mkdir()
    text = (sent.new.folder / "submission.json").read_text()
    if damage is None:
        (odd / "submission.json").write_bytes(b"\xff\xfe")
    elif damage in ("after", "jobs"):
        data = json.loads(text)
        if damage == "after":
            data["graph"][1]["after"] = "gone"
        else:
            data["jobs"] = [1]
        (odd / "submission.json").write_text(json.dumps(data))
    else:
        (odd / "submission.json").write_text(damage)
    states = sent(ALL, [])
    assert states.keys() >= {"a-s0-01", "a-s1-02"}
    damaged = states["20200101-odd"]
    assert damaged.state == "failed" and damaged.fix.startswith("look for them in squeue")
    assert "fix:" not in damaged.fix


def test_looking_writes_nothing(sent: Any, tmp_path: Path, bench: Callable[..., Any]) -> None:
    sent(ALL, [QueuedJob("8_0", "bench-x", "RUNNING", "None", "n1")])
    runs = tmp_path / "runs"
    for name in ("a-s0-01", "b-s0-03"):
        (runs / "tiny" / name).mkdir(parents=True, exist_ok=True)
        (runs / "tiny" / name / "run.json").write_text("{}")
        (runs / "tiny" / name / ".lock").touch(mode=0o444)

    def all_files() -> dict[Path, float]:
        return {path: path.stat().st_mtime_ns for path in runs.rglob("*")}

    before = all_files()
    assert "tiny/b-s0-03" in bench("status").text
    assert "printed nothing yet" in bench("logs", "a-s0-01").text
    assert bench("report", "--task", "digits").code in (0, 2)
    assert all_files() == before


def test_a_silent_queue_leaves_what_the_folders_tell(sent: Any, tmp_path: Path, bench: Callable[..., Any]) -> None:
    folder = tmp_path / "runs" / "tiny" / "a-s0-01"
    attempts.finish(folder, attempts.begin(folder, "8_0", 0, "n1", "train"), "failed", "a mistake")
    with pytest.raises(UserError, match="no answer"):
        sent(ALL, UserError("squeue gave no answer in 60 s"))
    shown = bench("status")
    assert "warning: squeue gave no answer in 60 s; the states come from the folders of the runs" in shown.text
    assert "a mistake" in shown.text and "it was submitted, and the queue gives no answer" in shown.text


def test_what_is_printed_is_accepted_names_and_jobs(sent: Any, bench: Callable[..., Any]) -> None:
    sent(ALL, [QueuedJob(f"8_{k}", "bench-x", "RUNNING", "None", "n1") for k in (0, 1)])
    both = {"a-s0-01", "a-s1-02"}
    names = {
        "8_1": {"a-s1-02"},
        "8": both,
        "9": both,
        "9_0": {"a-s0-01"},
        sent.new.id: both,
        "tiny/a-s0-01": {"a-s0-01"},
    }
    for name, runs in names.items():
        shown = bench("status", name).text
        assert {run for run in ("a-s0-01", "a-s1-02") if f"tiny/{run}" in shown} == runs
    assert "a-s1-02 (running) has printed nothing yet" in bench("logs", "8_1").text
