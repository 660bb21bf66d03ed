"""Events that a cluster causes: time limits, preemption, jobs that never begin, a controller that is away.

Four runs under way at a time, each with a profile of its own, which wait in the middle of their training.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest
from cluster_runs import RECIPE, SET, GatedRun, alone, states, until, values
from command import Printed, bench
from one_machine_slurm.cluster import Cluster
from tests_support import GATED_PLUGIN, TINY_PLUGIN

from bench.core.run_folder import METRICS
from bench.runs.planning import plan_run
from bench.runs.registry import load_catalogue
from bench.runs.states.state import RunState
from bench.training.log import read_lines
from slurm.submission import JOBS, submissions

LIMITED, PREEMPTED, SETUP, PYTHON = range(4)
"""Seeds of the runs: at its time limit, preempted, and two whose jobs die before Python starts."""

LINES = {
    # Slurm looks at limits twice a minute, and warns whom the next look would be too late for: 25 to 55 s after
    # the start. A minute is the least that it takes for a limit.
    LIMITED: f"signal_seconds = 5\n[stages.train]\nhours = {1 / 60}\n",
    PREEMPTED: 'partition = "low"\ncpus_per_node = 8\n[stages.train]\ncpus = 8\n',
    SETUP: "setup = ['case $SLURM_JOB_NAME in *-train-*) exit 3;; esac']\n",
    PYTHON: 'python = "/nowhere/bin/python"\n',
}
"""Settings of their profiles, which override or extend the common ones."""

SQUEUE = """\
#!/bin/sh
{squeue} "$@"
code=$?
echo $code >>"$LOOKS"
exit $code
"""
"""Tells how every look at the queue ended."""


@dataclass
class Scene:
    """The actions on the runs, and their results."""

    cluster: Cluster
    folder: Path
    profile: str
    runs: list[GatedRun]
    """By their seeds."""
    while_away: list[tuple[RunState, str]] = field(default_factory=list)
    """The preempted run while another had its node: its state, and how often Slurm had started it again."""
    dead: dict[int, RunState] = field(default_factory=dict)
    """States of the runs whose jobs died."""
    preparations: list[RunState] = field(default_factory=list)
    """States of preparations then: of several that are alike, the last that was submitted."""
    looks: dict[str, int | None] = field(default_factory=dict)
    """How the commands ended that looked while the controller was away."""
    status: Printed | None = None
    """After all."""

    def write_profile(self, seed: int, lines: str = "") -> str:
        """Write a run's profile; return its name."""
        keys = {line.partition(" = ")[0] for line in lines.splitlines()}
        kept = [line for line in self.profile.splitlines() if line.partition(" = ")[0] not in keys]
        (self.folder / f"{seed}.toml").write_text("\n".join([*kept, lines]))
        return f"{seed}.toml"

    def job(self, seed: int, batch: str = "train-tiny-0") -> str:
        """Number of a run's job, as it was first submitted."""
        return submissions(self.folder / "runs")[seed].jobs[batch]

    def log(self, seed: int, batch: str) -> Path:
        """Return the output of the first job of a run."""
        return submissions(self.folder / "runs")[seed].folder / JOBS / f"{self.job(seed, batch)}_0_log.out"


@pytest.fixture(scope="module")
def scene(running_cluster: Cluster, profile: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Submit the runs, let the cluster do its worst to each, and wait for all."""
    folder = tmp_path_factory.mktemp("taken")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        for name, value in running_cluster.exports.items():
            patch.setenv(name, value)
        catalogue = load_catalogue([TINY_PLUGIN, GATED_PLUGIN])
        task = catalogue.tasks.get("tiny")
        planned = [plan_run(catalogue, "gated", task, RECIPE, seed, folder / "runs") for seed in LINES]
        runs = [GatedRun(run, folder / f"gate-{run.seed}") for run in planned]
        found = Scene(running_cluster, folder, profile, runs)
        for seed, lines in LINES.items():
            runs[seed].gate.mkdir()
            patch.setenv("BENCH_TEST_GATE", str(runs[seed].gate))
            chosen = ["--method", "gated", "--task", "tiny", "--seed", seed, "--no-baselines", *SET]
            plugins = ["--plugin", TINY_PLUGIN, "--plugin", GATED_PLUGIN, "--runs", "runs", "--detach"]
            where = ["--executor", "slurm", "--profile", found.write_profile(seed, lines)]
            done = bench("run", *chosen, *plugins, *where)
            assert done.code == 0, done.text
        _preempt(found, iteration=9, restart=0)
        _preempt(found, iteration=15, restart=1)
        runs[PREEMPTED].go()
        for seed in (SETUP, PYTHON):
            until(runs[seed].ended)
            found.dead[seed] = runs[seed].state()
        found.preparations = [one for one in states(folder / "runs").values() if one.task == "prepare-tiny"]
        for seed in (SETUP, PYTHON):
            found.write_profile(seed)
            patch.setenv("BENCH_TEST_GATE", str(runs[seed].gate))
            done = bench("resume", runs[seed].run.id, "--runs", "runs")
            assert "submitted again: 3 jobs" in done.text
        runs[PYTHON].go()
        until(lambda: "requeued" in runs[LIMITED].ends())
        runs[LIMITED].go()
        _without_controller(found)
        patch.delenv("BENCH_TEST_GATE")
        found.status = bench("status", "--runs", "runs")
        yield found
    running_cluster.clear()


def _preempt(scene: Scene, iteration: int, restart: int) -> None:
    """Have a job of a better partition take the node where the run waits, and give it back."""
    scene.runs[PREEMPTED].reached(iteration, restart)
    job = scene.job(PREEMPTED)
    node = scene.cluster.job(job)["NodeList"]
    other = scene.cluster.submit("sleep 600", "--partition=high", f"--nodelist={node}", "--cpus-per-task=8")
    scene.cluster.wait(other, "RUNNING")
    until(lambda: scene.runs[PREEMPTED].state().state == "queued")
    scene.while_away.append((scene.runs[PREEMPTED].state(), scene.cluster.job(job)["Restarts"]))
    scene.cluster.ask("scancel", str(other))


def _without_controller(scene: Scene) -> None:
    """Stop the controller while commands look at runs, and one is told to stop; start it again."""
    process = scene.runs[SETUP].reached()
    (scene.folder / "bin").mkdir()
    squeue = scene.folder / "bin" / "squeue"
    squeue.write_text(SQUEUE.format(squeue=shutil.which("squeue")))
    squeue.chmod(0o755)
    commands = {
        "wait": ("wait",),
        "watch": ("status", "--watch"),
        "logs": ("logs", "-f", scene.runs[SETUP].run.id),
    }
    looking = {name: _looking(scene, name, *command) for name, command in commands.items()}
    until(lambda: all("0" in _looks(scene, name) for name in looking))
    scene.cluster.ask("scontrol", "shutdown", "slurmctld")
    os.kill(process, signal.SIGUSR2)
    until(lambda: scene.runs[SETUP].ends() == ["requeued"])
    before = {name: len(_looks(scene, name)) for name in looking}
    # For as long as the job needs, too, to hear that it cannot be put back.
    until(lambda: all("1" in _looks(scene, name)[before[name] + 1 :] for name in looking))
    scene.cluster.start()
    scene.runs[SETUP].go()
    for name, child in looking.items():
        child.join()
        scene.looks[name] = child.exitcode


def _looking(scene: Scene, name: str, *command: str) -> ForkProcess:
    """A process that looks at the runs twice a second, or as often as it does."""

    def look() -> None:
        os.environ["LOOKS"] = str(scene.folder / name)
        os.environ["PATH"] = f"{scene.folder / 'bin'}:{os.environ['PATH']}"
        every = [] if name == "logs" else ["--every", "0.5"]
        sys.exit(bench(*command, *every, "--runs", "runs").code)

    process = get_context("fork").Process(target=look, daemon=True)
    process.start()
    return process


def _looks(scene: Scene, name: str) -> list[str]:
    path = scene.folder / name
    return path.read_text().split() if path.exists() else []


def test_all_runs_end_with_the_values_of_undisturbed_ones(scene: Scene) -> None:
    assert scene.status is not None and scene.status.code == 0, scene.status
    folder, plugins = scene.folder, [TINY_PLUGIN, GATED_PLUGIN]
    for run, record in alone(["gated"], list(LINES), RECIPE, folder / "alone", folder / "cache", *plugins):
        there = scene.runs[run.seed].run
        assert there.id == run.id
        assert values(there.finished()) == values(record), run.label
        trained = [line["iteration"] for line in read_lines(there.folder / METRICS)]
        assert trained == [line["iteration"] for line in read_lines(run.folder / METRICS)], "no iteration twice"


def test_a_job_near_its_time_limit_saves_puts_itself_back_and_goes_on(scene: Scene) -> None:
    first, *others = scene.runs[LIMITED].tried()
    assert (first.end, first.reason, first.restart) == ("requeued", "SIGUSR2", 0)
    assert first.ended is not None and 20 < first.ended - first.began < 90
    assert others[-1].end == "done" and {one.job for one in others} == {first.job}
    assert scene.runs[LIMITED].state().requeues == len(
        others
    )  # 1, unless the machine is so busy that it is warned again


def test_a_preempted_job_waits_for_its_place_and_goes_on_as_often_as_it_must(scene: Scene) -> None:
    tried = scene.runs[PREEMPTED].tried()
    assert [(one.end, one.reason) for one in tried] == [("requeued", "SIGTERM")] * 2 + [("done", "")]
    assert [one.restart for one in tried] == [0, 1, 2], "never started twice for one preemption"
    assert [restarts for _, restarts in scene.while_away] == ["1", "2"]
    assert scene.runs[PREEMPTED].ends("evaluate") == ["done"]


def test_a_job_that_dies_before_python_starts_is_told_of_with_its_log(scene: Scene) -> None:
    log = scene.log(SETUP, "train-tiny-0")
    state, reason = scene.dead[SETUP].state, scene.dead[SETUP].reason
    assert (state, reason) == ("died", f"FAILED: NonZeroExitCode before it began; see {log}")
    assert log.exists()


def test_so_is_a_preparation_and_what_waits_for_it_leaves_the_queue(scene: Scene) -> None:
    assert scene.dead[PYTHON].state == "cancelled"
    assert scene.dead[PYTHON].reason == "what its job waited for failed, and so it left the queue"
    (preparation,) = scene.preparations
    log = scene.log(PYTHON, "prepare-tiny")
    assert (preparation.state, preparation.reason.partition("; see ")[2]) == ("died", str(log))
    assert "/nowhere/bin/python" in log.read_text()


def test_what_died_is_resumed_once_its_profile_is_mended(scene: Scene) -> None:
    assert scene.runs[PYTHON].ends() == scene.runs[PYTHON].ends("evaluate") == ["done"], "nothing began before"
    assert scene.runs[SETUP].ends("evaluate") == ["done"]


def test_commands_that_look_wait_for_a_controller_that_is_away(scene: Scene) -> None:
    assert scene.looks == {"wait": 0, "watch": 0, "logs": 0}


def test_a_job_that_stops_meanwhile_puts_itself_back_once_the_controller_is_there(scene: Scene) -> None:
    assert [(one.end, one.restart) for one in scene.runs[SETUP].tried()] == [("requeued", 0), ("done", 1)]
