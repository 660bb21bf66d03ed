"""The last step of a batch script: record jobs that died silently, and submit jobs that wait for room.

Called as `python -m slurm.aftermath SUBMISSION BATCH EXIT_CODE`, in the job, if the work failed, as when memory
ran out, or if something waits for room in the queue. Where Slurm takes the whole job away (cancelled, requeued,
out of time, its node lost), the batch script dies with it, and this is not called.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from bench.core.errors import UserError
from bench.core.run_folder import PLAN, RECORD
from bench.jobs.spec import JobSpec
from bench.runs.states import attempts
from bench.runs.states.attempts import Attempt
from bench.runs.states.state import run_state
from slurm.later import submit_later
from slurm.submission import FILE, read_submission


def main(submission: str, batch: str, code: str) -> None:
    """Record how the work ended and submit waiting jobs. The exit code does not change."""
    found = read_submission(Path(submission) / FILE)
    specs = next(one.specs for one in found.graph if one.name == batch)
    work = specs[int(os.environ["SLURM_ARRAY_TASK_ID"]) if len(specs) > 1 else 0]
    tried = attempts.attempts(work.folder)
    if int(code) != 0 and tried and tried[-1].end is None:
        _tell(work, tried[-1], int(code))
    try:
        submit_later(found.folder.parent.parent, patient=True)
    except UserError as error:
        print(f"what waits for room in the queue waits on: {error}")
    sys.exit(int(code))


def _tell(work: JobSpec, last: Attempt, code: int) -> None:
    reason = f"exit code {code}"
    if code - 128 in set(signal.Signals):
        name = signal.Signals(code - 128).name
        reason = f"killed by {name}" + ", as when memory runs out" * (name == "SIGKILL")
    attempts.finish(work.folder, last, "failed", reason)
    if (work.folder / PLAN).exists() and run_state(work.folder).state != "done":
        from bench.runs.recording import record_of_a_death
        from bench.runs.records import write_record

        write_record(work.folder / RECORD, record_of_a_death(work.folder, reason))


if __name__ == "__main__":
    main(*sys.argv[1:])
