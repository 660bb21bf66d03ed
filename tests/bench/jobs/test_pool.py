"""What each job gets of the machine, and jobs through submitit on it."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from bench.core.run_folder import JOB, LOG
from bench.jobs.job import Work
from bench.jobs.pool import Share, run_jobs
from bench.runs.attempts import attempts

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


def test_a_failing_job_takes_no_other_with_it_and_says_why(tmp_path: Path) -> None:
    works = [
        Work("wrong", "run", ("describe", "no-such-method"), tmp_path / "wrong"),
        Work("right", "run", ("describe", "dmd2"), tmp_path / "right"),
    ]
    outcomes = {outcome.work.label: outcome for outcome in run_jobs(works, 2, Share(), QUIET)}
    assert outcomes["right"].done and not outcomes["wrong"].done
    assert "no-such-method" in outcomes["wrong"].told
    assert "error: " in (tmp_path / "wrong" / LOG).read_text()
    assert [attempt.end for attempt in attempts(tmp_path / "right")] == ["done"]
    assert not (tmp_path / "right" / JOB).exists()  # nothing of submitit is left in the way
