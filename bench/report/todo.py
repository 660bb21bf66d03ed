"""The missing results of a suite: their states, and the commands that make them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.stopping import DivergedError
from bench.report.lines import Assigned, Line
from bench.runs.argv import set_options
from bench.runs.record import Record
from bench.runs.states.pending import PendingRun, StateLookup, pending_runs
from bench.runs.states.state import UNDER_WAY
from bench.runs.suites.settled import tune_command
from bench.runs.suites.suite import SuiteScale

NO_SAMPLER = "the task has no sampler of this name"
"""The state of a row that belongs to the suite's own task alone."""


def pending_of(scale: SuiteScale, root: Path, lookup: StateLookup) -> list[PendingRun]:
    """Return the pending runs of a suite's scale; its students are on the task that trains them."""
    found = pending_runs(root, scale.task, lookup)
    if scale.trained_on is None:
        return found
    students = (one for one in pending_runs(root, scale.trained_on, lookup) if one.kind == "method")
    return [*(one for one in found if one.kind == "baseline"), *students]


@dataclass(frozen=True)
class Left:
    """Missing results of one line of a suite, in the same state."""

    label: str
    seeds: tuple[int, ...]
    """The training seeds; none for a baseline."""
    state: str
    fix: str
    """What makes them, as markdown; empty if they are being made."""


def left_of(assigned: Assigned, scale: SuiteScale, pending: Sequence[PendingRun]) -> list[Left]:
    """Return the missing results of each line by their state.

    The records are of the scale's task. If the scale has a protocol, only records under it count.
    """
    newest: dict[tuple[int, int | None], Record] = {}
    for record, number in sorted(assigned, key=lambda one: (one[0].status == "ok", one[0].provenance.time)):
        if number is not None and scale.protocol in (None, record.protocol.get("name")):
            newest[number, record.train_seed] = record
    left = []
    for number, line in enumerate(assigned.lines):
        if line.differs:  # a recipe that the suite does not ask for
            continue
        states: dict[str, list[int | None]] = {}
        for seed in scale.seeds if line.kind == "method" else (None,) * (line.kind == "baseline"):
            last = newest.get((number, seed))
            if last is None or last.error is not None:
                states.setdefault(_state(line, seed, last, pending), []).append(seed)
        left += [_left(line, state, seeds, scale) for state, seeds in states.items()]
    return left


def _state(line: Line, seed: int | None, record: Record | None, pending: Sequence[PendingRun]) -> str:
    for one in pending:
        if one.seed == seed and line.waits_for(one):
            return str(one)
    if not line.known:
        return NO_SAMPLER
    return f"failed: {record.error.type}" if record and record.error else "missing"


def _left(line: Line, state: str, seeds: Sequence[int | None], scale: SuiteScale) -> Left:
    trained = tuple(seed for seed in seeds if seed is not None)
    fix = "" if state.startswith(UNDER_WAY) else command(line, trained, scale)
    if state == f"failed: {DivergedError.__name__}":
        fix = "use another recipe, since this one would diverge again"
    return Left(line.label, trained, state, fix)


def left_text(left: Left, escaped: Callable[[str], str]) -> str:
    """Return a line for people, with the command in backticks. `escaped` makes text of records harmless."""
    seeds = ", ".join(map(str, left.seeds))
    of_seeds = f", seed{'s' if len(left.seeds) > 1 else ''} {seeds}" if seeds else ""
    fix = f"; fix: {left.fix}" if left.fix else ""
    return f"{escaped(left.label)}{of_seeds}: {escaped(left.state)}{fix}"


def command(line: Line, seeds: Sequence[int], scale: SuiteScale) -> str:
    """Return the command that makes the results of a line, as markdown."""
    where = f"--task {scale.task}" + (f" --protocol {scale.protocol}" if scale.protocol else "")
    where += scale.plugin_options
    if not line.known:
        return f"`bench describe {scale.task}{scale.plugin_options}` shows its own, for a suite of yours"
    if line.kind == "baseline" and line.steps is not None:
        return f"`bench eval {where} --checkpoint PATH/{line.name} --steps {line.steps}` ({line.source})"
    if line.kind == "baseline":
        return f"`bench eval {where} --sampler {line.name}`"
    if line.row is not None and not line.row.installed:
        return f"name the file that defines the method {line.name}: --plugin FILE"
    if line.untuned:
        return f"`{tune_command(scale, [line.name])}`, then `bench reproduce {scale.called}`"
    chosen = f"--seed {','.join(map(str, seeds))}"
    if scale.trained_on or (line.row and line.row.starts_from):
        return f"`bench reproduce {scale.called} {chosen}{set_options(scale.given)}`"
    values = set_options({**line.overrides, **scale.given})
    return f"`bench run --method {line.name} {where} {chosen} --no-baselines{values}`"
