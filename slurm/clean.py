"""Remove what submissions leave behind: folders of ended jobs, and code snapshots that no job uses."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.files import folder_size
from bench.runs.states.state import run_state
from slurm import SUBMISSIONS
from slurm.launch import CODE
from slurm.queue import queued_jobs
from slurm.submission import Submission, repair, submissions, submitting


@dataclass(frozen=True)
class Leftover:
    """A folder that may go."""

    folder: Path
    what: str
    bytes: int


def leftovers(runs: Path) -> list[Leftover]:
    """Find what can be removed: submissions with all results and no jobs, and code that no other one uses.

    What is under way, waits, or can be resumed is kept whole. Raises UserError if the queue gives no answer.
    """
    made = submissions(runs)
    queued = {job.name for job in queued_jobs().values()} if made else set[str]()
    over = [one for one in made if _is_over(one, queued)]
    # What waited for room, or was resumed, is prepared in the folder of the submission that it was a part of.
    kept = (work for one in made if one not in over for batch in one.graph for work in batch.specs)
    lived_in = {folder for work in kept for folder in work.folder.resolve().parents}
    over = [one for one in over if one.folder.resolve() not in lived_in]
    used = {one.code for one in made if one not in over}
    code = runs / SUBMISSIONS / CODE
    frozen = sorted(code.iterdir()) if code.is_dir() else []
    return [
        *(Leftover(one.folder, "submission, all done", folder_size(one.folder)) for one in over),
        *(
            Leftover(one, "frozen code", folder_size(one))
            for one in frozen
            if one.is_dir() and one.resolve() not in {path.resolve() for path in used}
        ),
    ]


def clean(runs: Path) -> list[Leftover]:
    """Remove unused folders under the submission lock; return them. Raises UserError if the queue is silent."""
    with submitting(runs):
        repair(runs)
        found = leftovers(runs)
        for one in found:
            shutil.rmtree(one.folder)
    return found


def total(found: Sequence[Leftover]) -> int:
    """Bytes of all."""
    return sum(one.bytes for one in found)


def _is_over(submission: Submission, queued: set[str]) -> bool:
    """Return whether a submission has no job in the queue and all its runs have results."""
    if (
        not submission.let_go
        or submission.later
        or any(submission.job_name(batch) in queued for batch in submission.graph)
    ):
        return False
    specs = [work for batch in submission.graph for work in batch.specs if work.stage != "prepare"]
    return all(run_state(work.folder).state == "done" for work in specs)
