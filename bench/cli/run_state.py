"""Where the runs of a folder stand, whether jobs of a queue work on them or commands of this machine."""

from __future__ import annotations

import contextlib
from pathlib import Path

from bench.core.errors import UserError
from bench.runs.pending import Look
from bench.runs.run_state import RunState, run_state
from slurm import SUBMISSIONS


def submitted(runs: Path, ask: bool = True) -> dict[Path, RunState]:
    """The runs that were ever submitted from a folder of runs, by their own.

    Raises SilentQueueError if the queue gives no answer, or there is none here, unless it is not to be asked.
    """
    if not (runs / SUBMISSIONS).is_dir():
        return {}
    from slurm.watch import submitted_states

    return {state.folder: state for state in submitted_states(runs, ask)}


def standing(runs: Path) -> Look:
    """Return what says where a run stands; of one in a queue that cannot be asked, what its folder tells."""
    queued: dict[Path, RunState] = {}
    with contextlib.suppress(UserError):
        queued = submitted(runs)
    return lambda folder: queued.get(folder.resolve()) or run_state(folder)
