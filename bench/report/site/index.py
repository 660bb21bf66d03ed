"""The first page: what there is, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.report.lines import suite_lines
from bench.report.site.lines import fits, owner_of
from bench.report.site.pages import Page, Site
from bench.runs.record import is_study
from bench.runs.suites.suite import Suite, SuiteScale


@dataclass(frozen=True)
class TaskLine:
    """What there is of a task."""

    name: str
    runs: int
    """Records but for those of user studies."""
    failed: int
    methods: int
    samplers: int
    studies: int
    """User studies."""
    protocols: str
    newest: str
    """Day of its newest record."""


@dataclass(frozen=True)
class ScaleLine:
    """How much of a suite was run at one scale."""

    name: str
    task: str
    run: int
    lines: int


def pages(site: Site) -> Iterator[Page]:
    """Make the first page."""
    suites = [(suite, _scales(site, suite)) for suite in map(site.suite, site.suites)]
    tasks = [_task(site, task) for task in site.tasks()]
    values = {"tasks": tasks, "suites": suites, "runs": sum(one.runs for one in tasks)}
    yield Page("index.html", "index.html", "Results of few-step diffusion distillation", values)


def _task(site: Site, task: str) -> TaskLine:
    everything = [entry.record for entry in site.entries_of(task)]
    records = [record for record in everything if not is_study(record.protocol)]
    protocols = dict.fromkeys(
        f"{board.protocol.get('name')}{' (smoke: no results)' if board.smoke else ''}"
        for board in site.boards(task)
        if not board.study
    )
    return TaskLine(
        task,
        len(records),
        sum(record.status == "failed" for record in records),
        len({record.method.name for record in records if record.kind == "method"}),
        len({record.method.name for record in records if record.kind == "baseline"}),
        len(everything) - len(records),
        ", ".join(protocols),
        max(record.provenance.created for record in everything)[:10],
    )


def _scales(site: Site, suite: Suite) -> list[ScaleLine]:
    return [_scale(site, suite, scale) for scale in site.scales(suite)]


def _scale(site: Site, suite: Suite, scale: SuiteScale) -> ScaleLine:
    every = suite_lines(scale, suite.paper_table(), site.records)
    lines = [line for line in every if line.kind != "quoted" and not line.differs]
    boards = [board for board in site.boards(scale.task) if fits(board, scale) and not board.smoke]
    run = {owner_of(variant, lines) for board in boards for variant in board.variants} - {None}
    return ScaleLine(scale.name, scale.task, len(run), len(lines))
