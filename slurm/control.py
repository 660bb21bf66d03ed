"""Taking submitted runs out of the queue, and putting back what is not finished."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bench import attempts
from bench.states import CANCELLED, RunState, run_state
from bench.work import Work
from slurm import queue
from slurm.graph import Batch
from slurm.profile import load_profile
from slurm.submission import (
    QueueFullError,
    Submission,
    mend,
    new_submission,
    submissions,
    submit,
    submitting,
)
from slurm.watch import busy_folders, elements, numbers_by_name


def cancel_runs(states: Sequence[RunState], runs: Path) -> list[str]:
    """Cancel all jobs of runs without a result, also those on hold; return the runs' names. Raises UserError."""
    open_ = {state.folder: state for state in states if state.state != "done"}
    made = submissions(runs)
    queued = queue.queued_jobs() if made else {}
    by_name = numbers_by_name(queued)
    ours = [
        (job, batch.works[place])
        for one in made
        for job, batch, place in elements(one, by_name)
        if job in queued and batch.works[place].folder.resolve() in open_
    ]
    queue.cancel([job for job, _ in ours])
    dropped = set[Path]()
    for one in made:
        kept = tuple(_left(batch, lambda work: work.folder.resolve() not in open_) for batch in one.later)
        if kept != one.later:
            dropped |= {work.folder.resolve() for batch in one.later for work in batch.works} & open_.keys()
            replace(one, later=tuple(batch for batch in kept if batch.works)).write()
    first = {work.folder.resolve(): (job, work.stage) for job, work in reversed(ours)}
    for folder, (job, stage) in first.items():
        attempt = attempts.begin(folder, job, 0, "", stage)
        attempts.finish(folder, attempt, "stopped", CANCELLED)
    return sorted(open_[folder].run for folder in first.keys() | dropped)


def submit_later(runs: Path) -> int:
    """Submit what found no room in the queue before, as far as there is some; return how many runs still wait.

    Raises UserError if the queue gives no answer, or refuses for another reason.
    """
    if not any(one.later and one.owner == os.getuid() for one in submissions(runs)):
        return 0
    with submitting(runs):
        mend(runs)
        left = 0
        for one in submissions(runs):
            left += _submit_rest(one, runs) if one.later else 0
        return left


def _submit_rest(one: Submission, runs: Path) -> int:
    """Submit the rest of a submission as one of its own; return how many of its runs still wait."""
    busy = busy_folders(runs)
    profile = load_profile(one.profile)

    def waits(work: Work) -> bool:
        folder = work.folder.resolve()
        return folder not in busy and run_state(folder).state != "done"

    rest = [batch for batch in (_left(batch, waits) for batch in one.later) if batch.works]
    needed = {batch.after for batch in rest}
    before = [batch for batch in one.graph if batch.stage == "prepare" and batch.name in needed]
    content = tuple(batch.refitted(profile) for batch in (*before, *rest))
    if rest:
        try:
            new = submit(replace(new_submission(runs, one.profile), graph=content, code=one.code), profile)
        except QueueFullError:
            return _count(rest)
        replace(one, later=()).write()  # only now: what is in the queue is found there, and not submitted twice
        return _count(new.later)
    replace(one, later=()).write()
    return 0


def _count(batches: Sequence[Batch]) -> int:
    return len({work.folder for batch in batches for work in batch.works})


def resume_runs(
    look: Callable[[], Sequence[RunState]], runs: Path, profile_name: str | None
) -> Iterator[Submission]:
    """Submit again, of the runs at which `look` looks, what ended without a result; yield each submission.

    What each run does is taken from its last submission: the same commands, the same frozen code; what its jobs
    ask for, from the profile as it is now. Raises UserError if Slurm refuses one: those that came before it are
    in the queue.
    """
    if not submissions(runs):
        look()
        return
    with submitting(runs):
        mend(runs)
        wanted = {state.folder for state in look() if state.resumable}

        def is_wanted(work: Work) -> bool:
            return work.folder.resolve() in wanted

        for last in reversed(submissions(runs)):
            graph = [_left(batch, is_wanted) for batch in last.graph] if last.jobs else []
            here = {work.folder.resolve() for batch in graph for work in batch.works} & wanted
            if here:
                profile = profile_name or last.profile
                now = load_profile(profile)
                content = tuple(batch.refitted(now) for batch in graph if batch.works)
                new = replace(new_submission(runs, profile), graph=content, code=last.code)
                yield submit(new, now)
                wanted -= here


def _left(batch: Batch, is_wanted: Callable[[Work], bool]) -> Batch:
    """What of a batch is wanted; what its runs share is done again, and found done."""
    if batch.stage == "prepare":
        return batch
    return replace(batch, works=tuple(filter(is_wanted, batch.works)))
