"""How submitted runs stand: their folders and the queue, after any number of logins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.states import RunState, run_state
from slurm.queue import QueuedJob, ended_states, queued_jobs
from slurm.submission import JOBS, Submission, submissions


@dataclass
class _Submitted:
    """What a folder was last submitted as."""

    jobs: list[str] = field(default_factory=list)
    """Of the last submission, in the order of their stages."""
    logs: Path = Path()
    queued: list[QueuedJob] = field(default_factory=list)
    """Of all submissions."""


def submitted_states(runs: Path) -> list[RunState]:
    """Where every run stands that was ever submitted from a folder of runs. Raises UserError without a queue."""
    made = submissions(runs)
    queued = queued_jobs() if made else {}  # before the folders are: a job that ends in between left its record
    found = _submitted(made, queued)
    states = {folder: run_state(folder, one.queued) for folder, one in found.items()}
    silent = [folder for folder, state in states.items() if state.state in ("new", "died", "stopped")]
    ended = ended_states(job for folder in silent for job in found[folder].jobs)
    for folder in silent:
        states[folder] = _told(states[folder], found[folder], ended)
    return list(states.values())


def busy_folders(runs: Path) -> set[Path]:
    """Folders of the runs that are under way in the queue."""
    found = _submitted(submissions(runs), queued_jobs())
    return {folder for folder, one in found.items() if one.queued and run_state(folder, one.queued).under_way}


def _submitted(found: Sequence[Submission], queued: dict[str, QueuedJob]) -> dict[Path, _Submitted]:
    """All folders that jobs were submitted for. Of the same preparations, each submission's own, the last."""
    folders: dict[Path, _Submitted] = {}
    preparations: dict[tuple[str, ...], Path] = {}
    for submission in found:
        here: set[Path] = set()
        for job, work in submission.elements():
            folder = work.folder.resolve()
            if work.stage == "prepare":
                before = preparations.get(work.arguments, folder)
                if before != folder:
                    folders.pop(before, None)
                preparations[work.arguments] = folder
            one = folders.setdefault(folder, _Submitted())
            if folder not in here:
                here.add(folder)
                one.jobs, one.logs = [], submission.folder / JOBS
            one.jobs.append(job)
            if job in queued:
                one.queued.append(queued[job])
    return folders


def _told(state: RunState, submitted: _Submitted, ended: dict[str, str]) -> RunState:
    """The state of a run without a job, with what the queue says of how its last ones ended."""
    job, said = next(_not_well(submitted.jobs, ended), ("", ""))
    if not job:
        unknown = "it was submitted, and its jobs are gone: cancelled, or what they waited for failed"
        return state if state.job else replace(state, told=unknown)
    found = run_state(state.folder, said=said)
    if found.state == "died":
        told = found.told if found.job else f"{said} before it began"
        return replace(found, job=job, told=f"{told}; see {submitted.logs}/{job}_0_log.out")
    if "DependencyNeverSatisfied" in found.told:
        return replace(found, told="what its job waited for failed, and so it left the queue")
    return found


def _not_well(jobs: Sequence[str], ended: dict[str, str]) -> Iterator[tuple[str, str]]:
    return ((job, ended[job]) for job in jobs if job in ended and not ended[job].startswith("COMPLETED"))
