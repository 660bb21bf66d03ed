"""How submitted runs stand: their folders and the queue, after any number of logins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from bench.states import RunState, run_state
from slurm.queue import QueuedJob, ended_states, queued_jobs
from slurm.submission import Submission, submissions


def jobs_by_folder(found: Sequence[Submission], queued: dict[str, QueuedJob]) -> dict[Path, list[QueuedJob]]:
    """Jobs that the queue still knows, by the folder they work in; a folder that has none has an empty list."""
    waiting: dict[Path, list[QueuedJob]] = {}
    for submission in found:
        for job, work in submission.elements():
            here = waiting.setdefault(work.folder, [])
            if job in queued:
                here.append(queued[job])
    return waiting


def submitted_states(runs: Path) -> list[RunState]:
    """Where every run stands that was ever submitted from a folder of runs. Raises UserError without a queue."""
    found = submissions(runs)
    waiting = jobs_by_folder(found, queued_jobs())
    silent: dict[str, list[Path]] = defaultdict(list)
    states = {folder: run_state(folder, jobs) for folder, jobs in waiting.items()}
    for folder, state in states.items():
        if state.state in ("died", "stopped") and state.job:
            silent[state.job].append(folder)
    ended = ended_states(silent)
    for folder in (folder for job, folders in silent.items() if job in ended for folder in folders):
        states[folder] = run_state(folder, waiting[folder], ended)
    return list(states.values())
