"""The states of the runs of a folder, in a queue or on this machine."""

from __future__ import annotations

import contextlib
from pathlib import Path

from bench.core.errors import UserError
from bench.jobs.executor import faults_named, installed_executors
from bench.runs.states.pending import StateLookup
from bench.runs.states.state import RunState, run_state


def submitted_runs(runs: Path, ask: bool = True) -> dict[Path, RunState]:
    """Return the runs that were ever submitted from a folder of runs, by their own.

    Raises SilentQueueError if a queue gives no answer, or there is none here, unless it is not to be asked.
    """
    if not runs.is_dir():
        return {}
    found: dict[Path, RunState] = {}
    for executor in installed_executors():
        with faults_named(executor):
            found |= {state.folder: state for state in executor.states(runs, ask)}
    return found


def state_lookup(runs: Path) -> StateLookup:
    """Return a function that gives a run's state, from its folder alone if the queue gives no answer."""
    queued: dict[Path, RunState] = {}
    with contextlib.suppress(UserError):
        queued = submitted_runs(runs)
    return lambda folder: queued.get(folder.resolve()) or run_state(folder)
