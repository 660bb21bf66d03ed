"""The table of `bench status`: the most important columns that fit, and the next commands for each run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.core.escape import printable, rich_text
from bench.runs.states.next_steps import full_name, next_steps
from bench.runs.states.state import RunState

if TYPE_CHECKING:
    from rich.console import Group

STAGES = {"prepare": "preparation", "train": "training", "evaluate": "evaluation"}
"""Names of the stages, as the progress bars of running jobs show them."""


class _Column(NamedTuple):
    heading: str
    cell: Callable[[RunState], str]
    right: bool = False


COLUMNS = (
    _Column("run", lambda state: full_name(state)),
    _Column("state", lambda state: state.state),
    _Column("steps", lambda state: "" if state.completed is None else f"{state.completed}/{state.total}", True),
    _Column("left", lambda state: "" if state.seconds_left is None else duration(state.seconds_left), True),
    _Column("FD", lambda state: "" if state.fd is None else f"{state.fd:.4g}", True),
    _Column("stage", lambda state: STAGES.get(state.stage, state.stage)),
    _Column("job", lambda state: state.job),
    _Column("node", lambda state: state.node),
    _Column(
        "images/s", lambda state: "" if state.images_per_second is None else f"{state.images_per_second:.3g}", True
    ),
    _Column("requeues", lambda state: str(state.requeues or ""), True),
)
"""Columns in order of importance. If the width is too small, the last are left out; run and state always stay."""


def status_table(states: Sequence[RunState], runs: Path, width: int | None) -> Group:
    """Draw the states of runs; below the table are the reasons, and the next command for each stopped run.

    `width` is the terminal's width in characters; None: no limit.
    """
    from rich import box
    from rich.console import Group
    from rich.table import Table

    counted = Counter(state.state for state in states)
    title = ", ".join(f"{count} {state}" for state, count in counted.most_common())
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    shown = _fitting([[printable(column.cell(state)) for state in states] for column in COLUMNS], width)
    for column, _ in shown:
        fold = column.heading == "run"
        table.add_column(
            column.heading,
            justify="right" if column.right else "left",
            no_wrap=not fold,
            overflow="fold" if fold else "ellipsis",
        )
    for row in zip(*(cells for _, cells in shown), strict=True):
        table.add_row(*map(rich_text, row))
    return Group(table, *map(rich_text, _explained(states, runs)))


def state_data(state: RunState, runs: Path) -> dict[str, Any]:
    """Return a run's state for `bench status --json`; a value that is not known is None, or empty text."""
    return {
        "name": full_name(state),
        "folder": state.folder,
        "state": state.state,
        "under_way": state.under_way,
        "stage": state.stage,
        "completed": state.completed,
        "total": state.total,
        "seconds_left": state.seconds_left,
        "images_per_second": state.images_per_second,
        "fd": state.fd,
        "job": state.job,
        "node": state.node,
        "requeues": state.requeues,
        "reason": state.reason,
        "next": "; ".join(next_steps(state, runs)),
        "problems": list(state.problems),
    }


def duration(seconds: float) -> str:
    """Format seconds as `2 h 05`, `12 min` or `40 s`."""
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d}" if hours else f"{minutes} min" if minutes else f"{seconds:.0f} s"


def _fitting(cells: list[list[str]], width: int | None) -> list[tuple[_Column, list[str]]]:
    """Return the columns that are not empty, as many as fit."""
    found: list[tuple[_Column, list[str]]] = []
    taken = 0
    for number, (column, texts) in enumerate(zip(COLUMNS, cells, strict=True)):
        needed = max(len(text) for text in (column.heading, *texts)) + 2
        if number < 2 or (any(texts) and (width is None or taken + needed <= width)):
            found.append((column, texts))
            taken += needed
    return found


FEW = 3
"""Up to this many runs with the same reason are named one by one, if they continue by themselves."""


def _explained(states: Sequence[RunState], runs: Path) -> list[str]:
    """Return the reasons of the runs' states, with the next command for each run that needs one."""
    lines: list[str] = []
    alike: dict[str, list[str]] = {}
    for state in states:
        if steps := next_steps(state, runs):
            lines.append(f"{full_name(state)}: {state.reason or state.state}")
            lines += [f"    {word}: {step}" for word, step in zip(("next", "then"), steps, strict=False)]
        elif state.reason:
            alike.setdefault(state.reason, []).append(full_name(state))
    for reason, names in alike.items():
        lines += [f"{name}: {reason}" for name in names] if len(names) <= FEW else [f"{len(names)} runs: {reason}"]
    return lines
