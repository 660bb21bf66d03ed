"""The part of the machine that each job gets, and jobs that are forked on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from tests_support import TINY_PLUGIN

from bench.core.errors import UserError
from bench.core.run_folder import LOG
from bench.jobs.forkserver import fork_server
from bench.jobs.local_jobs import Share, run_jobs
from bench.jobs.spec import JobSettings, plugin_hashes
from bench.runs.plan import Run
from bench.runs.registry import load_catalogue
from bench.runs.states.attempts import attempts
from bench.task.declaration import Sources

QUIET = Console(quiet=True)


def test_jobs_side_by_side_have_gpus_of_their_own() -> None:
    share = Share(processes=2, gpus=4)
    seen = [share.visible_gpus(slot)["CUDA_VISIBLE_DEVICES"] for slot in (0, 1, 2)]
    assert seen == ["0,1", "2,3", "0,1"]


def test_the_gpus_that_the_user_chose_are_the_ones_that_jobs_see() -> None:
    share = Share(processes=1, gpus=2, gpu_names=("2", "GPU-5c1a"))
    assert [share.visible_gpus(slot)["CUDA_VISIBLE_DEVICES"] for slot in (0, 1)] == ["2", "GPU-5c1a"]


def test_a_job_that_needs_all_gpus_sees_all() -> None:
    assert Share(processes=4, gpus=4).visible_gpus(0) == {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}
    assert Share().visible_gpus(0) == {"CUDA_VISIBLE_DEVICES": ""}


def test_a_failing_job_takes_no_other_with_it_and_says_why(plan: Callable[..., Run], cache: Path) -> None:
    run = plan()
    settings = JobSettings(run.root, Sources(cache), plugins=plugin_hashes([TINY_PLUGIN]))
    right = settings.run(run)
    wrong = settings.checkpoint(run.task, run.root / "no-such-student", None, "wrong", run.root / "wrong")
    with fork_server(1) as server:
        outcomes = {outcome.spec.label: outcome for outcome in run_jobs([wrong, right], 2, Share(), server, QUIET)}
    assert outcomes[run.label].done and not outcomes["wrong"].done
    assert "no-such-student" in outcomes["wrong"].reason
    assert "error: " in (run.root / "wrong" / LOG).read_text()
    assert [attempt.end for attempt in attempts(run.folder)] == ["done"]
    assert run.finished() is not None


def test_a_forked_process_returns_a_value_or_the_users_mistake() -> None:
    with fork_server(1) as server:
        assert server.call("os.path:join", "a", "b") == "a/b"
        with pytest.raises(UserError, match="describes no job"):
            server.call("bench.jobs.start:main", "/no/such/folder", "run")
        assert server.call("threading:active_count") == 2  # its own and the one that follows the server


def test_forked_processes_find_a_tasks_modules_imported_and_collect_garbage() -> None:
    task = load_catalogue().tasks.get("digits")
    with fork_server(1, ["no.such.module", *task.modules]) as server:
        assert server.call("gc:isenabled")
        assert server.call("builtins:eval", "'tasks.micro.prepared' in __import__('sys').modules")
