"""Time the submission and the status of 1,000 micro runs, with a Slurm that answers at once.

    python benchmarks/submission.py [RUNS]

The stand-ins for sbatch, squeue, scontrol and srun are shell scripts. CPU seconds are those of this process alone,
without the scripts and other work on the machine. Wall-clock seconds are in another column.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.cli.cluster import _states
from bench.jobs.spec import JobSettings
from bench.runs.plan import Run
from bench.runs.planning import plan_run
from bench.runs.registry import load_catalogue
from bench.task.declaration import Sources
from slurm.launch import Launch, launch, plan_launch
from slurm.submission import submissions

STAND_INS = {
    "sbatch": 'n=$(($(cat "$STATE/n" 2>/dev/null || echo 1000) + 1)); echo $n > "$STATE/n"; '
    'echo "Submitted batch job $n"',
    "squeue": 'cat "$STATE/queue" 2>/dev/null || true',
    "scontrol": 'echo "MaxArraySize            = 1001"',
    "srun": "true",
}


@contextmanager
def stand_ins(folder: Path) -> Iterator[None]:
    """Put a Slurm that answers at once on PATH."""
    commands = folder / "commands"
    commands.mkdir()
    for name, does in STAND_INS.items():
        script = commands / name
        script.write_text(f'#!/bin/sh\nSTATE="{folder}"\n{does}\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{commands}{os.pathsep}{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the CPU seconds of this process, and wall-clock seconds."""
    cpu, clock = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - clock


def queue_of(runs: Path) -> str:
    """Return all jobs in squeue's format: the preparation is running, the others are pending."""
    lines = []
    for one in submissions(runs):
        for batch in one.graph:
            state = "PENDING|Dependency|" if batch.after else "RUNNING|None|n1"
            ids = [one.jobs[batch.name] + f"_{k}" * (len(batch.specs) > 1) for k in range(len(batch.specs))]
            lines += [f"{job}|{one.job_name(batch)}|{state}" for job in ids]
    return "\n".join(lines) + "\n"


def main(count: int) -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory() as name, stand_ins(Path(name)):
        folder = Path(name)
        catalogue, runs = load_catalogue(), folder / "runs"
        task, settings = catalogue.tasks.get("digits"), JobSettings(runs, Sources(folder / "cache"))
        planned: list[Run] = []

        def plan_runs() -> None:
            planned.extend(plan_run(catalogue, "dmd2", task, {}, seed, runs) for seed in range(count))

        def plan_jobs() -> Launch:
            return plan_launch(planned, settings, "cpu")

        rows = {"plan the runs": timed(plan_runs), "plan the jobs, as --dry-run": timed(plan_jobs)}
        rows["plan the jobs and submit"] = timed(lambda: launch(runs, plan_jobs))
        (folder / "queue").write_text(queue_of(runs))
        rows["bench status, all waiting"] = timed(lambda: _states(runs, ()))
        rows["the same command again"] = timed(lambda: launch(runs, plan_jobs))
        jobs = sum(len(batch.specs) for one in submissions(runs) for batch in one.graph)
        print(f"{count} runs, {jobs} jobs\n\n| what | CPU seconds | ms a job | seconds |\n|---|---|---|---|")
        for what, (cpu, clock) in rows.items():
            print(f"| {what} | {cpu:.2f} | {1000 * cpu / jobs:.2f} | {clock:.2f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
