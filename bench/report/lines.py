"""The lines of a table, recorded or not, and the records that belong to each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from bench.runs.paper_tables import PaperTable
from bench.runs.pending_runs import PendingRun
from bench.runs.record import Record
from bench.runs.suites import SuiteRow, SuiteScale

Kind = Literal["baseline", "method", "quoted"]
"""quoted: a row of the paper without a counterpart here."""


@dataclass(frozen=True)
class Line:
    """A method or baseline that a table shows."""

    kind: Kind
    name: str
    """Name of the method, the sampler or the checkpoint; a checkpoint may contain * as a wildcard."""
    label: str
    paper: Mapping[str, float] = field(default_factory=dict)
    """The paper's values by column."""
    steps: int | None = None
    """Steps of a published student's sampler; None: any."""
    source: str = ""
    """Place of publication."""
    row: SuiteRow | None = None
    """The suite's row, for a method that a suite trains."""
    tuning_seed: int | None = None
    """The training seed that chose the line's recipe: the best of several there is no result."""

    @property
    def overrides(self) -> Mapping[str, Any]:
        """Recipe values that distinguish this line from other lines of its method."""
        return self.row.overrides if self.row else {}

    @property
    def untuned(self) -> bool:
        """Whether the line's recipe is still to be tuned, so that nothing has it."""
        return self.row is not None and self.row.untuned

    def names(self, name: str) -> bool:
        """Whether this is the name of the line's method, sampler or checkpoint."""
        return name == self.name or ("*" in self.name and fnmatchcase(name, self.name))

    def fits(self, record: Record) -> bool:
        """Whether a record has this line's method and recipe."""
        return (
            record.kind == self.kind
            and self._reports(record.train_seed)
            and self.names(record.method.name)
            and self.steps in (None, record.cost.network_evaluations)
            and self._has(record.method.recipe)
        )

    def is_worked_on(self, work: PendingRun) -> bool:
        """Whether a pending run has this line's method and recipe."""
        same = work.kind == self.kind and self.names(work.method) and self._has(work.recipe)
        return same and self._reports(work.seed)

    def _reports(self, seed: int | None) -> bool:
        """Whether a training with this seed can be a result of the line."""
        return not self.untuned and (self.tuning_seed is None or seed != self.tuning_seed)

    def _has(self, recipe: Mapping[str, Any]) -> bool:
        starts = self.row is not None and self.row.starts_from is not None
        same = all(recipe.get(key) == value for key, value in self.overrides.items())
        return same and (not starts or recipe.get("init_from") is not None)


def suite_lines(scale: SuiteScale, paper: PaperTable | None) -> list[Line]:
    """Return the lines of a suite's table, in the order of the paper's rows.

    For the same row, the teacher's samplers and other models come before our methods. A line without a row of the
    paper follows the line before it. Raises UserError for an unknown row of the paper.
    """

    def values(key: str | None) -> dict[str, float]:
        return paper.row(key).values if paper and key else {}

    lines: list[tuple[str | None, Line]] = []
    for entry in scale.baselines:
        label = entry.label or entry.sampler
        lines.append((entry.paper_row, Line("baseline", entry.sampler, label, values(entry.paper_row))))
    for student in scale.published:
        shown = values(student.paper_row)
        found = Line("baseline", student.checkpoint, student.label, shown, student.steps, student.source)
        lines.append((student.paper_row, found))
    for row in scale.rows:
        chosen_on = scale.tuning_seed if row.tune else None
        shown = values(row.paper_row)
        lines.append((row.paper_row, Line("method", row.method, row.label, shown, row=row, tuning_seed=chosen_on)))
    if paper is None:
        return [line for _, line in lines]
    if scale.all_paper_rows:
        answered = {key for key, _ in lines}
        rest = (row for row in paper.rows if row.key not in answered)
        lines += [(row.key, Line("quoted", row.key, row.label, row.values)) for row in rest]
    return _in_the_papers_order(lines, [row.key for row in paper.rows])


def _in_the_papers_order(lines: Iterable[tuple[str | None, Line]], keys: Sequence[str]) -> list[Line]:
    place, placed = -1, []
    for key, line in lines:
        place = keys.index(key) if key else place
        placed.append((place, line))
    return [line for _, line in sorted(placed, key=lambda found: found[0])]


def recorded_lines(records: Iterable[Record]) -> list[Line]:
    """Return a line for every recorded method and baseline, baselines first, plug-ins included."""
    found = dict.fromkeys((record.kind, record.method.name) for record in records)
    return [Line(kind, name, name) for kind, name in sorted(found)]


def owners(lines: Sequence[Line], records: Iterable[Record]) -> list[int | None]:
    """Return `owner` for each record; for speed, only lines with the record's name are compared."""
    named: dict[str, list[int]] = {}
    found: list[int | None] = []
    for record in records:
        name = record.method.name
        if name not in named:
            named[name] = [number for number, line in enumerate(lines) if line.names(name)]
        number = owner([lines[number] for number in named[name]], record)
        found.append(None if number is None else named[name][number])
    return found


def owner(lines: Sequence[Line], record: Record) -> int | None:
    """Return the position of a record's line: of the lines that fit, the one that fixes the most recipe values."""
    fitting = [number for number, line in enumerate(lines) if line.fits(record)]
    return max(fitting, key=lambda number: _says(lines[number]), default=None)


def _says(line: Line) -> tuple[int, bool]:
    starts = line.row is not None and line.row.starts_from is not None
    return len(line.overrides) + starts, line.steps is not None
