"""The leaderboard of each task: one table for each protocol, which the browser sorts and filters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.report.cells import percent
from bench.report.lines import Line
from bench.report.site.boards import Board, Variant
from bench.report.site.cells import EMPTY, Cell, quoted
from bench.report.site.lines import Placed, fits, owner_of, suites_on
from bench.report.site.pages import Page, Site
from bench.report.site.tables import COST_COLUMNS, Column, Row, Table, not_run_row, values, variant_row
from bench.runs.record import Record
from bench.runs.suites.suite import Suite, SuiteScale

PAPER_COLUMN = {
    "fd": "fid",
    "patch-fd": "patch_fid",
    "fd-teacher": "fid_t",
    "patch-fd-teacher": "patch_fid_t",
    "clip": "clip",
    "diversity": "diversity",
    "pickscore": "pickscore",
    "image-reward": "image_reward",
}
"""The column of a paper's table that is shown beside a metric of ours."""

SAID_ONCE = ("±", "Bold:")
"""Beginnings of the notes that the page says above all tables."""


def pages(site: Site) -> Iterator[Page]:
    """Make one page for each task with records."""
    suites = [site.suite(name) for name in site.suites]
    for task in site.tasks():
        boards = site.boards(task)
        tables = leaderboards([board for board in boards if not board.study], task, suites, site.records)
        studies = [study_table(board) for board in boards if board.study]
        named = [suite for suite in suites if any(scale.task == task for scale in suite.scales.values())]
        shown = {
            "task": task,
            "boards": tables,
            "studies": studies,
            "suites": named,
            "runs": len(site.entries_of(task)) - len(studies),
            "level": " and ".join(sorted({percent(level) for level in site.frame(task)["level"].dropna()})),
        }
        yield Page(f"tasks/{task}.html", "leaderboard.html", f"Leaderboard: {task}", shown)


def leaderboards(
    boards: Sequence[Board], task: str, suites: Sequence[Suite], records: Sequence[Record]
) -> list[Table]:
    """Return a task's tables; a line of a suite that no table has is in the first one that it belongs to."""
    found = list(suites_on(task, suites, records))
    fitting = [[] if board.smoke else [one for one in found if fits(board, one[0])] for board in boards]
    placed = {line.key for board, here in zip(boards, fitting, strict=True) for line in _run(board, here)}
    tables = []
    for board, here in zip(boards, fitting, strict=True):
        missing = {line.key: line for _, lines in here for line in lines if line.key not in placed}
        placed.update(missing)
        tables.append(_table(board, here, list(missing.values()), len(boards)))
    return tables


def _run(board: Board, scales: Sequence[tuple[SuiteScale, list[Placed]]]) -> Iterator[Placed]:
    """Yield the lines of suites to which variants of a board belong."""
    for _, placed in scales:
        lines = [one.line for one in placed]
        owners = {owner_of(variant, lines) for variant in board.variants}
        yield from (one for number, one in enumerate(placed) if number in owners)


def _table(
    board: Board, scales: Sequence[tuple[SuiteScale, list[Placed]]], missing: Sequence[Placed], boards: int
) -> Table:
    names = [metric.name for metric in board.metrics]
    columns, keys = [], []
    for metric in board.metrics:
        columns.append(Column(metric.title, metric.direction))
        keys.append(metric.name)
        if metric.name in PAPER_COLUMN:
            columns.append(Column("Paper", metric.direction, paper=True))
            keys.append(f"paper {metric.name}")

    rows = []
    for place in _ranked(board):
        variant = board.variants[place]
        paper = _paper_cells([line for line in (_line_of(variant, placed) for _, placed in scales) if line])
        cells = values(board, place, names) | paper
        rows.append(variant_row(variant, str(variant.some["method"]), [cells.get(key, EMPTY) for key in keys]))
    rows += [_missing(one, keys) for one in missing]
    heading = f"Protocol {board.protocol.get('name')}"
    several = f" {board.sha256[:8]}, networks {board.networks[:8]}" if boards > 1 else ""
    notes = [note for note in board.notes if not note.startswith(SAID_ONCE)]
    table = Table(
        board.id,
        heading + several,
        [*columns, *COST_COLUMNS],
        rows,
        board.smoke,
        notes,
        board.warnings,
        board.sha256,
        keys_of(board),
    )
    return table.without_empty_columns()


def study_table(board: Board) -> Table:
    """Return the table of a user study: preferences alone, since its cost is that of the run which was shown."""
    against = board.protocol.get("against")
    other = f" against {against.get('method')}" if isinstance(against, Mapping) else ""
    names = [metric.name for metric in board.metrics]
    columns = [Column(metric.title, metric.direction) for metric in board.metrics]
    rows = [
        Row(method, str(variant.some["kind"]), list(values(board, place, names).values()), variant)
        for place, variant in enumerate(board.variants)
        for method in [str(variant.some["method"])]
    ]
    heading = f"{rows[0].label}{other}, study {str(board.protocol.get('study'))[:8]}"
    return Table(
        board.id, heading, columns, rows, False, board.notes, board.warnings, board.sha256, keys_of(board)
    )


def keys_of(board: Board) -> list[tuple[str, str]]:
    """Return every key of a board's protocol, nested ones joined by dots, and the digests of its networks."""
    return [*_flat("", board.protocol), *((f"network: {role}", sha256) for role, sha256 in board.assets.items())]


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}" if name else str(key), inner)
    else:
        yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _missing(one: Placed, keys: Sequence[str]) -> Row:
    """Return the row of a suite's line that was not run, named by its method like the others."""
    paper = _paper_cells([one.line])
    words = Cell("not run", words=True)
    cells = [paper.get(key, EMPTY if key.startswith("paper ") else words) for key in keys]
    overrides = ", ".join(f"{key}={value}" for key, value in one.line.overrides.items())
    return not_run_row(one.line.name, one.line.kind, cells, one.command, overrides)


def _line_of(variant: Variant, placed: Sequence[Placed]) -> Line | None:
    lines = [one.line for one in placed]
    number = owner_of(variant, lines)
    return None if number is None else lines[number]


def _paper_cells(lines: Sequence[Line]) -> dict[str, Cell]:
    """Return the paper's values of lines beside metrics of ours; of several tables, the first counts."""
    found: dict[str, Cell] = {}
    for line in lines:
        for name, column in PAPER_COLUMN.items():
            if column in line.paper:
                found.setdefault(f"paper {name}", quoted(line.paper[column]))
    return found


def _ranked(board: Board) -> list[int]:
    """Return the places of a board's variants: baselines, then students by the first metric, the best first."""
    first = board.metrics[0] if board.metrics else None
    sign = -1 if first and first.direction == "higher" else 1

    def key(place: int) -> tuple[bool, bool, float]:
        variant = board.variants[place]
        value = variant.value(first.name) if first else None
        return variant.some["kind"] != "baseline", value is None, sign * (value or 0.0)

    return sorted(range(len(board.variants)), key=key)
