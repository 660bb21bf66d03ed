"""Jobs that are disturbed in every way that a cluster knows end with the values of undisturbed ones.

One array of runs; each of them is disturbed in its own way in the middle of its training, where it waits for that.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cluster_runs import RECIPE, SET, GatedRun, alone, states, until, values
from command import Printed, bench
from one_machine_slurm.cluster import Cluster
from tests_support import GATED_PLUGIN, TINY_PLUGIN

from bench.runs.plan import Run
from bench.runs.planning import plan_run
from bench.runs.record import Record
from bench.runs.records import read_record
from bench.runs.registry import load_catalogue
from bench.runs.states.attempts import attempts
from bench.runs.states.state import CANCELLED, RunState
from slurm.submission import submissions

UNDISTURBED, WARNED, REQUEUED, KILLED, TWICE, SCANCELLED, CANCELLED_BY_US, CRASHED = range(8)
"""Seeds of the runs, and their places in the array."""


SAVED_OR_KILLED = ("stopped", None)
"""How a job ends that Slurm takes away: it saves, if it can in a KillWait of 2 seconds; on a busy machine not."""


@dataclass
class Scene:
    """The actions on the runs, and their results."""

    cluster: Cluster
    folder: Path
    runs: list[GatedRun]
    """By their seeds."""
    raising: Run
    before: dict[Path, RunState] = field(default_factory=dict)
    """States of the runs before those that ended badly were resumed."""
    printed: dict[str, Printed] = field(default_factory=dict)
    records: dict[Path, Record] = field(default_factory=dict)
    """States of the runs that ended badly."""

    @property
    def train(self) -> str:
        return submissions(self.folder / "runs")[0].jobs["train-tiny-0"]

    def ended(self, runs: Iterable[Run]) -> bool:
        found = states(self.folder / "runs")
        return not any(found[run.folder.resolve()].under_way for run in runs)


@pytest.fixture(scope="module")
def scene(running_cluster: Cluster, profile: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Submit the runs, disturb each, resume what ended badly, and wait for all."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "gate").mkdir()
    (folder / "profile.toml").write_text(profile)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        for name, value in running_cluster.exports.items():
            patch.setenv(name, value)
        patch.setenv("BENCH_TEST_GATE", str(folder / "gate"))
        plugin = Path(shutil.copy(GATED_PLUGIN, folder))
        catalogue = load_catalogue([TINY_PLUGIN, plugin])
        task = catalogue.tasks.get("tiny")
        planned = [plan_run(catalogue, "gated", task, RECIPE, seed, folder / "runs") for seed in range(8)]
        raising = plan_run(catalogue, "raising", task, RECIPE, 0, folder / "runs")
        runs = [GatedRun(run, folder / "gate", run.seed) for run in planned]
        found = Scene(running_cluster, folder, runs, raising)
        cluster = ["--executor", "slurm", "--profile", "profile.toml", "--detach", "--runs", "runs"]
        chosen = ["--task", "tiny", "--plugin", TINY_PLUGIN, "--plugin", "gated.py", "--no-baselines", *SET]
        seeds = ",".join(str(run.seed) for run in planned)
        found.printed["run"] = bench("run", "--method", "gated", "--seed", seeds, *chosen, *cluster)
        found.printed["again"] = bench("run", "--method", "gated", "--seed", seeds, *chosen, *cluster)
        found.printed["raising"] = bench("run", "--method", "raising", *chosen, *cluster)
        plugin.write_text("raise SystemExit('this file was edited while jobs waited')")
        patch.delenv("BENCH_TEST_GATE")  # jobs that are submitted from here on wait for nobody
        _disturb(found)
        until(lambda: found.ended([*planned, raising]))
        found.before = states(folder / "runs")
        found.records = {run.folder: read_record(run.record) for run in (planned[KILLED], raising)}
        found.printed["status"] = bench("status", "--runs", "runs")
        bad = [planned[seed].id for seed in (KILLED, SCANCELLED, CANCELLED_BY_US)]
        found.printed["resume"] = bench("resume", *bad, "--runs", "runs")
        found.printed["wait"] = bench("wait", *(run.id for run in planned), "--every", "1", "--runs", "runs")
        yield found
    running_cluster.clear()


def _disturb(scene: Scene) -> None:
    ask, train = scene.cluster.ask, scene.train
    scene.runs[UNDISTURBED].reached()
    scene.printed["running"] = bench("status", scene.runs[UNDISTURBED].run.id, "--runs", "runs")
    scene.runs[UNDISTURBED].go()
    scene.runs[WARNED].reached()
    ask("scancel", "--signal=USR2", f"{train}_{WARNED}")
    scene.runs[WARNED].go()
    scene.runs[REQUEUED].reached()
    ask("scontrol", "requeue", f"{train}_{REQUEUED}")
    scene.runs[REQUEUED].go()
    os.kill(scene.runs[KILLED].reached(), signal.SIGKILL)
    scene.runs[TWICE].reached()
    ask("scancel", "--signal=USR2", f"{train}_{TWICE}")
    scene.runs[SCANCELLED].reached()
    ask("scancel", f"{train}_{SCANCELLED}")
    scene.runs[CANCELLED_BY_US].reached()
    scene.printed["cancel"] = bench("cancel", scene.runs[CANCELLED_BY_US].run.id, "--runs", "runs")
    scene.printed["cancelled"] = bench("status", scene.runs[CANCELLED_BY_US].run.id, "--runs", "runs")
    scene.runs[TWICE].reached(15, restart=1)
    ask("scancel", "--signal=USR2", f"{train}_{TWICE}")
    scene.runs[CRASHED].reached()
    until(lambda: scene.ended(one.run for one in scene.runs[:CRASHED]))  # a node crashes with all that it does
    node = scene.cluster.job(f"{train}_{CRASHED}")["NodeList"]
    scene.cluster.kill_node(node)
    scene.runs[CRASHED].go()
    until(scene.runs[CRASHED].ended)
    scene.cluster.start_node(node)


def states_of(scene: Scene, seed: int) -> RunState:
    return scene.before[scene.runs[seed].run.folder.resolve()]


def test_all_runs_end_with_the_values_of_undisturbed_ones(scene: Scene) -> None:
    assert scene.printed["wait"].code == 0, scene.printed["wait"].text
    folder = scene.folder
    plugins = [TINY_PLUGIN, GATED_PLUGIN]
    for run, record in alone(["gated"], range(8), RECIPE, folder / "alone", folder / "cache", *plugins):
        there = scene.runs[run.seed].run
        assert there.id == run.id
        assert values(there.finished()) == values(record), run.label


def test_an_undisturbed_run_is_done_once(scene: Scene) -> None:
    assert scene.runs[UNDISTURBED].ends() == scene.runs[UNDISTURBED].ends("evaluate") == ["done"]
    assert " running " in scene.printed["running"].text
    assert scene.printed["running"].code == 0


def test_what_is_in_the_queue_is_not_submitted_again(scene: Scene) -> None:
    assert scene.printed["run"].code == scene.printed["again"].code == 0
    assert "train-tiny-0: job" in scene.printed["run"].text
    assert "job" not in scene.printed["again"].text.replace("the jobs", "").split("in the queue;")[0]


def test_a_warned_job_saves_puts_itself_back_and_goes_on(scene: Scene) -> None:
    tried = scene.runs[WARNED].tried()
    assert scene.runs[WARNED].ends() == ["requeued", "done"]
    assert [one.restart for one in tried] == [0, 1]
    assert tried[0].reason == "SIGUSR2"
    assert states_of(scene, WARNED).requeues == 1


def test_a_requeued_job_saves_and_goes_on(scene: Scene) -> None:
    tried = scene.runs[REQUEUED].tried()
    assert tried[0].end in SAVED_OR_KILLED and tried[1].end == "done"


def test_a_job_may_be_preempted_again(scene: Scene) -> None:
    assert scene.runs[TWICE].ends() == ["requeued", "requeued", "done"]


def test_a_job_of_a_crashed_node_goes_on_elsewhere(scene: Scene) -> None:
    first, second = scene.runs[CRASHED].tried()
    assert (first.end, second.end) == (None, "done")
    assert first.node != second.node
    assert states_of(scene, CRASHED).state == "done"


def test_what_the_system_kills_has_a_record_that_says_so_until_it_is_done(scene: Scene) -> None:
    assert states_of(scene, KILLED).state == "failed"
    record = scene.records[scene.runs[KILLED].run.folder]
    assert record.error is not None and record.error.message == "killed by SIGKILL, as when memory runs out"
    assert record.cost.iterations > 0
    assert scene.runs[KILLED].ends() == ["failed", "done"]
    assert scene.runs[KILLED].run.finished() is not None


@pytest.mark.parametrize("seed", [SCANCELLED, CANCELLED_BY_US])
def test_a_cancelled_run_stays_so_until_it_is_resumed(scene: Scene, seed: int) -> None:
    assert states_of(scene, seed).state == "cancelled"
    first, second = scene.runs[seed].tried()
    assert first.end in SAVED_OR_KILLED and second.end == "done"
    assert scene.runs[seed].ends("evaluate") == ["done"]


def test_cancelling_is_seen_at_once(scene: Scene) -> None:
    assert scene.runs[CANCELLED_BY_US].run.id in scene.printed["cancel"].text
    assert CANCELLED in scene.printed["cancelled"].text
    assert scene.printed["cancelled"].code == 1


def test_code_that_raises_leaves_its_record_and_its_log(scene: Scene) -> None:
    state = scene.before[scene.raising.folder.resolve()]
    lines = (Path(__file__).parents[1] / "plugins" / "gated.py").read_text().splitlines()
    (line,) = (number for number, text in enumerate(lines, 1) if "a mistake of the plug-in" in text)
    reason = f"RuntimeError: a mistake of the plug-in (in line {line} of plug-in gated.py)"
    assert (state.state, state.reason) == ("failed", reason)
    record = scene.records[scene.raising.folder]
    assert record.error is not None and "training_step" in record.error.traceback
    printed = bench("logs", scene.raising.id, "--runs", scene.folder / "runs")
    assert "a mistake of the plug-in" in printed.text
    assert [one.stage for one in attempts(scene.raising.folder)] == ["train"], "nothing was evaluated"


def test_a_new_login_sees_it_all(scene: Scene) -> None:
    assert scene.printed["status"].code == 1
    counted = scene.printed["status"].text.splitlines()[0]
    assert "5 done" in counted and "2 cancelled" in counted and "2 failed" in counted
    now = bench("status", *(one.run.id for one in scene.runs), "--runs", scene.folder / "runs")
    assert now.code == 0
    assert now.text.splitlines()[0].strip() == "8 done"
