"""Taking submitted runs out of the queue, and putting back what is not finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench import attempts
from bench.states import CANCELLED, UNDER_WAY, RunState
from slurm import queue
from slurm.graph import Batch
from slurm.profile import load_profile
from slurm.submission import Submission, drop_orphans, new_submission, submissions, submit


def cancel_runs(states: Sequence[RunState], runs: Path) -> list[str]:
    """Cancel all jobs of the runs that are under way; return the names of those runs. Raises UserError."""
    under_way = {state.folder: state for state in states if state.state in UNDER_WAY}
    queued = queue.queued_jobs()
    ours = [
        (job, work.folder)
        for one in submissions(runs)
        for job, work in one.elements()
        if job in queued and work.folder in under_way
    ]
    queue.cancel([job for job, _ in ours])
    for folder in {folder for _, folder in ours}:
        state = under_way[folder]
        attempt = attempts.begin(folder, state.job, 0, "", state.stage or "train")
        attempts.finish(folder, attempt, "stopped", CANCELLED)
    return sorted({under_way[folder].run for _, folder in ours})


def resume_runs(states: Sequence[RunState], runs: Path, profile_name: str | None) -> list[Submission]:
    """Submit again what is neither done nor under way. Raises UserError.

    What each run needs is taken from its last submission: the same commands, the same frozen code.
    """
    wanted = {state.folder for state in states if state.state not in (*UNDER_WAY, "done")}
    found, made = submissions(runs), list[Submission]()
    drop_orphans(found, queue.queued_jobs())
    for last in reversed(found):
        graph = [_left(batch, wanted) for batch in last.graph]
        here = {work.folder for batch in graph for work in batch.works} & wanted
        if here:
            profile = profile_name or last.profile
            content = tuple(batch for batch in graph if batch.works)
            new = replace(new_submission(runs, profile), graph=content, code=last.code)
            made.append(submit(new, load_profile(profile)))
            wanted -= here
    return made


def _left(batch: Batch, wanted: set[Path]) -> Batch:
    """What of a batch belongs to the wanted runs; what they share is done again, and found done."""
    if batch.stage == "prepare":
        return batch
    return replace(batch, works=tuple(work for work in batch.works if work.folder in wanted))
