"""How submitted runs stand: their folders and the queue, after any number of logins."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.states import RunState, SilentQueueError, run_state
from slurm.graph import Batch
from slurm.queue import QueuedJob, ended_states, queued_jobs
from slurm.submission import JOBS, Submission, submissions
from tasks.errors import UserError

NO_ROOM = "the queue takes no more of your jobs for now; bench wait submits it when there is room"


@dataclass
class _Submitted:
    """What a folder was last submitted as."""

    jobs: list[str] = field(default_factory=list)
    """Of the last submission, in the order of their stages."""
    logs: Path = Path()
    before: list[Path] = field(default_factory=list)
    """Folders of the work that its jobs waited for, besides its own."""
    typed: tuple[str, ...] = ()
    """The command that submitted it."""
    queued: list[QueuedJob] = field(default_factory=list)
    """Of all submissions."""
    lost: bool = False
    """Whether its submission was killed before its jobs were noted: they are on hold, and known by name alone."""


def submitted_states(runs: Path, ask: bool = True) -> list[RunState]:
    """Where every run stands that was ever submitted from a folder of runs.

    Raises SilentQueueError if the queue gives no answer, unless it is not to be asked.
    """
    made = submissions(runs)
    queued = _queue() if made and ask else {}  # before the folders are: a job that ends in between left its record
    found = _submitted(made, queued)
    states = {folder: run_state(folder, one.queued) for folder, one in found.items()}
    silent = [folder for folder, state in states.items() if state.state in ("new", "died", "stopped")]
    ended = ended_states(job for folder in silent for job in found[folder].jobs) if ask else {}
    for folder in silent:
        if ask:
            states[folder] = _told(states[folder], found[folder], ended)
        elif states[folder].state == "new" or not states[folder].job:
            states[folder] = replace(states[folder], told="it was submitted, and the queue gives no answer")
    for folder, one in found.items():
        if one.lost:
            states[folder] = _on_hold(states[folder], one)
    for folder in {work.folder.resolve() for one in made for batch in one.later for work in batch.works}:
        state = states.get(folder) or run_state(folder)
        if not state.under_way and state.state != "done":
            states[folder] = replace(state, state="waiting", told=NO_ROOM)
    return [replace(state, submitted=True) for state in states.values()]


def busy_folders(runs: Path) -> set[Path]:
    """Folders of the runs that are under way in the queue."""
    found = _submitted(submissions(runs), queued_jobs())
    return {folder for folder, one in found.items() if one.queued and run_state(folder, one.queued).under_way}


def _queue() -> dict[str, QueuedJob]:
    try:
        return queued_jobs()
    except UserError as error:
        raise SilentQueueError(str(error)) from None


def _submitted(found: Sequence[Submission], queued: dict[str, QueuedJob]) -> dict[Path, _Submitted]:
    """All folders that jobs were submitted for. Of the same preparations, each submission's own, the last."""
    folders: dict[Path, _Submitted] = {}
    preparations: dict[tuple[str, ...], Path] = {}
    for submission in found:
        here: set[Path] = set()
        batches = {batch.name: batch for batch in submission.graph}
        for job, batch, place in _elements(submission, queued):
            work = batch.works[place]
            folder = work.folder.resolve()
            if work.stage == "prepare":
                before = preparations.get(work.arguments, folder)
                if before != folder:
                    folders.pop(before, None)
                preparations[work.arguments] = folder
            one = folders.setdefault(folder, _Submitted())
            if folder not in here:
                here.add(folder)
                one.jobs, one.logs, one.before = [], submission.folder / JOBS, []
                one.typed, one.lost = work.typed, not submission.jobs
            one.jobs.append(job)
            if batch.after is not None:
                after = batches[batch.after].works
                waited = after[place : place + 1] if batch.each else after
                one.before += [other.folder for other in waited if other.folder != work.folder]
            if job in queued:
                one.queued.append(queued[job])
    return folders


def _elements(submission: Submission, queued: dict[str, QueuedJob]) -> Iterator[tuple[str, Batch, int]]:
    """Every job of a submission with its batch and its place in it.

    Of one that was killed before it noted its jobs' numbers: those that the queue knows by their names.
    """
    by_name: dict[str, list[str]] = {}
    if not submission.jobs:
        for job in queued.values():
            by_name.setdefault(job.name, []).append(job.id)
    for batch in submission.graph:
        main = submission.jobs.get(batch.name)
        if main is not None:
            many = len(batch.works) > 1
            yield from ((f"{main}_{k}" if many else main, batch, k) for k in range(len(batch.works)))
        for number in by_name.get(submission.job_name(batch), ()):
            yield number, batch, int(number.partition("_")[2] or 0)


def _on_hold(state: RunState, one: _Submitted) -> RunState:
    again = f"; to take it out and submit it again: {shlex.join(one.typed)}" if one.typed else ""
    jobs = ", ".join(job.id for job in one.queued)
    return replace(state, state="stopped", told=f"on hold (job {jobs}): its submission was killed{again}")


def _told(state: RunState, submitted: _Submitted, ended: dict[str, str]) -> RunState:
    """The state of a run without a job, with what the queue says of how its last ones ended."""
    cause = _cause(submitted)
    job, said = next(_not_well(submitted.jobs, ended), ("", ""))
    if not job:
        unknown = f"its jobs are gone: {cause or 'cancelled, or what they waited for failed'}"
        return state if state.job else replace(state, told=unknown)
    found = run_state(state.folder, said=said)
    if found.state == "died":
        told = found.told if found.job else f"{said} before it began"
        return replace(found, job=job, told=f"{told}; see {submitted.logs}/{job}_0_log.out")
    if "DependencyNeverSatisfied" in found.told or (not found.job and cause):
        return replace(found, told=f"{cause or 'what its job waited for failed'}, and so it left the queue")
    return found


def _cause(submitted: _Submitted) -> str:
    """Which work failed that a run's jobs waited for; nothing where none did."""
    for folder in submitted.before:
        state = run_state(folder)
        if state.state in ("failed", "died", "stopped", "cancelled"):
            return f"{state.task}/{state.run}, which it waited for, {state.state}"
    return ""


def _not_well(jobs: Sequence[str], ended: dict[str, str]) -> Iterator[tuple[str, str]]:
    return ((job, ended[job]) for job in jobs if job in ended and not ended[job].startswith("COMPLETED"))
