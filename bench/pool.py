"""Runs side by side: one worker process each, a bar for each, and no failure that takes another with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.progress import Progress as RichBars
from rich.progress import TaskID

from bench.progress import bars, figures_text
from bench.typed import COMMAND_VARIABLE, typed_command

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Job:
    """One worker process: a `bench` command that writes status.json and log.txt in a folder."""

    label: str
    arguments: tuple[str, ...]
    folder: Path


@dataclass
class _Worker:
    job: Job
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    bar: TaskID
    slot: int
    """Its place among those that run side by side."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    job: Job
    code: int
    last_line: str
    """The last line of its log: what went wrong, if something did."""


@dataclass(frozen=True)
class Share:
    """What each job gets of the machine."""

    threads: int = 1
    """CPU threads of each process."""
    processes: int = 1
    """Processes that work on one job together."""
    gpus: int = 0
    """GPUs of the machine; each process takes one, while there are any."""

    def environment(self, slot: int) -> dict[str, str]:
        """Environment of the job in place `slot`: its threads, and GPUs of its own while there are enough."""
        found = {"OMP_NUM_THREADS": str(self.threads)}
        if self.gpus > self.processes:
            first = slot * self.processes
            chosen = [(first + i) % self.gpus for i in range(self.processes)]
            found["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, chosen))
        return found

    def command(self) -> list[str]:
        """How Python starts `bench`: directly, or once for each process through torchrun."""
        if self.processes == 1:
            return [sys.executable, "-m", "bench"]
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(self.processes)]
        return [sys.executable, *torchrun, "-m", "bench"]


def run_jobs(jobs: Sequence[Job], parallel: int, share: Share, console: Console) -> list[Outcome]:
    """Run jobs, at most `parallel` at once, each with its share of the machine; return how each ended.

    On Ctrl-C the workers are stopped, and the interrupt goes on to the caller.
    """
    waiting, running, ended = list(jobs), list[_Worker](), list[Outcome]()
    with bars(console) as drawn:
        try:
            while waiting or running:
                while waiting and len(running) < parallel:
                    job = waiting.pop(0)
                    bar = drawn.add_task(job.label, total=None, figures="starting")
                    slot = min(set(range(parallel)) - {worker.slot for worker in running})
                    running.append(_start(job, slot, share, bar))
                time.sleep(POLL_SECONDS)
                for worker in list(running):
                    _show(worker, drawn)
                    code = worker.process.poll()
                    if code is not None:
                        running.remove(worker)
                        worker.log.close()
                        drawn.remove_task(worker.bar)
                        outcome = Outcome(worker.job, code, _last_line(worker.job.folder / "log.txt"))
                        ended.append(outcome)
                        state = "done" if code == 0 else f"failed: {outcome.last_line}"
                        console.print(f"{worker.job.label}: {state}", highlight=False, markup=False)
        finally:
            for worker in running:
                worker.process.terminate()
            for worker in running:
                worker.process.wait()
    return ended


def _start(job: Job, slot: int, share: Share, bar: TaskID) -> _Worker:
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / "status.json").unlink(missing_ok=True)
    log = (job.folder / "log.txt").open("ab")
    environment = {
        **os.environ,
        **share.environment(slot),
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # a folder called `tasks` where the user stands must not hide ours
        COMMAND_VARIABLE: json.dumps(typed_command()),
    }
    command = [*share.command(), *job.arguments, "--threads", str(share.threads)]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
    )
    return _Worker(job, process, log, bar, slot)


def _show(worker: _Worker, drawn: RichBars) -> None:
    """Move a job's bar to where its status file says it is."""
    try:
        status = json.loads((worker.job.folder / "status.json").read_text(encoding="utf-8"))
        drawn.update(
            worker.bar,
            description=f"{worker.job.label}: {status['stage']}",
            total=status["total"],
            completed=status["completed"],
            figures=figures_text(status["figures"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # not begun yet, or somebody else's file: a bar is not worth a run


def _last_line(log: Path) -> str:
    """The last line that says what went wrong (torchrun adds its own report below), or the last of all."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("error: ")]
    return (told or lines or ["no output"])[-1]
