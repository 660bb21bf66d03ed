"""Tables with a heading and lines below, for commands that print several: as Markdown and for a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.core.escape import markdown, printable, rich_text

if TYPE_CHECKING:
    from rich.console import Group

_NUMBER = re.compile(r"$|[\d.,+−–<\[]")
"""How a number, an interval or an empty cell begins; columns of them are aligned to the right."""


@dataclass(frozen=True)
class Block:
    """A table with its heading, and lines below it."""

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    below: tuple[str, ...] = ()


def to_markdown(parts: Sequence[Block]) -> str:
    """Return the blocks as Markdown; all text is escaped."""
    shown = []
    for part in parts:
        lines = [f"### {markdown(part.heading)}", ""]
        if part.columns:
            table = [part.columns, ("---",) * len(part.columns), *part.rows]
            escaped = [row if number == 1 else tuple(map(markdown, row)) for number, row in enumerate(table)]
            lines += [*(f"| {' | '.join(row)} |" for row in escaped), ""]
        lines += [f"- {markdown(line)}" for line in part.below] + [""] * bool(part.below)
        shown.append("\n".join(lines))
    return "\n".join(shown)


def to_rich(parts: Sequence[Block]) -> Group:
    """Return the blocks for a terminal; all text is printed literally."""
    from rich import box
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    shown: list[Any] = []
    for part in parts:
        shown.append(Text(printable(part.heading), style="bold"))
        if part.columns:
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
            for name, *texts in zip(part.columns, *part.rows, strict=True):
                number = all(_NUMBER.match(text) for text in texts)
                table.add_column(rich_text(name), overflow="fold", justify="right" if number else "left")
            for row in part.rows:
                table.add_row(*map(rich_text, row))
            shown.append(table)
        shown += [Padding(rich_text(line), (0, 0, 1, 0)) for line in part.below]
    return Group(*shown)
