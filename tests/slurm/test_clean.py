"""A command removes what submissions leave behind, except what a job or `bench resume` uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import UserError
from bench.jobs.spec import JobSpec
from slurm import clean as cleaning
from slurm import queue, submission
from slurm.clean import clean, leftovers
from slurm.graph import Batch
from slurm.profile import Profile
from slurm.queue import QueuedJob
from slurm.resources import Resources
from slurm.script import Script
from slurm.submission import Submission, new_submission, submitting


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Submission]:
    """Make a submission of one run, with or without a result, that runs the code NAME."""
    jobs: list[QueuedJob] = []
    for module in (cleaning, queue):
        monkeypatch.setattr(module, "queued_jobs", lambda: {job.id: job for job in jobs})

    def make(name: str, code: str, done: bool, queued: bool = False) -> Submission:
        folder = tmp_path / "runs" / "tiny" / name
        folder.mkdir(parents=True)
        if done:
            (folder / "record.json").write_text('{"error": null, "metrics": []}')
        new = new_submission(tmp_path / "runs", "cpu")
        frozen = tmp_path / "runs" / ".slurm" / "code" / code
        frozen.mkdir(parents=True, exist_ok=True)
        (frozen / "x.py").write_text("1")
        work = JobSpec("a", "train", folder)
        batch = Batch("train-tiny-0", "train", (work,), Resources())
        found = replace(new, graph=(batch,), jobs={batch.name: "7"}, code=frozen, let_go=True)
        found.write()
        if queued:
            jobs.append(QueuedJob("7", found.job_name(batch), "RUNNING", "None", "n1"))
        return found

    return make


def test_only_what_nothing_needs_goes(made: Any, tmp_path: Path) -> None:
    over = made("over", "old", done=True)
    resumable, running = made("resumable", "kept", done=False), made("running", "live", done=True, queued=True)
    (tmp_path / "runs" / ".slurm" / "code" / "orphan").mkdir()
    wanted = [over.folder, over.code.parent / "old", over.code.parent / "orphan"]
    assert [one.folder for one in leftovers(tmp_path / "runs")] == wanted
    assert all(folder.exists() for folder in wanted)
    assert [one.folder for one in clean(tmp_path / "runs")] == wanted
    assert not any(folder.exists() for folder in wanted)
    for kept in (resumable.folder, resumable.code, running.folder, running.code):
        assert kept.exists()
    assert (tmp_path / "runs" / "tiny" / "over" / "record.json").exists()


def test_a_folder_in_which_another_submission_prepares_stays(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over, follows = made("over", "old", done=True), made("follows", "old", done=False)
    prepare = JobSpec("p", "prepare", over.folder / "prepare-tiny" / "assets")
    replace(follows, graph=(Batch("prepare-tiny", "prepare", (prepare,), Resources()), *follows.graph)).write()
    monkeypatch.chdir(tmp_path)
    assert not clean(Path("runs")) and over.folder.exists()


def test_a_live_job_is_known_whatever_its_task_is_called(made: Any) -> None:
    one = made("over", "old", done=True)
    batch = replace(one.graph[0], name="train-my task; (1)-0")
    odd = replace(one, graph=(batch,), jobs={batch.name: "7"})
    odd.write()
    script = Script(batch, Profile(), odd.job_name(batch), odd.folder, odd.code).text()
    assert f"#SBATCH --job-name={odd.job_name(batch)}\n" in script


def test_what_another_user_submitted_is_not_submitted_again(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made("theirs", "code", done=False)
    with submitting(tmp_path / "runs"):
        pass
    monkeypatch.setattr(submission.os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    with (
        pytest.raises(
            UserError, match=r"user .* has submitted runs from .* fix: name a folder of your own: --runs"
        ),
        submitting(tmp_path / "runs"),
    ):
        pass
    (tmp_path / "runs" / "tiny" / "theirs" / "record.json").write_text('{"error": null, "metrics": []}')
    with submitting(tmp_path / "runs"):
        pass
