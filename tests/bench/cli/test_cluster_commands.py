"""`bench status`, `logs`, `wait`, `cancel`, `resume` where no Slurm is asked: which runs a name means."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests_support import TINY_PLUGIN

from bench.cli import cluster
from bench.cli.status_table import duration
from bench.core.errors import UserError
from bench.core.run_folder import LOG
from bench.jobs.spec import JobSettings, JobSpec, plugin_hashes
from bench.runs.plan import Run
from bench.runs.states import attempts
from bench.runs.states.state import RunState
from bench.task.declaration import Sources
from slurm import control, watch
from slurm.executor import SlurmExecutor, _cost
from slurm.graph import Batch
from slurm.resources import Resources
from slurm.submission import Submission, new_submission

RUNS = ["dmd-s0-0123456789", "dmd2-s1-abcdefabcd", "dmd2-s10-0123abcdef", "dmd2-s1-other"]


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without any command of Slurm."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A folder with some runs that were begun."""
    for name in RUNS:
        folder = tmp_path / "runs" / "tiny" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text("{}")
    return tmp_path / "runs"


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A submission whose preparations, two of one task, are over; return the folder of its logs."""
    (tmp_path / "squeue").touch(mode=0o755)
    monkeypatch.setattr(watch, "all_jobs", lambda _: {})
    monkeypatch.setattr(watch, "ended_states", lambda *_: {})
    new = new_submission(tmp_path / "runs", "cpu")
    folder = new.folder / "prepare-tiny"
    works = [JobSpec(f"prepare, {pairs} pairs", "prepare", folder / pairs) for pairs in ("10", "100")]
    graph = (Batch("prepare-tiny", "prepare", tuple(works), Resources()),)
    replace(new, graph=graph, jobs={"prepare-tiny": "7"}, let_go=True).write()
    for work in works:
        attempts.finish(work.folder, attempts.begin(work.folder, "7_0", 0, "n1", "prepare"), "done")
        (work.folder / LOG).write_text(f"{work.folder.name} pairs\n")
    return folder


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("dmd", {"dmd-s0-0123456789"}),
        ("dmd2", {"dmd2-s1-abcdefabcd", "dmd2-s10-0123abcdef", "dmd2-s1-other"}),
        ("dmd2-s1", {"dmd2-s1-abcdefabcd", "dmd2-s1-other"}),
        ("dmd2-s1-abc", {"dmd2-s1-abcdefabcd"}),
        ("tiny/dmd2-s10", {"dmd2-s10-0123abcdef"}),
        ("tiny/", set(RUNS)),
    ],
)
def test_a_name_may_be_cut_at_a_hyphen_and_in_its_hash(
    name: str, meant: set[str], begun: Path, bench: Callable[..., Any]
) -> None:
    shown = bench("status", name, "--runs", begun).text
    assert {run for run in RUNS if run in shown} == meant


@pytest.mark.parametrize("name", ["dmd2-s", "dmd2-s2", "tin/dmd2-s1", ""])
def test_a_name_that_no_run_has_is_no_run(name: str, begun: Path, bench: Callable[..., Any]) -> None:
    assert f"unknown run {name!r}" in bench("status", name, "--runs", begun).text


def test_logs_of_several_runs_are_told_apart_by_their_whole_names(begun: Path, bench: Callable[..., Any]) -> None:
    reason = bench("logs", "dmd2-s1", "--runs", begun).text
    assert "2 runs are called 'dmd2-s1': tiny/dmd2-s1-abcdefabcd, tiny/dmd2-s1-other; fix: bench logs " in reason
    assert "tiny/dmd2-s1-abcdefabcd" in bench("logs", "tiny/dmd2-s1-abcdefabcd", "--runs", begun).text


@pytest.mark.usefixtures("prepared")
def test_what_is_prepared_is_shown_to_whoever_asks_for_it(bench: Callable[..., Any]) -> None:
    assert "prepare-tiny" not in bench("status").text
    assert bench("wait", "10").code == 0
    assert bench("logs", "10", "-f").text == "10 pairs\n"
    assert bench("logs", "prepare-tiny/100").text == "100 pairs\n"


@pytest.mark.parametrize("command", [["cancel", "--all"], ["cancel", "dmd2"], ["resume"]])
def test_runs_that_were_never_submitted_need_no_cluster(
    command: list[str], begun: Path, bench: Callable[..., Any]
) -> None:
    done = bench(*command, "--runs", begun)
    assert done.code == 0 and done.text.startswith(f"nothing to {command[0]}")
    assert not (begun / ".slurm").exists()


@pytest.fixture
def waiting(begun: Path, monkeypatch: pytest.MonkeyPatch) -> list[str | BaseException]:
    """One run under way; what the queue says of it at each later look, in order."""
    answers: list[str | BaseException] = ["running"]

    def look(runs: Path, chosen: object) -> list[RunState]:
        assert runs == begun and not list(chosen)  # type: ignore[call-overload]
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return [RunState(begun / "tiny" / RUNS[0], answer)]  # type: ignore[arg-type]

    monkeypatch.setattr(cluster, "_states", look)
    monkeypatch.setattr(cluster.time, "sleep", lambda _: None)
    return answers


@pytest.mark.parametrize("command", [["wait"], ["status", "--watch"]])
def test_a_silent_queue_is_told_of_once_for_each_silence(
    command: list[str], waiting: list[str | BaseException], begun: Path, bench: Callable[..., Any]
) -> None:
    silent = UserError("squeue gave no answer in 60 s; try again later")
    waiting += [silent, silent, "running", silent, "done"]
    done = bench(*command, "--runs", begun)
    assert done.code == 0 and done.text.count("no news: squeue gave no answer") == 2


@pytest.mark.parametrize("command", [["wait"], ["status", "--watch"]])
def test_interrupted_watching_leaves_the_runs_alone_and_says_so(
    command: list[str], waiting: list[str | BaseException], begun: Path, bench: Callable[..., Any]
) -> None:
    waiting += [KeyboardInterrupt()]
    done = bench(*command, "--runs", begun)
    assert done.code == 130 and "what is under way goes on" in done.text and "checkpoint" not in done.text


def test_what_was_submitted_again_is_told_although_a_later_submission_is_refused(
    begun: Path, bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def resumed(*_: object) -> Iterator[Submission]:
        yield new_submission(begun, "cpu")
        raise UserError("Slurm refused the other")

    monkeypatch.setattr(control, "resume_runs", resumed)
    done = bench("resume", "--runs", begun)
    assert done.code == 2
    assert "submitted again: 0 jobs" in done.text and "Slurm refused the other" in done.text


def test_a_wrong_folder_is_not_made(bench: Callable[..., Any], tmp_path: Path) -> None:
    for command in (["status"], ["resume"], ["cancel", "--all"], ["wait"], ["logs", "dmd2"]):
        assert "no runs in" in bench(*command, "--runs", tmp_path / "wrong").text
    assert not (tmp_path / "wrong").exists()


def test_cancel_takes_names_or_all(begun: Path, bench: Callable[..., Any]) -> None:
    for chosen in ([], ["dmd2", "--all"]):
        assert "either the names of runs or --all" in bench("cancel", *chosen, "--runs", begun).text


def test_where_all_is_finished_no_cluster_is_asked_and_no_other_run_is_waited_for(
    plan: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = plan()
    monkeypatch.setattr(Run, "finished", lambda _: True)
    settings = JobSettings(tmp_path, Sources(tmp_path), plugins=plugin_hashes([TINY_PLUGIN]))
    SlurmExecutor(settings, "cpu", detach=False).execute([run], [])
    SlurmExecutor(settings, "cpu", detach=False).execute([], [])


@pytest.mark.parametrize(
    ("seconds", "shown"), [(20, "20 s"), (90, "2 min"), (3590, "1 h 00"), (3700, "1 h 02"), (7190, "2 h 00")]
)
def test_durations_are_rounded_as_a_whole(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_jobs_without_gpus_cost_hours_of_their_cores() -> None:
    work = JobSpec("train", "train", Path())
    on_cpus = Batch("cpus", "train", (work, work), Resources(cpus=4, hours=0.25))
    on_gpus = Batch("gpus", "train", (work,), Resources(nodes=2, gpus=8, cpus=64, hours=1.5))
    assert _cost([on_cpus]) == "2 core-hours"
    assert _cost([on_cpus, on_gpus]) == "24 GPU-hours and 2 core-hours"
    assert _cost([Batch("one", "train", (work,), Resources())]) == "1 core-hour"
