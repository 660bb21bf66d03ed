"""The lines of the suites on a task: the paper's values for what was run, and what was not run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.core.files import digest
from bench.report.lines import Line, owner, suite_lines
from bench.report.site.boards import Board, Variant
from bench.report.todo import command
from bench.runs.record import Record
from bench.runs.suites.suite import Suite, SuiteScale


@dataclass(frozen=True)
class Placed:
    """A line of a suite at a scale."""

    line: Line
    scale: SuiteScale

    @property
    def key(self) -> str:
        """Lines of several suites with equal keys mean the same run."""
        starts = self.line.row.starts_from if self.line.row else None
        return digest([self.line.kind, self.line.name, self.line.steps, dict(self.line.overrides), starts])

    @property
    def command(self) -> str:
        """The command that runs the line, as markdown."""
        return command(self.line, self.scale.seeds if self.line.kind == "method" else (), self.scale)


def suites_on(
    task: str, suites: Sequence[Suite], records: Sequence[Record]
) -> Iterator[tuple[SuiteScale, list[Placed]]]:
    """Yield the scales of suites on a task, each with its lines that can be run. `records` are of all tasks."""
    for suite in suites:
        for scale in suite.scales.values():
            if scale.task == task:
                lines = suite_lines(scale, suite.paper_table(), records)
                yield scale, [Placed(line, scale) for line in lines if line.kind != "quoted" and not line.differs]


def owner_of(variant: Variant, lines: Sequence[Line]) -> int | None:
    """Return the position of the line to which a variant belongs."""
    found = (owner(lines, entry.record) for entry in variant.entries)
    return next((number for number in found if number is not None), None)


def fits(board: Board, scale: SuiteScale) -> bool:
    """Whether a board's protocol is that of a suite's scale; no suite asks people."""
    return not board.study and scale.protocol in (None, board.protocol.get("name"))
