"""The lines of a table, recorded or not, and the records that belong to each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

from bench.core.errors import counted, listed
from bench.report.comparison.recipe_differences import Value, difference_sentences
from bench.runs.recipes import DIGITS, START, FilledRecipes, recipe_sha256
from bench.runs.record import MethodInfo, Record, is_study
from bench.runs.states.pending import PendingRun
from bench.runs.suites.paper_tables import PaperTable
from bench.runs.suites.suite import SuiteRow, SuiteScale

MOST_LEFT_OUT = 8
"""A note names this many kinds of records that are left out, and counts the others."""
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
    known: bool = True
    """Whether the task has the sampler."""
    row: SuiteRow | None = None
    """The suite's row, for a method that a suite trains."""
    tuning_seed: int | None = None
    """The training seed that chose the line's recipe: the best of several there is no result."""
    recipe_sha256: str = ""
    """The recipe of the line's records; empty: any with the row's values, since the row's recipe is not known."""
    differs: str = ""
    """For a line of records of another recipe than the suite's row has: what distinguishes the two."""
    filled: FilledRecipes = field(default_factory=FilledRecipes, compare=False, repr=False)
    """Names the recipes of records."""

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
        steps = self.steps in (None, record.cost.network_evaluations)
        return steps and self._takes(record.kind, record.method, record.train_seed)

    def resembles(self, record: Record) -> bool:
        """Whether a record has the values that the suite's row sets, whatever the rest of its recipe.

        Of values to be tuned it has any of the grid, as an earlier tuning may have chosen others than that of now.
        """
        return self.row is not None and self.could_take(record) and not self.lacks(record)

    def could_take(self, record: Record) -> bool:
        """Whether a record is of this line's method or sampler, and its training seed can be reported."""
        return self._is_of(record.kind, record.method, record.train_seed)

    def lacks(self, record: Record) -> list[str]:
        """Say in which of the values that the line sets a record of its method or sampler has others."""
        if self.steps not in (None, record.cost.network_evaluations):
            return [f"it is sampled in {record.cost.network_evaluations} steps and not {self.steps}"]
        return self._other_values(record.method)

    def waits_for(self, pending: PendingRun) -> bool:
        """Whether a pending run has this line's method and recipe."""
        return self._takes(pending.kind, pending.planned, pending.seed)

    def _takes(self, kind: str, method: MethodInfo, seed: int | None) -> bool:
        if self.untuned or not self._is_of(kind, method, seed):
            return False
        if self.recipe_sha256:
            return recipe_sha256(method, self.filled) == self.recipe_sha256
        return not self._other_values(method)

    def _is_of(self, kind: str, method: MethodInfo, seed: int | None) -> bool:
        chooses = self.tuning_seed is not None and seed == self.tuning_seed
        return kind == self.kind and self.names(method.name) and not chooses

    def _other_values(self, method: MethodInfo) -> list[str]:
        if self.row is None:
            return []
        recipe = self.filled(method)
        allowed = {key: [value] for key, value in self.overrides.items()} | dict(self.row.tune)
        found = [
            f"{key} is {_text(recipe.get(key))} and not {' or '.join(map(_text, values))}"
            for key, values in allowed.items()
            if recipe.get(key) not in values
        ]
        if self.row.starts_from is not None and recipe.get(START) is None:
            found.append(f"it starts from the teacher and not from {self.row.starts_from}")
        return found


def suite_lines(scale: SuiteScale, paper: PaperTable | None, records: Sequence[Record] = ()) -> list[Line]:
    """Return the lines of a suite's table, in the order of the paper's rows.

    For the same row, the teacher's samplers and other models come before our methods. A line without a row of the
    paper follows the line before it. A row of a settled scale has the records of the recipe that it has now. Those
    of `records`, which are of all tasks, that have the values which it sets, but another recipe, have lines of
    their own after it, without values of the paper. Raises UserError for an unknown row of the paper.
    """
    here = [
        one for one in records if (one.kind, one.task) == ("method", scale.task) and not is_study(one.protocol)
    ]
    first = {row.method: row.recipe for row in scale.rows if row.recipe and row.starts_from is None}
    filled = FilledRecipes({one.run_id: one.method for one in records} | first)
    return _with_other_recipes(_own_lines(scale, paper, filled), here)


def _own_lines(scale: SuiteScale, paper: PaperTable | None, filled: FilledRecipes) -> list[Line]:
    """Return the lines of a suite's own rows."""

    def values(key: str | None) -> dict[str, float]:
        return paper.row(key).values if paper and key else {}

    lines: list[tuple[str | None, Line]] = []
    for entry in scale.baselines:
        label = entry.label or entry.sampler
        shown = values(entry.paper_row)
        found = Line("baseline", entry.sampler, label, shown, known=entry.known)
        lines.append((entry.paper_row, found))
    for student in scale.published:
        shown = values(student.paper_row)
        found = Line("baseline", student.checkpoint, student.label, shown, student.steps, student.source)
        lines.append((student.paper_row, found))
    for row in scale.rows:
        chosen_on = scale.tuning_seed if row.tune else None
        recipe = recipe_sha256(row.recipe, filled) if row.recipe else ""
        found = Line(
            *("method", row.method, row.label, values(row.paper_row)),
            row=row,
            tuning_seed=chosen_on,
            recipe_sha256=recipe,
            filled=filled,
        )
        lines.append((row.paper_row, found))
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


def _with_other_recipes(lines: Sequence[Line], records: Sequence[Record]) -> list[Line]:
    """Return the lines with those of other recipes after them, of which that of the newest record is first."""
    others: dict[int, dict[str, Line]] = {}
    newest = sorted(records, key=lambda record: record.provenance.time, reverse=True)
    for record, number in Assigned.to(lines, newest):
        alike = [place for place, line in enumerate(lines) if number is None and line.resembles(record)]
        if alike:
            place = max(alike, key=lambda place: _says(lines[place]))
            line, digest = lines[place], recipe_sha256(record.method, lines[place].filled)
            others.setdefault(place, {}).setdefault(digest, _of_another_recipe(line, record.method, digest))
    return [one for place, line in enumerate(lines) for one in (line, *others.get(place, {}).values())]


def _of_another_recipe(line: Line, method: MethodInfo, digest: str) -> Line:
    """Return the line of records of another recipe than a line's row has now."""
    assert line.row is not None
    now, row = line.row.recipe, replace(line.row, untuned=False)
    differs = "which recipe the suite's row has now is not known, since it is to be tuned"
    if now is not None:
        sentences = "; ".join(difference_sentences(now, method, line.filled))
        differs = f"another recipe than the suite's row has now. {sentences}"
    label = f"{line.label}, recipe #{digest[:DIGITS]}"
    return replace(line, label=label, paper={}, recipe_sha256=digest, differs=differs, row=row)


def other_recipes(lines: Iterable[Line]) -> list[str]:
    """Return a note for each line of another recipe than its row has now, once."""
    every = (f"{line.label}: {line.differs}." for line in lines if line.differs)
    return list(dict.fromkeys(every))


def left_out(assigned: Assigned) -> str:
    """Name the results of a suite's methods and samplers on none of its lines, and why; empty if none are.

    The records are of the suite's task. Runs on the seed of a tuning are left to the note on the tuning.
    """
    found = Counter[tuple[str, str]]()
    for record, number in assigned:
        near = [line.lacks(record) for line in assigned.lines if number is None and line.could_take(record)]
        if near:
            nearest = min(near, key=len)
            found[record.method.name, ", ".join(nearest)] += 1
    return _left_out(found, "by values that the suite sets")


def of_other_protocols(assigned: Assigned, protocol: str | None) -> str:
    """Name the results on a suite's lines that were measured by another protocol than it fixes; empty if none are.

    The records are of the suite's task; `protocol` is None if the suite fixes none.
    """
    found = Counter(
        (record.method.name, f"by {record.protocol.get('name')}")
        for record, number in assigned
        if number is not None and protocol not in (None, record.protocol.get("name"))
    )
    return _left_out(found, f"since the suite fixes the protocol {protocol}")


def _left_out(found: Counter[tuple[str, str]], reason: str) -> str:
    """Say how many records are left out, by their method and why; empty if none are."""
    every = (f"{name}, {counted(count, 'record')}: {why}" for (name, why), count in sorted(found.items()))
    return f"Left out, {reason}: {listed(every, MOST_LEFT_OUT, '; ')}." if found else ""


def _text(value: object) -> str:
    return Value(value, passed=False).text


def recorded_lines(records: Iterable[Record]) -> list[Line]:
    """Return a line for every recorded method and baseline, baselines first, plug-ins included."""
    found = dict.fromkeys((record.kind, record.method.name) for record in records)
    return [Line(kind, name, name) for kind, name in sorted(found)]


@dataclass(frozen=True)
class Assigned:
    """Records and the lines of a table, on which each is found once for the table and all its notes."""

    lines: Sequence[Line]
    records: Sequence[Record]
    owners: Sequence[int | None]
    """The position of each record's line; None for a record on none."""

    @classmethod
    def to(cls, lines: Sequence[Line], records: Sequence[Record]) -> Assigned:
        """Find the line of each record."""
        return cls(lines, records, owners(lines, records))

    def __iter__(self) -> Iterator[tuple[Record, int | None]]:
        return zip(self.records, self.owners, strict=True)


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
