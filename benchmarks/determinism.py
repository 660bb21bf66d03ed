"""Compare runs bit by bit, with and without deterministic kernels: two, and one that is killed and resumed.

    python benchmarks/determinism.py [--iterations 200] [--method dmd-ttur] [--task digits]

First the task is prepared, if it is not yet, and two runs are trained in this process: the card's own scatter.
Runs with deterministic=true are `bench run`s of their own, the first one timed as a whole. One is killed with all
of its processes by SIGKILL, between two checkpoints, and then resumed. Equal bits are an equal SHA-256 of the
student's weights. Without a GPU, two runs have the same bits in any case.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from attempts import Attempts
from process_trees import kill_below
from rows import show

from bench.core.progress import SilentProgress
from bench.core.run_folder import CHECKPOINTS, RECORD, checkpoints
from bench.runs.planning import plan_run
from bench.runs.record import Record
from bench.runs.records import read_record
from bench.runs.registry import load_catalogue
from bench.runs.runner import Runner
from bench.runs.students.training import CHECKPOINTS_PER_RUN
from bench.runs.task_sources import pinned_task, sources_of

DETERMINISTIC = "deterministic=true"


class Killed(NamedTuple):
    """How a run was killed."""

    checkpoint: int
    """Iterations in the newest checkpoint."""
    processes: int


class Comparison:
    """Runs that should have the same bits as the first one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.first: str | None = None

    def add(self, which: str, record: Record, **more: float) -> None:
        """Show a run's bits and numbers. Raises RuntimeError if the run failed."""
        if record.checkpoint is None:
            raise RuntimeError(f"the run failed: {record.error}")
        found, fd = record.checkpoint.sha256, record.metrics[0].value
        self.first = self.first or found
        same, seconds = found == self.first, record.cost.train_seconds or 0.0
        figures = "".join(f"  {key} {value:g}" for key, value in more.items())
        show(
            f"{self.name:<22}{which:<20}{found[:12]}  FD {fd:.6f}  {seconds:.2f} s of training{figures}  "
            f"{'the same bits' if same else 'OTHER BITS'}",
            variant=f"{self.name}, {which}",
            sha256=found,
            fd=fd,
            train_seconds=seconds,
            same_bits=same,
            **more,
        )


def command(options: argparse.Namespace, runs: Path) -> list[str]:
    """Return the command of one deterministic run."""
    settings = ["--set", f"iterations={options.iterations}", "--set", DETERMINISTIC]
    named = ["--method", options.method, "--task", options.task, "--runs", str(runs), "--no-baselines"]
    return [sys.executable, "-m", "bench", "run", *named, *settings]


def completed(arguments: list[str], runs: Path) -> Record:
    """Do a `bench run` and return its record. Raises RuntimeError with what it printed last if it fails."""
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {' / '.join(done.stdout.split(chr(10))[-6:])}")
    (path,) = runs.glob(f"*/*/{RECORD}")
    return read_record(path)


def newest(runs: Path) -> int:
    """Return the iterations in the newest checkpoint of the only run below a folder, or 0."""
    return max((int(path.stem) for one in runs.glob(f"*/*/{CHECKPOINTS}") for path in checkpoints(one)), default=0)


def kill_halfway(arguments: list[str], runs: Path, iterations: int) -> Killed:
    """Start a run and end it with all its processes by SIGKILL once half of its checkpoints are there.

    Raises RuntimeError if it ended before, or wrote a checkpoint because it was ending.
    """
    child = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while child.poll() is None and newest(runs) < iterations // 2:
            time.sleep(0.005)
        early = child.poll()
    finally:
        child.send_signal(signal.SIGSTOP)  # it would notice the end of the others, as they would notice its own
        killed = kill_below(child.pid)
        child.kill()
        child.wait()
    found = newest(runs)
    if early is not None or found >= iterations:
        raise RuntimeError(f"the run ended with {early} before it was killed; fix: more --iterations")
    if found % max(1, iterations // CHECKPOINTS_PER_RUN):
        raise RuntimeError(f"the run was not killed but stopped: its last checkpoint has {found} iterations")
    return Killed(found, killed + 1)


def scatter(options: argparse.Namespace, attempts: Attempts) -> None:
    """Prepare the task, and train twice in this process as recipes do by default."""
    begun, found = time.perf_counter(), Comparison("deterministic=false")
    catalogue = load_catalogue()
    task = pinned_task(catalogue, options.task, None)
    runner = Runner(catalogue, task.prepare(sources_of(task, None), SilentProgress()), SilentProgress())
    seconds = time.perf_counter() - begun
    show(f"prepare {options.task}: {seconds:.1f} s, without the start of a process", prepare_seconds=seconds)
    values: dict[str, Any] = {"iterations": options.iterations}
    for which in ("first", "second"):
        with attempts.of(f"{found.name}, {which}"), tempfile.TemporaryDirectory() as folder:
            found.add(which, runner.run(plan_run(catalogue, options.method, task, values, 0, Path(folder))))


def repeated(options: argparse.Namespace, attempts: Attempts) -> None:
    """Do deterministic runs as users do: one timed, one killed and resumed, one more."""
    found = Comparison(DETERMINISTIC)
    for which in ("first", "killed and resumed", "second"):
        with attempts.of(f"{found.name}, {which}"), tempfile.TemporaryDirectory() as folder:
            runs, more = Path(folder), dict[str, float]()
            arguments = command(options, runs)
            if which == "killed and resumed":
                killed = kill_halfway(arguments, runs, options.iterations)
                more = {"killed after the checkpoint": killed.checkpoint, "processes": killed.processes}
            begun = time.perf_counter()
            record = completed(arguments, runs)
            found.add(which, record, **{"whole command": round(time.perf_counter() - begun, 1)}, **more)


def main() -> None:
    """Run all, and print which have the same bits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--method", default="dmd-ttur")
    parser.add_argument("--task", default="digits")
    options = parser.parse_args()
    attempts = Attempts()
    with attempts.of("deterministic=false"):
        scatter(options, attempts)
    repeated(options, attempts)
    attempts.end()


if __name__ == "__main__":
    main()
