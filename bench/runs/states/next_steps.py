"""What goes on with a run that has no result: the commands that `bench status` and messages propose."""

from __future__ import annotations

import shlex
from pathlib import Path

from bench.core.errors import UserError
from bench.core.files import read_object
from bench.core.run_folder import PLAN, runs_option
from bench.core.stopping import DivergedError
from bench.runs.repeat import command_of_plan
from bench.runs.states.state import RunState


def no_result_yet(state: RunState, runs: Path) -> UserError:
    """Return the error of a command that needs the result of a run: its state, and the command that goes on."""
    name = full_name(state)
    steps = next_steps(state, runs) or [f"bench wait {shlex.quote(name)}{runs_option(runs)}, then run this again"]
    where = "" if state.completed is None else f" at {state.stage} {state.completed}/{state.total}"
    reason = f": {state.reason}" if state.reason else ""
    return UserError(f"{name} has no result yet ({state.state}{where}{reason}); fix: {steps[-1]}")


def full_name(state: RunState) -> str:
    """Return the full name of a run, TASK/RUN, which every command accepts."""
    return f"{state.task}/{state.run}"


def next_steps(state: RunState, runs: Path) -> list[str]:
    """Return the next commands for a run without a result; none if it continues by itself or is done."""
    if state.fix:
        return [state.fix]
    if state.under_way or state.state == "done":
        return []
    if state.reason.startswith(DivergedError.__name__):
        return ["run it with another recipe, since this one would diverge again"]
    where = runs_option(runs)
    name = shlex.quote(full_name(state))
    again = f"bench resume {name}{where}" if state.submitted else _run_again(state, where)
    return [f"bench logs {name}{where}", again] if state.state in ("failed", "died") else [again]


def _run_again(state: RunState, where: str) -> str:
    """Return the command that repeats a run of this machine, from its plan."""
    command = command_of_plan(read_object(state.folder / PLAN) or {})
    if command is None:
        return "the same command again"
    return command if "--runs" in command else f"{command}{where}"
