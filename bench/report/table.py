"""Tables of results show the paper's value beside ours, one section per protocol, and every missing line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from bench.core.errors import listed
from bench.core.escape import markdown
from bench.metrics.titles import UNSCALED_KID, shown_name, shown_title
from bench.report import cells
from bench.report.budget import over_budget
from bench.report.columns import COMPARED, Column, metric_column, paper_column
from bench.report.lines import Assigned, Line, left_out, other_recipes, recorded_lines, suite_lines
from bench.report.measured import Measured, decimals_apart
from bench.report.notes import Facts, facts, notes, seeds_notes, warnings
from bench.report.ranking import ranked_rows
from bench.report.sides import measured_alike
from bench.report.summary import summarise, tidy
from bench.report.todo import Left, left_of, left_text
from bench.runs.recipes import FilledRecipes
from bench.runs.record import Record, is_study
from bench.runs.records import collector_paused
from bench.runs.states.pending import PendingRun
from bench.runs.suites.paper_tables import PaperTable
from bench.runs.suites.suite import Suite, SuiteScale

__all__ = ["ReportTable", "Section", "suite_table", "task_table", "tidy"]

_COUNTS = (
    *("n_seeds", "n_failed", "nfe", "iterations_low", "iterations_high", "generator_updates_low"),
    *("generator_updates_high", "training_images_low", "training_images_high", "peak_memory_bytes"),
)
_CSV = (
    *("label", "task", "protocol", "protocol_sha256", "smoke", "kind", "method", "passed", "recipe_sha256"),
    *("selection", "weights", "variant_sha256", "status", "error", "metric", "direction"),
    *("value", "std", "low", "high", "level", "interval", "standard_error", "seeds", *_COUNTS),
    *("passes_low", "passes_high", "train_seconds", "gpu_hours", "core_hours", "evaluate_seconds"),
)


@dataclass(frozen=True)
class Section:
    """The part of a table that was measured under one protocol."""

    heading: str
    cells: pd.DataFrame
    """The formatted text."""
    best: frozenset[tuple[int, str]]
    """Row and column of each metric's best trained student, if its lead exceeds the spread over training seeds."""
    notes: tuple[str, ...]
    """All that a reader of the numbers must know."""
    second: frozenset[tuple[int, str]] = frozenset()
    """Row and column of the next after each best, if it leads the others by the same rule."""
    columns: tuple[Column, ...] = ()
    """What the columns of `cells` show."""
    values: Mapping[tuple[int, str], Measured] = field(default_factory=dict)
    """The numbers in the cells of metrics, by row and column."""
    warnings: tuple[str, ...] = ()
    """The notes without which the numbers mislead, for a format with little room."""
    facts: Facts | None = None
    """What all numbers share, for a caption; None without records."""


@dataclass(frozen=True)
class ReportTable:
    """A compiled table."""

    title: str
    sections: tuple[Section, ...]
    """One section per protocol: numbers of different protocols are never averaged or shown in one column."""
    data: pd.DataFrame
    """The same data in full precision: one row per line, variant and metric, in seconds and bytes."""
    note: str = ""
    """A remark on the whole table."""
    left: tuple[str, ...] = ()
    """The missing results of a suite, each with the reason and the command that makes it, as Markdown."""
    missing: tuple[Left, ...] = ()
    """The same as data."""
    name: str = ""
    """A short name for labels: that of the suite and its scale, or of the task."""


def suite_table(
    suite: Suite,
    paper: PaperTable | None,
    records: Sequence[Record],
    scale: str | SuiteScale,
    pending: Sequence[PendingRun] = (),
) -> ReportTable:
    """Compile a suite's table at a scale, by name or with changes, from the records of the scale's task.

    `pending` are the pending runs on that task. Raises UserError for an unknown scale or row of the paper.
    """
    chosen = suite.scale(scale) if isinstance(scale, str) else scale
    measured = [record for record in records if not is_study(record.protocol)]  # no suite asks people
    of_task = [record for record in measured if record.task == chosen.task]
    assigned, filled = Assigned.to(suite_lines(chosen, paper, records), of_task), FilledRecipes.among(records)
    title = f"{suite.title}: {chosen.task}"
    compared = chosen.budget is not None
    table = _compile(title, chosen.task, assigned, chosen.columns, paper, pending, filled, compared)
    missing = tuple(left_of(assigned, chosen, pending))
    left = tuple(left_text(one, markdown) for one in missing)
    note = " ".join(filter(None, [chosen.note, over_budget(chosen, assigned), table.note, left_out(assigned)]))
    return replace(table, note=note, left=left, missing=missing, name=f"{suite.name}-{chosen.name}")


def task_table(records: Sequence[Record], task: str) -> ReportTable:
    """Compile all records of a task, baselines first, plug-in methods included."""
    of_task = [record for record in records if record.task == task]
    assigned = Assigned.to(recorded_lines(of_task), of_task)
    table = _compile(f"All results: {task}", task, assigned, None, None, (), FilledRecipes.among(records))
    return replace(table, name=task)


def _measured_columns(records: Sequence[Record]) -> tuple[str, ...]:
    """Return the names of the metrics that records have, as tables show them.

    If all of them failed, they are the protocol's, so that there are cells that say so.
    """
    names = [shown_name(metric.name, record.protocol) for record in records for metric in record.metrics]
    declared = records[0].protocol.get("metrics") if records and not names else ()
    if isinstance(declared, list):
        names = [name for name in declared if isinstance(name, str)]
    return tuple(name for name in dict.fromkeys(names) if name != UNSCALED_KID)


@collector_paused()
def _compile(
    title: str,
    task: str,
    assigned: Assigned,
    columns: Sequence[str] | None,
    paper: PaperTable | None,
    pending: Sequence[PendingRun],
    filled: FilledRecipes,
    compared_costs: bool = False,
) -> ReportTable:
    line_of = {id(record): number for record, number in assigned if number is not None}
    used = [record for record, number in assigned if number is not None]
    summary = summarise(tidy(used, lambda record: line_of[id(record)], filled)).to_dict("records")
    by_protocol: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in sorted(summary, key=lambda row: (row["smoke"], row["protocol"])):
        by_protocol.setdefault((row["protocol_sha256"], row["networks_sha256"]), []).append(row)

    note = ""
    if columns is not None and (apart := _without_students(by_protocol)):
        by_protocol = {key: rows for key, rows in by_protocol.items() if key not in apart}
        note = SAMPLERS_APART.format(task=task)
    made_by = {key: [r for r in used if (r.protocol_sha256, r.networks_sha256) == key] for key in by_protocol}
    sections, data = [], []
    for key, rows in (by_protocol or {("", ""): []}).items():
        here = [
            (line, {"task": task} | row)
            for number, line in enumerate(assigned.lines)
            for row in _rows(number, line, rows, pending)
        ]
        made = made_by.get(key, [])
        if columns is None:  # a suite shows its missing rows; a task has no list of rows that should be there
            here = [(line, row) for line, row in here if row["status"] not in cells.NO_RECORD]
        heading = _heading(rows[0], len(by_protocol), _beside(key, made_by)) if rows else "No records yet"
        shown = _measured_columns(made) if columns is None else columns
        sections.append(_section(heading, here, shown, paper, made, compared_costs))
        data += [row | {"label": line.label} | _paper_values(line, paper) for line, row in here]
    paper_columns = [f"paper_{column.name}" for column in paper.columns] if paper else []
    frame = pd.DataFrame(data, columns=[*_CSV, *paper_columns]).astype(dict.fromkeys(_COUNTS, "Int64"))
    return ReportTable(title, tuple(sections), frame, note)


SAMPLERS_APART = (
    "Samplers that were measured through other networks or under another protocol than any student of this suite "
    "are in `bench report --task {task}`."
)


def _without_students(by_protocol: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]) -> set[tuple[str, str]]:
    """Return the protocols and networks with samplers alone, if there are others with students."""
    trained = {key for key, rows in by_protocol.items() if any(row["kind"] == "method" for row in rows)}
    return set(by_protocol) - trained if trained else set()


def _rows(
    number: int, line: Line, rows: list[dict[str, Any]], pending: Sequence[PendingRun]
) -> list[dict[str, Any]]:
    """Return the summary rows of one line; a line without records has one row with its pending runs."""
    found = [row for row in rows if row["line"] == number]
    if found or line.differs:  # nobody asked for another recipe under each protocol
        return found
    status = "quoted" if line.kind == "quoted" else "missing"
    nothing: dict[str, Any] = {"kind": line.kind, "method": line.name, "status": status, "metric": ""}
    if rows:
        nothing |= {key: rows[0][key] for key in ("protocol", "protocol_sha256", "networks_sha256", "smoke")}
    protocol = rows[0]["protocol"] if rows else None
    own = [one for one in pending if line.waits_for(one) and protocol in (None, one.protocol)]
    return [nothing | {"work": "; ".join(dict.fromkeys(map(str, own)))}]


def _heading(row: dict[str, Any], tables: int, beside: Sequence[str]) -> str:
    """Return a section's heading; `beside` are the networks of those that `bench compare` compares it with."""
    smoke = ", a smoke protocol: these numbers are not results" if row["smoke"] else ""
    across = f"compare with networks {listed(beside)} alone" if beside else "never compare across them"
    several = f", networks {row['networks_sha256'][:8]} (1 of {tables} tables: {across})" if tables > 1 else ""
    return f"Protocol {row['protocol']} {row['protocol_sha256'][:12]}{smoke}{several}"


def _beside(key: tuple[str, str], made: Mapping[tuple[str, str], Sequence[Record]]) -> list[str]:
    """Return the networks of the other sections whose numbers are of the same quantity, as without a teacher."""
    different = {
        one: {record.own_networks_sha256: record for record in found}.values() for one, found in made.items()
    }
    return [
        networks[:8]
        for (protocol, networks), records in different.items()
        if protocol == key[0]
        and networks != key[1]
        and any(measured_alike(ours, theirs) for ours in different[key] for theirs in records)
    ]


def _paper_values(line: Line, paper: PaperTable | None) -> dict[str, float | None]:
    return {f"paper_{c.name}": line.paper.get(c.name) for c in paper.columns} if paper else {}


def _section(
    heading: str,
    here: list[tuple[Line, dict[str, Any]]],
    columns: Sequence[str],
    paper: PaperTable | None,
    made: Sequence[Record],
    compared_costs: bool,
) -> Section:
    """Lay out the records of one protocol, one row per variant.

    `compared_costs`: whether the table is of costs too, which every format then shows.
    """
    variants: dict[tuple[Any, ...], tuple[Line, dict[str, dict[str, Any]]]] = {}
    metrics = {name: Column(name, "metric") for name in columns}
    for line, row in here:
        key = (id(line), row.get("recipe_sha256"), row.get("variant_sha256"))
        variants.setdefault(key, (line, {}))[1][row["metric"]] = row
        if row["metric"]:
            title = shown_title(row["metric"], row["title"], made[0].protocol)
            metrics[row["metric"]] = metric_column(title, row["direction"])

    lines = [found for _, found in variants.values()]
    ranked = {metrics[name].name: ranked_rows(lines, name) for name in columns}
    shown, values = [], {}
    for number, (line, found) in enumerate(variants.values()):
        some = next(iter(found.values()))
        nothing = {key: some.get(key) for key in ("status", "error", "work")}
        entry = {"method": line.label, "recipe": cells.recipe(some)}
        for column in paper.columns if paper else ():
            entry[paper_column(column).name] = cells.number(line.paper.get(column.name))
        for name in columns:
            values[number, metrics[name].name] = Measured.of(found.get(name, nothing))
            entry[metrics[name].name] = ""
        shown.append(entry | cells.cost(some, compared_costs))
    for name, rows in ranked.items():
        of_metric = [values[number, name] for number in range(len(lines))]
        more = decimals_apart([one.value for one in of_metric], rows)
        for number, one in enumerate(of_metric):
            values[number, name] = replace(one, more=more)
            shown[number][name] = str(values[number, name])

    labels = _labels([(line.label, next(iter(rows.values()))) for line, rows in variants.values()])
    seeds = () if made and is_study(made[0].protocol) else seeds_notes(labels, values)
    others = other_recipes(line for line, _ in here)
    frame = pd.DataFrame(shown)
    known = [Column("method", "method"), Column("recipe", "recipe"), *metrics.values()]
    known += map(paper_column, paper.columns if paper else ())
    kinds = {column.name: column for column in known}
    return Section(
        heading,
        frame,
        best=frozenset((rows[0], name) for name, rows in ranked.items() if rows),
        second=frozenset((rows[1], name) for name, rows in ranked.items() if len(rows) > 1),
        notes=(*notes(made, columns), *seeds, *others),
        warnings=(*warnings(made), *seeds, *others),
        columns=tuple(
            kinds.get(name) or Column(name, "cost", compared=compared_costs and name in COMPARED)
            for name in frame.columns
        ),
        values=values,
        facts=facts(made),
    )


def _labels(rows: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    """Return a label for each row: its line's, and what tells those of one label apart, recipe and checkpoint."""
    labels = [label for label, _ in rows]
    for of_row in (cells.recipe, cells.checkpoint):
        counts = Counter(labels)
        labels = [
            f"{label} {of_row(row)}" if counts[label] > 1 else label
            for label, (_, row) in zip(labels, rows, strict=True)
        ]
    return labels
