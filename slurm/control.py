"""Taking submitted runs out of the queue, and putting back what is not finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bench.runs.states import attempts
from bench.runs.states.state import CANCELLED, RunState
from slurm import queue
from slurm.graph import part
from slurm.later import cancel_later, submit_later_here
from slurm.profile import load_profile
from slurm.submission import (
    Submission,
    new_submission,
    repair,
    submissions,
    submit,
    submitting,
)
from slurm.watch import elements, numbers_by_name


def cancel_runs(states: Sequence[RunState], runs: Path) -> list[str]:
    """Cancel all jobs of runs without a result, also those on hold; return the runs' names. Raises UserError."""
    waited = cancel_later(runs, {state.folder for state in states})  # first: jobs that end submit what waits
    open_ = {state.folder: state for state in states if state.state != "done"}
    made = submissions(runs)
    queued = queue.queued_jobs() if made else {}
    by_name = numbers_by_name(queued)
    ours = [
        (job, batch.specs[place])
        for one in made
        for job, batch, place in elements(one, by_name)
        if job in queued and batch.specs[place].folder.resolve() in open_
    ]
    queue.cancel([job for job, _ in ours])
    first = {work.folder.resolve(): (job, work.stage) for job, work in reversed(ours)}
    for folder, (job, stage) in first.items():
        attempt = attempts.begin(folder, job, 0, "", stage)
        attempts.finish(folder, attempt, "stopped", CANCELLED)
    return sorted(open_[folder].run for folder in first.keys() | waited)


def resume_runs(
    look: Callable[[], Sequence[RunState]],
    runs: Path,
    profile_name: str | None,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[Submission]:
    """Submit again the runs of `look()` that ended without a result; yield each submission.

    What each run does is taken from its last submission: the same commands, the same frozen code; what its jobs
    ask for, from the profile as it is now. Raises UserError if Slurm refuses one: those that came before it are
    in the queue.
    """
    if not submissions(runs):
        look()
        return
    with submitting(runs):
        for line in repair(runs):
            tell(line)
        submit_later_here(runs)
        wanted = {state.folder for state in look() if state.resumable}
        for last in reversed(submissions(runs)):
            graph = part(last.graph, wanted) if last.jobs or last.let_go else ()
            here = {work.folder.resolve() for batch in graph for work in batch.specs} & wanted
            if here:
                profile = profile_name or last.profile
                now = load_profile(profile)
                content = tuple(batch.refitted(now) for batch in graph)
                new = replace(new_submission(runs, profile), graph=content, code=last.code)
                yield submit(new, now)
                wanted -= here
