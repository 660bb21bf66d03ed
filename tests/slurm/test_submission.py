"""Whatever is refused, killed or done twice while jobs are submitted, the queue is left as it should be.

No job starts here: the partitions take jobs, and let none go.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest
from cluster_runs import SET, until
from command import Printed, bench
from one_machine_slurm.cluster import Cluster
from one_machine_slurm.conf import Settings
from tests_support import TINY_PLUGIN

from slurm import SUBMISSIONS, queue, submission
from slurm.later import NO_ROOM, submit_later
from slurm.submission import submissions

PROFILE = "cpus_per_node = 1\nmemory_gb_per_node = 1\nmax_hours = 1\n"


@pytest.fixture
def quiet(cluster: Cluster) -> Iterator[Cluster]:
    """A cluster whose partitions start no jobs."""
    for name in ("main", "low"):
        cluster.ask("scontrol", "update", f"PartitionName={name}", "State=DOWN")
    yield cluster
    cluster.ask("scancel", "--me")
    for name in ("main", "low"):
        cluster.ask("scontrol", "update", f"PartitionName={name}", "State=UP")


@pytest.fixture
def submit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Printed]:
    """Submit two runs of the tiny task with a profile of these lines."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCH_RUNS", str(tmp_path / "runs"))

    def call(more: str = "", *arguments: object) -> Printed:
        (tmp_path / "mine.toml").write_text(PROFILE + more)
        chosen = ["--method", "dmd2", "--task", "tiny", "--seed", "0,1", "--plugin", TINY_PLUGIN, *SET]
        where = ["--executor", "slurm", "--profile", tmp_path / "mine.toml", "--detach", "--no-baselines"]
        return bench("run", *chosen, *where, *arguments)

    return call


def counted() -> set[str]:
    """How many runs are in which state."""
    return set(bench("status").text.splitlines()[0].strip().split(", "))


def in_queue(cluster: Cluster) -> list[str]:
    """Name, state and reason of each job, by number."""
    return sorted(cluster.ask("squeue", "--me", "-h", "-r", "-o", "%j %T %r").splitlines())


def killed(work: Callable[[], object]) -> None:
    """Do something in a process of its own, which is to be killed while it does."""
    child = get_context("fork").Process(target=work)
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL


def kill_self(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_all_is_let_go_at_once_in_the_order_of_its_stages(
    quiet: Cluster, submit: Callable[..., Printed], tmp_path: Path
) -> None:
    done = submit()
    assert done.code == 0, done.text
    names = ["evaluate-tiny-0", "evaluate-tiny-0", "prepare-tiny", "train-tiny-0", "train-tiny-0"]
    assert [line.split()[0].split("-", 4)[4] for line in in_queue(quiet)] == names
    assert not any("Held" in line for line in in_queue(quiet))
    (made,) = submissions(tmp_path / "runs")
    assert made.let_go and list(made.jobs) == ["prepare-tiny", "train-tiny-0", "evaluate-tiny-0"]
    text = quiet.ask("scontrol", "show", "job", made.jobs["evaluate-tiny-0"])
    assert f"aftercorr:{made.jobs['train-tiny-0']}" in text


def test_the_same_command_again_submits_nothing(quiet: Cluster, submit: Callable[..., Printed]) -> None:
    submit()
    before = [line.split()[0] for line in in_queue(quiet)]
    assert submit().code == 0
    assert [line.split()[0] for line in in_queue(quiet)] == before
    assert "nothing to submit" in submit("", "--dry-run").text


def test_status_cancel_and_resume_of_what_waits(quiet: Cluster, submit: Callable[..., Printed]) -> None:
    submit()
    status = bench("status")
    assert status.code == 0
    until(lambda: counted() == {"2 waiting", "1 queued"})  # Slurm takes a moment to say what jobs wait for
    assert bench("logs", "dmd2-s0").text.startswith("error: tiny/dmd2-s0")
    assert "nothing to resume" in bench("resume").text
    assert bench("cancel", "dmd2-s1").text.startswith("cancelled: dmd2-s1")
    assert counted() == {"1 cancelled", "1 waiting", "1 queued"}
    assert bench("status").code == 1
    assert "submitted again: 3 jobs" in bench("resume").text
    until(lambda: counted() == {"2 waiting", "1 queued"})
    assert submit("", "--dry-run").text.count("waiting: Dependency") == 2
    chosen = ["--method", "dmd2", "--task", "tiny", "--seed", "0", "--plugin", TINY_PLUGIN, *SET]
    here = bench("run", *chosen, "--no-baselines")
    assert here.code == 2 and "bench cancel tiny/dmd2-s0" in here.text, "it would be done twice"
    assert "seeds 0, 1: waiting: Dependency" in bench("report", "--suite", "table3", "--task", "tiny").text
    bench("cancel", "--all")
    assert not in_queue(quiet)
    assert "3 cancelled" in bench("status").text


def test_jobs_that_a_user_took_out_by_scancel_are_cancelled(
    quiet: Cluster, submit: Callable[..., Printed]
) -> None:
    submit()
    quiet.ask("scancel", "--me")
    assert "3 cancelled" in bench("status").text


def test_what_a_submission_left_that_was_killed_between_two_arrays_is_taken_out(
    quiet: Cluster, submit: Callable[..., Printed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = submission._on_hold, [0]

    def twice(*arguments: object) -> str:
        calls[0] += 1
        return plain(*arguments) if calls[0] < 3 else str(kill_self())  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(submission, "_on_hold", twice)
        killed(submit)
    left = in_queue(quiet)
    assert len(left) == 3 and all("JobHeldUser" in line for line in left)
    assert submit().code == 0
    assert len(in_queue(quiet)) == 5
    assert not any("Held" in line for line in in_queue(quiet))
    assert len([one for one in submissions(tmp_path / "runs") if one.jobs]) == 1


def test_what_was_submitted_by_a_process_killed_before_it_let_go_is_let_go(
    quiet: Cluster, submit: Callable[..., Printed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(queue, "release", kill_self)
        killed(submit)
    assert len(in_queue(quiet)) == 5 and all("JobHeldUser" in line for line in in_queue(quiet))
    assert submit().code == 0
    assert len(in_queue(quiet)) == 5, "nothing was submitted twice"
    assert not any("Held" in line for line in in_queue(quiet))
    assert len(submissions(tmp_path / "runs")) == 1


def test_jobs_of_other_folders_of_runs_are_left_on_hold(quiet: Cluster, submit: Callable[..., Printed]) -> None:
    quiet.ask("sbatch", "--hold", "--job-name=bench-20260101-000000-abcd-train", "--wrap=true")
    submit()
    assert any("abcd" in line and "JobHeldUser" in line for line in in_queue(quiet))


@pytest.mark.parametrize(
    ("more", "reason", "fix"),
    [
        ('partition = "mian"', "invalid partition", "sinfo lists the partitions"),
        ("gpus_per_node = 4\n[stages.train]\ngpus = 4", "configuration is not available", "lower gpus_per_node"),
        ('constraint = "nvlink"', "feature", "set constraint in the profile"),
        ('[stages.evaluate]\npartition = "mian"', "invalid partition", "sinfo lists the partitions"),
    ],
)
def test_a_refusal_says_what_mends_it_and_leaves_nothing_in_the_queue(
    more: str, reason: str, fix: str, quiet: Cluster, submit: Callable[..., Printed], tmp_path: Path
) -> None:
    refused = submit(more)
    assert refused.code == 2
    assert reason in refused.text.lower() and fix in refused.text
    assert not in_queue(quiet)
    assert not submissions(tmp_path / "runs")


def test_a_full_queue_takes_all_or_nothing(own_cluster: Cluster, submit: Callable[..., Printed]) -> None:
    own_cluster.start(Settings(nodes=1, max_jobs=2))
    own_cluster.ask("scontrol", "update", "PartitionName=main", "State=DOWN")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own_cluster.exports.items():
            patch.setenv(name, value)
        refused = submit()
        assert refused.code == 2
        assert "wait until jobs of yours have ended" in refused.text
        assert not in_queue(own_cluster)


def test_what_finds_no_room_in_the_queue_follows_as_jobs_end(
    own_cluster: Cluster, submit: Callable[..., Printed], tmp_path: Path
) -> None:
    own_cluster.start(Settings(nodes=1, max_jobs=3))
    own_cluster.ask("scontrol", "update", "PartitionName=main", "State=DOWN")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own_cluster.exports.items():
            patch.setenv(name, value)
        assert submit().code == 0
        assert len(in_queue(own_cluster)) == 3  # the preparation, one training, and its evaluation
        (one,) = submissions(tmp_path / "runs")
        waiting = {work.folder for batch in one.later for work in batch.specs}
        assert len(waiting) == 1 and bench("status").text.count(NO_ROOM) == 1
        assert submit_later(tmp_path / "runs") == 0 and len(in_queue(own_cluster)) == 3  # no room yet
        own_cluster.ask("scancel", "--me")
        until(lambda: not in_queue(own_cluster))
        assert submit_later(tmp_path / "runs") == 1
        assert len(in_queue(own_cluster)) == 3
        assert "cancelled: " in bench("cancel", "--all").text
        assert not any(one.later for one in submissions(tmp_path / "runs"))


@pytest.mark.parametrize("more", ["partitoin = 'main'", "cpus_per_node = 0"])
def test_a_bad_profile_is_told_before_anything_is_submitted(
    more: str, quiet: Cluster, submit: Callable[..., Printed]
) -> None:
    refused = submit(f"max_jobs = 2\n{more}")
    assert refused.code == 2 and "mine.toml" in refused.text
    assert not in_queue(quiet)


def test_without_slurm_the_error_says_where_to_go(
    submit: Callable[..., Printed], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = submit()
    assert refused.code == 2
    assert "no login node of a Slurm cluster" in refused.text and "--executor local" in refused.text
    assert not (tmp_path / "runs" / SUBMISSIONS).exists() or not submissions(tmp_path / "runs")


def test_resuming_asks_for_the_memory_that_the_profile_says_now(
    quiet: Cluster, submit: Callable[..., Printed], tmp_path: Path
) -> None:
    def memory() -> set[str]:
        return set(quiet.ask("squeue", "--me", "-h", "-r", "-o", "%m").split())

    submit()
    assert memory() == {"1G"}
    bench("cancel", "--all")
    (tmp_path / "mine.toml").write_text(PROFILE.replace("memory_gb_per_node = 1", "memory_gb_per_node = 2"))
    assert "submitted again: 5 jobs" in bench("resume").text
    assert memory() == {"2G"}


def test_flags_of_the_profile_are_what_slurm_reads(
    quiet: Cluster, submit: Callable[..., Printed], tmp_path: Path
) -> None:
    more = """
[sbatch]
comment = "it's for \\"table 3\\", twice"
nice = 100
no-requeue = true
exclude = ["127.0.0.2"]
mem-per-cpu = "300M"
mail-type = ["END", "FAIL"]
export = "NONE"
"""
    done = submit(more)
    assert done.code == 0, done.text
    (made,) = submissions(tmp_path / "runs")
    text = quiet.ask("scontrol", "show", "job", made.jobs["prepare-tiny"])
    for reason in (
        'Comment=it\'s for "table 3", twice',
        "Nice=100",
        "Requeue=0",
        "ExcNodeList=127.0.0.2",
        "MinMemoryCPU=300M",
    ):
        assert reason in text, reason
    assert "WCKey" not in text
    assert "profile" in bench("slurm", "check", "--profile", tmp_path / "mine.toml", "--task", "digits").text


def test_check_is_told_by_sbatch_what_nodes_do_not_show(quiet: Cluster, tmp_path: Path) -> None:
    quiet.ask("scontrol", "update", "PartitionName=main", "State=UP")
    profile = tmp_path / "mine.toml"
    profile.write_text(PROFILE)
    fits = bench("slurm", "check", "--profile", profile)
    assert fits.code == 0, fits.text
    profile.write_text(f'{PROFILE}[sbatch]\nreservation = "nosuch"\n')
    refused = bench("slurm", "check", "--profile", profile)
    assert refused.code == 2 and "fix: scontrol show reservation lists them" in refused.text
    profile.write_text(f"{PROFILE}[sbatch]\nno-such-flag = true\n")
    refused = bench("slurm", "check", "--profile", profile)
    assert refused.code == 2 and "fix: sbatch --help lists the flags" in refused.text
