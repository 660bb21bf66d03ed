"""A dry run shows what would be submitted, on a machine without a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import bench, output

SUITE = ("reproduce", "table3", "--scale", "paper", "--executor", "slurm", "--dry-run")


@pytest.fixture(autouse=True)
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any command on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCH_RUNS", str(tmp_path / "runs"))
    return tmp_path


def test_graph_resources_cost_and_scripts_are_shown_without_a_cluster(laptop: Path) -> None:
    shown = output(*SUITE, "--profile", "example-a100")
    assert "planned without a cluster, as if its queue were empty: there is no squeue on PATH" in shown
    (train,) = (line for line in shown.splitlines() if line.startswith("train-imagenet64-0"))
    assert train.split()[1:] == ["6", "1", "7", "56", "192", "24", "1008", "GPU-hours", "prepare-imagenet64"]
    assert "15 jobs, at most 1068 GPU-hours" in shown
    for flag in ("--partition=gpu", "--gpus-per-node=a100:7", "--array=0-5%6", "--account=my-group"):
        assert f"#SBATCH {flag}\n" in shown
    assert "--dependency='afterok:<prepare-imagenet64>'" in shown
    assert not (laptop / "runs").exists(), "a dry run writes nothing"


def test_an_unknown_profile_is_refused_before_anything_is_looked_at() -> None:
    for arguments in (SUITE, SUITE[:-1]):
        refused = bench(*arguments, "--profile", "example-a1000")
        assert refused.code == 2
        assert refused.text == "error: unknown profile 'example-a1000'; did you mean 'example-a100'?"


def test_a_cluster_whose_controller_is_away_stops_no_dry_run(laptop: Path) -> None:
    for name in ("squeue", "scontrol", "sbatch"):
        (laptop / name).write_text("#!/bin/sh\necho Unable to contact slurm controller >&2\nexit 1\n")
        (laptop / name).chmod(0o755)
    shown = output(*SUITE, "--profile", "example-a100")
    assert "Unable to contact slurm controller" in shown and "15 jobs" in shown


def test_to_submit_there_must_be_a_cluster() -> None:
    chosen = ["--method", "dmd2", "--task", "digits", "--executor", "slurm", "--profile", "cpu"]
    refused = bench("run", *chosen)
    assert refused.code == 2 and "there is no squeue on PATH" in refused.text and "fix: " in refused.text
