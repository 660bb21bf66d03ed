"""The state of submitted runs, read from their folders and the queue."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.core.errors import UserError
from bench.core.files import read_object
from bench.core.run_folder import JOB_SPEC, runs_option
from bench.jobs.spec import JobSpec
from bench.runs.states.state import RunState, SilentQueueError, run_state
from slurm import SUBMISSIONS
from slurm.graph import Batch, runs_of
from slurm.later import NO_ROOM, left, waiting_runs
from slurm.queue import QueuedJob, all_jobs, ended_states, queued_jobs, under_way
from slurm.submission import (
    FILE,
    JOBS,
    Submission,
    being_submitted,
    read_submission,
    submissions,
    user_name,
)


@dataclass
class _Submitted:
    """The last submission of a folder."""

    submission: Submission
    argv: tuple[str, ...]
    """The command that submitted it."""
    jobs: list[str] = field(default_factory=list)
    """Jobs of the last submission, in the order of their stages."""
    before: list[Path] = field(default_factory=list)
    """Folders of other work that its jobs waited for."""
    queued: list[QueuedJob] = field(default_factory=list)
    """Jobs of all submissions."""
    handles: set[str] = field(default_factory=set)
    """Numbers of all jobs and arrays that it ever had, and of its submissions."""


def submitted_states(runs: Path, ask: bool = True) -> list[RunState]:
    """Return the state of every submitted run of a folder, and report damaged submissions.

    Changes nothing, and reads what another user may read. Raises SilentQueueError if the queue gives no answer,
    unless it is not to be asked.
    """
    made, damaged = _readable(runs)
    busy = being_submitted(runs)
    known = (
        _ask(made) if made and ask else {}
    )  # before the folders are: a job that ends in between left its record
    found = _submitted(made, under_way(known))
    states = {folder: run_state(folder, one.queued) for folder, one in found.items()}
    silent = [folder for folder, state in states.items() if state.state in ("new", "died", "stopped")]
    ended = ended_states((job for folder in silent for job in found[folder].jobs), known) if ask else {}
    for folder in silent:
        if ask:
            states[folder] = _told(states[folder], found[folder], ended)
        elif states[folder].state == "new" or not states[folder].job:
            states[folder] = replace(states[folder], reason="it was submitted, and the queue gives no answer")
    for folder, one in found.items():
        if any("held" in job.reason.lower() for job in one.queued) and states[folder].state == "queued":
            states[folder] = _on_hold(states[folder], one, runs, busy)
        states[folder] = replace(states[folder], submitted=True, handles=frozenset(one.handles))
    for one_, rest in left(made):
        for folder in runs_of(rest):
            state = replace(
                states.get(folder) or run_state(folder), state="waiting", reason=NO_ROOM, submitted=True
            )
            states[folder] = replace(state, handles=state.handles | {one_.id})
    return [*damaged, *states.values()]


def busy_folders(runs: Path) -> set[Path]:
    """Folders of the runs that are under way in the queue, or wait for room in it."""
    found = _submitted(submissions(runs), queued_jobs())
    busy = {folder for folder, one in found.items() if one.queued and run_state(folder, one.queued).under_way}
    return busy | waiting_runs(runs)


def _readable(runs: Path) -> tuple[list[Submission], list[RunState]]:
    """All submissions, oldest first, and in the place of each that is damaged a line that says so."""
    made: list[Submission] = []
    damaged: list[RunState] = []
    for path in sorted((runs / SUBMISSIONS).glob(f"*/{FILE}")):
        try:
            made.append(read_submission(path))
        except UserError as error:
            reason, _, fix = str(error).rpartition("; fix: ")
            damaged.append(RunState(path.parent, "failed", reason=reason, fix=fix))
    return made, damaged


def _ask(made: Sequence[Submission]) -> dict[str, QueuedJob]:
    """Ask for the jobs of all who submitted."""
    others = {user_name(one.owner) for one in made if one.owner != os.getuid()}
    try:
        return all_jobs(others)
    except UserError as error:
        raise SilentQueueError(str(error)) from None


def _submitted(found: Sequence[Submission], queued: dict[str, QueuedJob]) -> dict[Path, _Submitted]:
    """All folders that jobs were submitted for. Of the same preparations, each submission's own, the last."""
    folders: dict[Path, _Submitted] = {}
    preparations: dict[str, Path] = {}
    by_name = numbers_by_name(queued)
    for submission in found:
        batches = {batch.name: batch for batch in submission.graph}
        if submission.let_go and not submission.jobs:  # what waited for room in the queue until it was cancelled
            folders |= {folder: _Submitted(submission, ()) for folder in runs_of(submission.graph)}
        for job, batch, place in elements(submission, by_name):
            work = batch.specs[place]
            folder = work.folder.resolve()
            if work.stage == "prepare":
                content = _content(work)
                before = preparations.get(content, folder)
                if before != folder:
                    folders.pop(before, None)
                preparations[content] = folder
            one = folders.setdefault(folder, _Submitted(submission, work.argv))
            if one.submission is not submission:
                one.submission, one.argv, one.jobs, one.before = submission, work.argv, [], []
            one.jobs.append(job)
            one.handles |= {job, job.partition("_")[0], submission.id}
            if batch.after is not None:
                after = batches[batch.after].specs
                waited = after[place : place + 1] if batch.each else after
                one.before += [other.folder for other in waited if other.folder != work.folder]
            if job in queued:
                one.queued.append(queued[job])
    return folders


def _content(spec: JobSpec) -> str:
    """Return what a preparation does, as text: its description, whoever asked for it."""
    content = read_object(spec.folder / JOB_SPEC) or {"label": spec.label}
    settings = {key: value for key, value in content.get("job", {}).items() if key != "argv"}
    return json.dumps({**content, "job": settings}, sort_keys=True)


def numbers_by_name(queued: Mapping[str, QueuedJob]) -> dict[str, list[str]]:
    """Return the numbers of jobs by the names of their arrays."""
    found: dict[str, list[str]] = {}
    for job in queued.values():
        found.setdefault(job.name, []).append(job.id)
    return found


def elements(submission: Submission, by_name: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Batch, int]]:
    """Every job of a submission with its batch and its place in it.

    Of one that was killed before it noted its jobs' numbers: those that the queue knows by their names.
    """
    for batch in submission.graph:
        main = submission.jobs.get(batch.name)
        if main is not None:
            many = len(batch.specs) > 1
            yield from ((f"{main}_{k}" if many else main, batch, k) for k in range(len(batch.specs)))
        elif not submission.jobs:
            for number in by_name.get(submission.job_name(batch), ()):
                place = int(number.partition("_")[2] or 0)
                if place < len(batch.specs):
                    yield number, batch, place


def _on_hold(state: RunState, one: _Submitted, runs: Path, busy: bool) -> RunState:
    """Return the state of a run with jobs on hold, and the command that releases them."""
    jobs = [job.id for job in one.queued if "held" in job.reason.lower()]
    reason = f"on hold (job {', '.join(jobs)})"
    if one.submission.let_go:
        return replace(state, reason=f"{reason}: {state.reason}", fix=f"scontrol release {','.join(jobs)}")
    if busy:
        return replace(state, reason="it is being submitted")
    fix = f"bench resume{runs_option(runs)}" if one.submission.jobs else shlex.join(one.argv)
    return replace(state, state="stopped", reason=f"{reason}: its submission was killed", fix=fix)


def _told(state: RunState, submitted: _Submitted, ended: dict[str, str]) -> RunState:
    """The state of a run without a job, with what the queue says of how its last ones ended."""
    cause, owner = _cause(submitted), submitted.submission.owner
    job, said = next(_not_well(submitted.jobs, ended), ("", ""))
    if not job:
        unknown = f"its jobs left the queue: {cause or 'cancelled, or what they waited for failed'}"
        if owner != os.getuid() and not any(job in ended for job in submitted.jobs):
            unknown = f"user {user_name(owner)} submitted it, and Slurm shows no such job here"
            return replace(state, reason=f"{unknown}; {state.reason}" if state.reason else unknown)
        return state if state.job else replace(state, reason=unknown)
    found = run_state(state.folder, said=said)
    if found.state == "died":
        reason = found.reason if found.job else f"{said} before it began"
        log = submitted.submission.folder / JOBS / f"{job}_0_log.out"
        return replace(found, job=job, reason=f"{reason}; see {log}")
    if "DependencyNeverSatisfied" in found.reason or (not found.job and cause):
        return replace(found, reason=f"{cause or 'what its job waited for failed'}, and so it left the queue")
    return found


def _cause(submitted: _Submitted) -> str:
    """Name the first failed work that a run waited for; return an empty text if none failed."""
    for folder in submitted.before:
        state = run_state(folder)
        if state.state in ("failed", "died", "stopped", "cancelled"):
            return f"{state.task}/{state.run}, which it waited for, {state.state}"
    return ""


def _not_well(jobs: Sequence[str], ended: dict[str, str]) -> Iterator[tuple[str, str]]:
    return ((job, ended[job]) for job in jobs if job in ended and not ended[job].startswith("COMPLETED"))
