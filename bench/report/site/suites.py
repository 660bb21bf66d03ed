"""The page of each suite: its tables at every scale beside the paper's values, and its curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.metrics import catalogue
from bench.report.budget import over_budget
from bench.report.cells import header
from bench.report.lines import Assigned, Line, left_out, of_other_protocols, other_recipes, suite_lines
from bench.report.ranking import best_rows
from bench.report.site.boards import Board, Variant
from bench.report.site.cells import EMPTY, Cell, quoted
from bench.report.site.lines import fits, owner_of
from bench.report.site.pages import Chart, Page, Site
from bench.report.site.suite_charts import curve_charts, interval_charts
from bench.report.site.tables import (
    COST_COLUMNS,
    Column,
    Row,
    Table,
    more_decimals,
    not_run_row,
    value,
    variant_row,
)
from bench.report.todo import Left, command, left_of, pending_of
from bench.runs.record import is_study
from bench.runs.states.pending import StateLookup
from bench.runs.suites.paper_tables import PaperColumn, PaperTable
from bench.runs.suites.suite import Suite, SuiteScale


@dataclass(frozen=True)
class Part:
    """A suite at one scale."""

    scale: SuiteScale
    tables: Sequence[Table]
    charts: Sequence[Chart]
    curves: bool
    """Whether any of the charts is of curves."""
    left: Sequence[Left]
    """What is missing, and the commands that make it."""
    notes: Sequence[str]
    """What exceeds its budget, and the results of its methods that are on no line."""
    samplers_apart: bool
    """Whether samplers are left to the task's page: of networks or protocols that no student of the suite has."""

    @property
    def any_run(self) -> bool:
        """Whether anything was run."""
        return any(row.variant for table in self.tables for row in table.rows)


def pages(site: Site) -> Iterator[Page]:
    """Make one page for each suite."""
    from bench.jobs.run_states import state_lookup

    lookup = state_lookup(site.runs)
    for name in site.suites:
        suite = site.suite(name)
        paper = suite.paper_table()
        parts = [part_of(site, suite, paper, scale, lookup) for scale in site.scales(suite)]
        yield Page(
            f"suites/{suite.name}.html",
            "suite.html",
            suite.title,
            {"suite": suite, "paper": paper, "parts": parts},
        )


def part_of(site: Site, suite: Suite, paper: PaperTable | None, scale: SuiteScale, lookup: StateLookup) -> Part:
    """Return a suite at one scale, from the records of the scale's task."""
    lines = suite_lines(scale, paper, site.records)
    every = [(board, _owned(board, lines)) for board in site.boards(scale.task) if fits(board, scale)]
    found = [one for one in every if _has_students(one[1])] or every
    tables = [
        _table(scale, paper, lines, board, owned, first=number == 0)
        for number, (board, owned) in enumerate((board, owned) for board, owned in found if owned)
    ]
    pending = pending_of(scale, site.runs, lookup)
    records = [entry.record for entry in site.entries_of(scale.task) if not is_study(entry.record.protocol)]
    assigned = Assigned.to(lines, records)
    left = left_of(assigned, scale, pending)
    notes = [over_budget(scale, assigned), left_out(assigned), of_other_protocols(assigned, scale.protocol)]
    curves = list(curve_charts(site, suite.curves, lines, [owned for _, owned in found]))
    charts = [*curves, *interval_charts(scale, tables)]
    tables = tables or [_table(scale, paper, lines, None, {}, first=True)]
    apart = sum(bool(owned) for _, owned in every) > sum(bool(owned) for _, owned in found)
    return Part(scale, tables, charts, bool(curves), left, list(filter(None, notes)), apart)


def _has_students(owned: Mapping[int, Sequence[Variant]]) -> bool:
    """Whether any line of a suite has a student, and not samplers alone."""
    return any(variant.some["kind"] == "method" for variants in owned.values() for variant in variants)


def _owned(board: Board, lines: Sequence[Line]) -> dict[int, list[Variant]]:
    """Return the variants of a board by the line that they belong to."""
    owned: dict[int, list[Variant]] = {}
    for variant in board.variants:
        number = owner_of(variant, lines)
        if number is not None:
            owned.setdefault(number, []).append(variant)
    return owned


def _table(
    scale: SuiteScale,
    paper: PaperTable | None,
    lines: Sequence[Line],
    board: Board | None,
    owned: Mapping[int, Sequence[Variant]],
    first: bool,
) -> Table:
    """Return one table; lines without a record are in the first table of the scale."""
    columns = [
        Column(f"Paper: {header(one.title, one.direction)}", one.direction, True) for one in paper_columns(paper)
    ]
    columns += [_column(name, board) for name in scale.columns]
    variants = [(line, variant) for number, line in enumerate(lines) for variant in owned.get(number, ())]
    shown = [dict(variant.metrics) for _, variant in variants]
    best = {name: best_rows(shown, name) for name in scale.columns}
    more = {name: more_decimals([variant for _, variant in variants], name, best[name]) for name in best}
    rows = {}
    for place, (line, variant) in enumerate(variants):
        cells = [value(variant, name, place in best[name], more[name]) for name in scale.columns]
        rows[id(variant)] = variant_row(variant, line.label, [*_paper_cells(paper, line), *cells])
    ordered: list[Row] = []
    for number, line in enumerate(lines):
        if number in owned:
            ordered += [rows[id(variant)] for variant in owned[number]]
        elif first and not line.differs:
            ordered.append(_empty(scale, paper, line))
    protocol = f"Protocol {board.protocol.get('name')}" if board else scale.task
    table = Table(
        f"{scale.name}-{board.id if board else 'none'}",
        protocol,
        [*columns, *COST_COLUMNS],
        ordered,
        board.smoke if board else False,
        warnings=[*(board.warnings if board else ()), *other_recipes(lines[number] for number in owned)],
    )
    return table.without_empty_columns()


def _column(name: str, board: Board | None) -> Column:
    """Return the column of a metric, by the heading of the recorded one where there is any."""
    for metric in board.metrics if board else ():
        if metric.name == name:
            return Column(metric.title, metric.direction)
    info = next((found for found in vars(catalogue).values() if getattr(found, "name", "") == name), None)
    return Column(header(info.title, info.direction), info.direction) if info else Column(name)


def _empty(scale: SuiteScale, paper: PaperTable | None, line: Line) -> Row:
    """Return the row of a line without a record; a row of the paper alone has nothing to run."""
    chosen = "" if line.kind == "quoted" else command(line, scale.seeds, scale)
    words = EMPTY if line.kind == "quoted" else Cell("not run", words=True)
    return not_run_row(line.label, line.kind, [*_paper_cells(paper, line), *[words] * len(scale.columns)], chosen)


def _paper_cells(paper: PaperTable | None, line: Line) -> list[Cell]:
    return [quoted(line.paper.get(column.name)) for column in paper_columns(paper)]


def paper_columns(paper: PaperTable | None) -> Sequence[PaperColumn]:
    """Return the columns of a table of the paper; none where the paper prints no values."""
    return paper.columns if paper else ()
