"""Jobs get nothing of the job that they are submitted from."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import bench
from stub_slurm import INSIDE_A_JOB, StubSlurm

from bench.jobs.spec import JobSpec
from bench.runs.states import attempts
from slurm import aftermath, queue
from slurm.environment import clean_environment, environment
from slurm.graph import Batch
from slurm.resources import Resources
from slurm.submission import new_submission

LEAKED = {
    **INSIDE_A_JOB,
    "SLURMD_NODENAME": "n7",
    "SUBMITIT_EXECUTOR": "local",
    "PMI_RANK": "3",
    "PMIX_NAMESPACE": "slurm.pmix.7.0",
    "OMPI_COMM_WORLD_RANK": "3",
    "RANK": "3",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "3",
    "MASTER_ADDR": "nowhere",
    "MASTER_PORT": "1",
    "ACCELERATE_MIXED_PRECISION": "fp16",
    "CUDA_VISIBLE_DEVICES": "5",
}
KEPT = {"SLURM_CONF": "/etc/mine.conf", "SLURM_CLUSTERS": "b", "LD_LIBRARY_PATH": "/lib", "HF_HOME": "/data"}


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubSlurm:
    """A cluster that takes all, and an environment full of another job's variables."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCH_RUNS", str(tmp_path / "runs"))
    for name, value in {**LEAKED, **KEPT}.items():
        monkeypatch.setenv(name, value)
    return StubSlurm(tmp_path / "bin")


def test_sbatch_gets_nothing_of_another_job_and_all_else(stub: StubSlurm) -> None:
    chosen = ["--method", "dmd2", "--task", "digits", "--no-baselines"]
    done = bench("run", *chosen, "--executor", "slurm", "--profile", "cpu", "--detach")
    assert done.code == 0, done.text
    assert len(stub.scripts()) == 3
    got = stub.environment()
    assert not LEAKED.keys() & got.keys()
    assert got.items() >= KEPT.items()
    assert LEAKED.items() <= os.environ.items(), "this process keeps its own"
    assert "SBATCH_ACCOUNT, SBATCH_ARRAY_INX, SBATCH_EXPORT, SBATCH_PARTITION, SBATCH_QOS: not used" in done.text


def test_questions_to_the_queue_are_not_narrowed_by_variables(stub: StubSlurm) -> None:
    (stub.folder / "squeue").write_text("#!/bin/sh\nexec /usr/bin/env\n")
    got = dict(line.split("=", 1) for line in queue.slurm("squeue").splitlines() if "=" in line)
    assert not LEAKED.keys() & got.keys()


def test_outside_a_job_the_devices_are_those_that_the_user_chose() -> None:
    assert environment({"CUDA_VISIBLE_DEVICES": "", "PATH": "/bin"}) == {
        "CUDA_VISIBLE_DEVICES": "",
        "PATH": "/bin",
    }
    assert environment({"CUDA_VISIBLE_DEVICES": "5", "SLURM_JOB_ID": "7"}) == {}


def test_the_environment_comes_back_also_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "2000")
    with pytest.raises(KeyError), clean_environment():
        os.environ["SLURM_MEM_PER_CPU"]
    assert os.environ["SLURM_MEM_PER_CPU"] == "2000"


def test_a_single_job_that_died_is_told_of_whatever_array_it_was_submitted_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = JobSpec("prepare", "prepare", tmp_path / "work")
    new = new_submission(tmp_path, "cpu")
    new.__class__(**{**vars(new), "graph": (Batch("prepare", "prepare", (work,), Resources()),)}).write()
    attempts.begin(work.folder, "8", 0, "n1", "prepare")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "5")
    with pytest.raises(SystemExit) as caught:
        aftermath.main(str(new.folder), "prepare", "137")
    assert caught.value.code == 137
    assert attempts.attempts(work.folder)[-1].reason.startswith("killed by SIGKILL")


def test_planning_and_submitting_import_no_torch(stub: StubSlurm, tmp_path: Path) -> None:
    program = f"""
import subprocess
import sys
sys.modules["torch"] = None  # to import it is an ImportError
sys.argv = ["bench", *{["run", "--method", "dmd2", "--task", "digits"]!r},
            *{["--executor", "slurm", "--profile", "cpu", "--detach"]!r}]
from bench.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in the queue" in done.stderr and len(stub.scripts()) == 4
