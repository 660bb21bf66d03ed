"""Jobs that did not fit in the queue and are submitted as others end.

The file of their submission lists them. Every command that shows runs submits those that fit at that time, and
so does each job when it ends; Slurm is not asked again until enough jobs have ended since the queue was full.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.runs.states import attempts
from bench.runs.states.state import CANCELLED
from slurm import queue
from slurm.graph import Batch, part, runs_of
from slurm.profile import load_profile
from slurm.submission import (
    Submission,
    being_submitted,
    is_marked,
    mark,
    new_submission,
    repair,
    submissions,
    submit,
    submitting,
)

FREE = 0.25
"""Part of the jobs in a full queue that is over before Slurm is asked to take more."""
NO_ROOM = "Slurm takes no more of your jobs for now; it is submitted as jobs end"


def left(made: Sequence[Submission]) -> list[tuple[Submission, tuple[Batch, ...]]]:
    """Return the submissions with work that still waits, each with that work; `made` has the oldest first.

    Work in a later submission no longer waits: a process that was killed may not have noted that it submitted it.
    """
    found: list[tuple[Submission, tuple[Batch, ...]]] = []
    newer: set[Path] = set()
    for one in reversed(made):
        rest = part(one.later, set(runs_of(one.later)) - newer)
        if rest:
            found.append((one, rest))
        if one.jobs or one.let_go:
            newer |= {*runs_of(one.graph), *runs_of(one.later)}
    return found[::-1]


def waiting_runs(runs: Path) -> set[Path]:
    """Return the folders of the runs that wait for room. Raises UserError if a submission is damaged."""
    return (
        {folder for _, rest in left(submissions(runs)) for folder in runs_of(rest)} if is_marked(runs) else set()
    )


def submit_later(runs: Path, patient: bool = False) -> int:
    """Submit what fits by now of what waits; return how many runs were submitted.

    While another process submits, nothing is done, unless this one is `patient`. Raises UserError if the queue
    gives no answer, or refuses for another reason than that it is full.
    """
    if not is_marked(runs) or not any(one.owner == os.getuid() for one, _ in left(submissions(runs))):
        return 0  # before anything is written: the folder may be another user's
    if not patient and being_submitted(runs):
        return 0
    with submitting(runs):
        repair(runs)
        return submit_later_here(runs)


def submit_later_here(runs: Path) -> int:
    """Do as `submit_later`, while `submitting`."""
    if not is_marked(runs):
        return 0
    waits = left(submissions(runs))
    before = sum(len(runs_of(rest)) for _, rest in waits)
    for one, rest in waits:
        if not _submit_rest(one, rest, runs):
            break  # what came later waits for what came before
    after = sum(len(runs_of(rest)) for _, rest in left(submissions(runs)))
    mark(runs, waits=after > 0)
    return before - after


def cancel_later(runs: Path, folders: set[Path]) -> set[Path]:
    """Let runs of these folders no longer wait; return those that waited. `bench resume` still knows them."""
    if not folders & waiting_runs(runs):
        return set()
    with submitting(runs):
        out: dict[Path, str] = {}
        for one, rest in left(submissions(runs)):
            here = folders & set(runs_of(rest))
            if here:
                cancelled = replace(new_submission(runs, one.profile), code=one.code, let_go=True)
                replace(cancelled, graph=part(_with_preparations(one, rest), here)).write()
                replace(one, later=part(rest, set(runs_of(rest)) - here)).write()
                stages = {work.folder.resolve(): batch.stage for batch in reversed(rest) for work in batch.specs}
                out |= {folder: stages[folder] for folder in here}
        for folder, stage in out.items():
            attempts.finish(folder, attempts.begin(folder, "", 0, "", stage), "stopped", CANCELLED)
        mark(runs, waits=bool(waiting_runs(runs)))
        return set(out)


def _submit_rest(one: Submission, rest: tuple[Batch, ...], runs: Path) -> bool:
    """Submit as much of the rest as fits, as a new submission; return whether nothing is left to wait."""
    queued = len(queue.queued_jobs())
    if one.full and queued > (1 - FREE) * one.full:
        return False
    profile = load_profile(one.profile)
    graph = tuple(batch.refitted(profile) for batch in _with_preparations(one, rest))
    new = replace(new_submission(runs, one.profile), graph=graph, code=one.code)
    try:
        new = submit(new, profile, room=max(1, one.full - queued))
    except queue.QueueFullError:
        replace(one, full=max(1, queued)).write()
        return False
    replace(one, later=()).write()  # only now: what is in the queue is found there, and not submitted twice
    return not new.later


def _with_preparations(one: Submission, rest: tuple[Batch, ...]) -> tuple[Batch, ...]:
    """Return the waiting jobs, preceded by their preparations, which find their work already done."""
    names = {batch.name for batch in rest}
    needed = {batch.after for batch in rest} - names
    return (*(batch for batch in one.graph if batch.name in needed), *rest)
