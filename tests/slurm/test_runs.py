"""Runs on a cluster give what they give in one process on one machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cluster_runs import alone, values
from command import bench
from one_machine_slurm.cluster import Cluster
from safetensors.torch import load_file
from tests_support import TINY_PLUGIN

from bench.runs.plan import BaselineRun, Run
from bench.runs.states.attempts import attempts
from slurm.submission import submissions

RECIPE = {"iterations": 4, "batch_size": 12, "warmup": 2}
SET = [part for key, value in RECIPE.items() for part in ("--set", f"{key}={value}")]
TABLE3 = ["dmd", "dmd-no-regression", "dmd-ttur", "dmd2", "gan", "gan-ttur"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of prepared assets for the tests of this file."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def runs(cluster: Cluster, profile: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: ARG001
    """A folder of runs, named from where we stand, with a profile beside it."""
    (tmp_path / "profile.toml").write_text(profile)
    monkeypatch.setenv("BENCH_CACHE", str(cache))
    monkeypatch.setenv("BENCH_RUNS", "runs")
    monkeypatch.chdir(tmp_path)
    return Path("runs")


def weights(run: Run) -> dict[str, torch.Tensor]:
    """A student, but for what has no effect: the attention keys' biases, whose gradients are rounding alone."""
    (path,) = (run.folder / "student" / "unet").glob("*.safetensors")
    return {name: value for name, value in load_file(path).items() if not name.endswith("to_k.bias")}


def submit_and_wait(*command: object) -> None:
    """Submit runs and look often until they are done: a command that follows its runs looks twice a minute."""
    for done in (bench(*command, "--detach"), bench("wait", "--every", "0.5")):
        assert done.code == 0, done.text


def test_a_suite_through_sbatch_gives_the_values_of_this_process(runs: Path, cache: Path) -> None:
    suite = ["reproduce", "table3", "--task", "tiny", "--seed", "0", "--plugin", TINY_PLUGIN, *SET]
    suite += ["--executor", "slurm", "--profile", "profile.toml"]
    submit_and_wait(*suite)
    done = bench(*suite)
    assert done.code == 0, done.text
    assert "GAN, TTUR" in done.text, "the table is shown at the end"
    (made,) = submissions(runs)  # a second time nothing is submitted
    sizes = {batch.name: (len(batch.specs), batch.after, batch.each) for batch in made.graph}
    assert sizes == {
        "prepare-tiny": (1, None, False),
        "train-tiny-0": (6, "prepare-tiny", False),
        "evaluate-tiny-0": (6, "train-tiny-0", True),
        "ready-tiny-0": (2, "prepare-tiny", False),
    }
    for run, record in alone(TABLE3, [0], RECIPE, Path("alone"), cache, TINY_PLUGIN):
        there = Run(**{**vars(run), "root": runs})
        assert values(there.finished()) == values(record), run.label
        assert [(one.stage, one.end) for one in attempts(there.folder)] == [
            ("train", "done"),
            ("evaluate", "done"),
        ]
        for sampler in run.task.baselines.values():
            assert BaselineRun(run.task, runs, sampler).finished() is not None


def test_two_nodes_train_the_student_of_one_process(runs: Path, profile: str, cache: Path) -> None:
    Path("profile.toml").write_text(profile + "max_nodes = 2\n[stages.train]\nnodes = 2\n")
    command = ["run", "--method", "dmd2", "--task", "tiny", "--plugin", TINY_PLUGIN, "--no-baselines", *SET]
    submit_and_wait(*command, "--set", "ema_decay=null", "--executor", "slurm", "--profile", "profile.toml")
    recipe = {**RECIPE, "ema_decay": None}
    ((here, _),) = alone(["dmd2"], [0], recipe, Path("alone"), cache, TINY_PLUGIN)
    there = Run(**{**vars(here), "root": runs})
    record = there.finished()
    assert record is not None and record.cost.processes == 2
    for name, value in weights(here).items():
        assert float((weights(there)[name] - value).abs().max()) < 1e-6, name
