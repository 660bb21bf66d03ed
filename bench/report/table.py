"""Tables of results: the paper's value beside ours, one table per protocol, nothing left out silently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.records import Record
from bench.report import cells
from bench.report.notes import notes
from bench.report.summary import networks_sha256, summarise, tidy
from bench.suites import PaperTable, Suite

__all__ = ["ReportTable", "Section", "suite_table", "task_table", "tidy"]

_COUNTS = (
    *("n_seeds", "n_failed", "nfe", "iterations_low", "iterations_high", "generator_updates_low"),
    *("generator_updates_high", "generated_images_low", "generated_images_high", "peak_memory_bytes"),
)
_CSV = (
    *("label", "task", "protocol", "protocol_sha256", "smoke", "kind", "method", "passed", "recipe_sha256"),
    *("selection", "weights", "variant_sha256", "status", "error", "metric", "direction"),
    *("value", "std", "low", "high", "level", "interval", "seeds", *_COUNTS, "train_seconds"),
)


@dataclass(frozen=True)
class Section:
    """The part of a table that was measured under one protocol."""

    heading: str
    cells: pd.DataFrame
    """Text, as shown to people."""
    best: frozenset[tuple[int, str]]
    """Row and column of the best trained student of each metric."""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ReportTable:
    """A compiled table."""

    title: str
    sections: tuple[Section, ...]
    """One per protocol: numbers of different protocols are never averaged, nor shown in one column."""
    data: pd.DataFrame
    """The same rows for machines: one per line, variant and metric, in full precision; seconds and bytes."""


@dataclass(frozen=True)
class _Line:
    """A method or baseline that the table has to show, recorded or not."""

    kind: str
    method: str
    label: str
    paper: dict[str, float]


def suite_table(
    suite: Suite, paper: PaperTable | None, records: Sequence[Record], scale: str, task: str | None = None
) -> ReportTable:
    """Compile a suite's table from the records of `task`, by default the task of the suite's scale.

    Raise UserError for an unknown scale or row of the paper.
    """
    task = task or suite.task(scale)
    lines = [_Line("baseline", name, name, {}) for name in suite.baselines]
    for row in suite.rows:
        values = paper.row(row.paper_row).values if paper and row.paper_row else {}
        lines.append(_Line("method", row.method, row.label, values))
    return _compile(f"{suite.title}: {task}", lines, suite.columns, paper, records, task)


def task_table(records: Sequence[Record], task: str) -> ReportTable:
    """Compile everything that was recorded for a task, baselines first, whoever wrote the method."""
    found = dict.fromkeys((r.kind, r.method.name) for r in records if r.task == task)
    lines = [_Line(kind, name, name, {}) for kind, name in sorted(found)]
    columns = tuple(dict.fromkeys(m.name for r in records if r.task == task for m in r.metrics))
    return _compile(f"All results: {task}", lines, columns, None, records, task)


def _compile(
    title: str,
    lines: Sequence[_Line],
    columns: Sequence[str],
    paper: PaperTable | None,
    records: Sequence[Record],
    task: str,
) -> ReportTable:
    names = {(line.kind, line.method) for line in lines}
    used = [r for r in records if r.task == task and (r.kind, r.method.name) in names]
    summary = summarise(tidy(used)).to_dict("records")
    by_protocol: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in sorted(summary, key=lambda row: (row["smoke"], row["protocol"])):
        by_protocol.setdefault((row["protocol_sha256"], row["networks_sha256"]), []).append(row)

    sections, data = [], []
    for key, rows in (by_protocol or {("", ""): []}).items():
        here = [(line, row) for line in lines for row in _rows(line, rows, task)]
        made = [r for r in used if (r.protocol_sha256, networks_sha256(r)) == key]
        heading = _heading(rows[0], len(by_protocol)) if rows else "No records yet"
        shown, best = _cells(here, columns, paper)
        sections.append(Section(heading, shown, best, tuple(notes(made))))
        data += [row | {"label": line.label} | _paper_values(line, paper) for line, row in here]
    paper_columns = [f"paper_{column.name}" for column in paper.columns] if paper else []
    frame = pd.DataFrame(data, columns=[*_CSV, *paper_columns]).astype(dict.fromkeys(_COUNTS, "Int64"))
    return ReportTable(title, tuple(sections), frame)


def _rows(line: _Line, rows: list[dict[str, Any]], task: str) -> list[dict[str, Any]]:
    """The summary rows of one line; a line without any has one row whose status is missing."""
    missing = {"task": task, "kind": line.kind, "method": line.method, "status": "missing", "metric": ""}
    if rows:
        missing |= {key: rows[0][key] for key in ("protocol", "protocol_sha256", "networks_sha256", "smoke")}
    return [row for row in rows if (row["kind"], row["method"]) == (line.kind, line.method)] or [missing]


def _heading(row: dict[str, Any], protocols: int) -> str:
    smoke = ", a smoke protocol: these numbers are not results" if row["smoke"] else ""
    several = (
        f", networks {row['networks_sha256'][:8]} (1 of {protocols} tables: never compare across them)"
        if protocols > 1
        else ""
    )
    return f"Protocol {row['protocol']} {row['protocol_sha256'][:12]}{smoke}{several}"


def _paper_values(line: _Line, paper: PaperTable | None) -> dict[str, float | None]:
    return {f"paper_{c.name}": line.paper.get(c.name) for c in paper.columns} if paper else {}


def _cells(
    here: list[tuple[_Line, dict[str, Any]]], columns: Sequence[str], paper: PaperTable | None
) -> tuple[pd.DataFrame, frozenset[tuple[int, str]]]:
    """Lay out one row per variant; return it with the best cells."""
    variants: dict[tuple[Any, ...], tuple[_Line, dict[str, dict[str, Any]]]] = {}
    headers = {name: name for name in columns}
    for line, row in here:
        key = (line.kind, line.method, row.get("recipe_sha256"), row.get("variant_sha256"))
        variants.setdefault(key, (line, {}))[1][row["metric"]] = row
        if row["metric"]:
            headers[row["metric"]] = cells.header(row["title"], row["direction"])

    shown = []
    for line, metrics in variants.values():
        some = next(iter(metrics.values()))
        nothing = {"status": some["status"], "error": some.get("error")}
        entry = {"method": line.label, "recipe": cells.recipe(some)}
        for column in paper.columns if paper else ():
            entry[f"paper {column.title}"] = cells.number(line.paper.get(column.name))
        for name in columns:
            entry[headers[name]] = cells.measured(metrics.get(name, nothing))
        shown.append(entry | cells.cost(some))
    lines = [metrics for _, metrics in variants.values()]
    best = {(number, headers[name]) for name in columns for number in _best(lines, name)}
    return pd.DataFrame(shown), frozenset(best)


def _best(lines: list[dict[str, dict[str, Any]]], name: str) -> list[int]:
    """The rows whose trained student is best; a checkpoint chosen by the test metric does not compete."""
    found = {number: metrics[name] for number, metrics in enumerate(lines) if name in metrics}
    rivals = {
        number: row["value"] if row["direction"] == "lower" else -row["value"]
        for number, row in found.items()
        if row["kind"] == "method" and row["selection"] != "best-by-test-metric" and pd.notna(row["value"])
    }
    return [number for number, value in rivals.items() if value == min(rivals.values())]
