"""The page of each run: what it measured, what it looks like, how it trained, and how to repeat it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from bench.core.errors import UserError
from bench.metrics.result import MetricResult
from bench.metrics.titles import NO_SPREAD, TIMES, UNSCALED_KID, shown_name, shown_title
from bench.report.cells import NOTHING, header
from bench.report.comparison.comparing import UNSCALED_WHY
from bench.report.measured import Measured, decimals, ends_of
from bench.report.notes import alarm_text
from bench.report.progress import read_progress
from bench.report.site.boards import Board
from bench.report.site.charts import as_file
from bench.report.site.curves import curves_of
from bench.report.site.entries import Entry
from bench.report.site.pages import Asset, Page, Site
from bench.report.site.pictures import Picture
from bench.report.summary import standard_error
from bench.runs.recipes import FilledRecipes
from bench.runs.record import Record, is_study
from bench.runs.repeat import command_of

MOST_LINKS = 8
"""Links to other seeds of the same recipe; the leaderboard has all."""


def pages(site: Site) -> Iterator[Page | Asset]:
    """Make a page for each record, and the charts of those whose training log was kept."""
    filled = FilledRecipes()
    for task in site.tasks():
        places = {
            entry.name: (board, variant.entries)
            for board in site.boards(task)
            for variant in board.variants
            for entry in variant.entries
        }
        for entry in site.entries_of(task):
            board, alike = places[entry.name]
            if board.study:
                yield _study_page(site, entry, board)
                continue
            charts = _charts(site, entry)
            metrics = [_measured(metric, entry.record) for metric in entry.record.metrics]
            for href, _, svg in charts:
                yield Asset(href, as_file(svg).encode())
            values = {
                "entry": entry,
                "record": entry.record,
                "board": _address(board),
                "metrics": metrics,
                "errors": any(metric["error"] for metric in metrics),
                "settings": _settings(entry.record, filled),
                "alarms": [alarm_text(note) for note in entry.record.alarms],
                "charts": [(href, title, _size(svg)) for href, title, svg in charts],
                "sheet": site.picture(entry),
                "teacher": teacher_of(site, entry),
                "command": command_of(entry.record),
                "alike": [other for other in alike if other is not entry],
                "most": MOST_LINKS,
            }
            yield Page(entry.page, "run.html", title_of(entry.record), values)


def title_of(record: Record) -> str:
    """Return a record's title: its method, task and training seed, and whether it is of a user study."""
    seed = "" if record.train_seed is None else f", seed {record.train_seed}"
    study = "User study: " if is_study(record.protocol) else ""
    return f"{study}{record.method.name} on {record.task}{seed}"


def _address(board: Board) -> str:
    """Return the address of a board from the site's root."""
    return f"tasks/{quote(board.task)}.html#{board.id}"


def _study_page(site: Site, entry: Entry, board: Board) -> Page:
    """Return the page of a user study: preferences, and the run whose images were shown."""
    weights = entry.record.checkpoint and entry.record.checkpoint.sha256
    shown = [
        other
        for other in site.entries_of(entry.record.task)
        if not is_study(other.record.protocol)
        and (other.record.method.name, other.record.train_seed)
        == (entry.record.method.name, entry.record.train_seed)
        and (other.record.checkpoint and other.record.checkpoint.sha256) == weights
    ]
    values = {
        "entry": entry,
        "record": entry.record,
        "board": _address(board),
        "metrics": [_measured(metric, entry.record) for metric in entry.record.metrics],
        "shown": shown,
        "notes": board.notes,
    }
    return Page(entry.page, "study.html", title_of(entry.record), values)


def teacher_of(site: Site, entry: Entry) -> tuple[Entry, Picture] | None:
    """Return the teacher's sampler with the same noise, and its sheet; a deterministic one if there is one."""
    own = site.picture(entry)
    if own is None or entry.record.kind == "baseline":
        return None
    found = [
        (bool(other.record.sampler.get("churn")), other.record.method.name, other.name, other, sheet)
        for other in site.entries_of(entry.record.task)
        if other.record.kind == "baseline"
        and (sheet := site.picture(other)) is not None
        and sheet.info.noise == own.info.noise
    ]
    return min(found)[3:] if found else None


def _measured(metric: MetricResult, record: Record) -> dict[str, Any]:
    """Return the cells of one metric, on the scale of tables and with their number of decimals."""
    name = shown_name(metric.name, record.protocol)
    title = header(shown_title(metric.name, metric.title, record.protocol), metric.direction)
    if name == UNSCALED_KID:
        return {"title": title, "left_out": UNSCALED_WHY, "error": ""}
    times = TIMES.get(name, 1)
    value, low, high = (None if n is None else times * n for n in (metric.value, metric.low, metric.high))
    one = Measured(value=value)
    error = standard_error(metric)
    interval = ""
    if value is not None and low is not None and high is not None:
        interval = " to ".join(ends_of(low, high, decimals(value))) if low < high else NO_SPREAD
    return {
        "title": title,
        "left_out": "",
        "value": str(one),
        "interval": interval or NOTHING,
        "each": " · ".join(one.format(times * value) for value in metric.values),
        "error": "" if error is None else one.format(times * error),
    }


def _settings(record: Record, filled: FilledRecipes) -> list[tuple[str, str, str, bool]]:
    """Return what differs from the default: name, value, default, and whether the user set it."""
    method = record.method
    defaults = filled.class_defaults(method)
    own = [name for name in method.recipe if name in method.passed]
    of_task = [
        name for name, value in method.recipe.items() if name not in method.passed and defaults.get(name) != value
    ]
    return [
        (name, _shown(method.recipe[name]), _shown(defaults[name]) if name in defaults else NOTHING, name in own)
        for name in (*own, *of_task)
    ]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _charts(site: Site, entry: Entry) -> list[tuple[str, str, str]]:
    """Return the address, title and SVG of each chart; a log that cannot be read is a problem of the site."""
    if entry.evidence.curves is None:
        return []
    try:
        log = read_progress(entry.evidence.curves)
    except UserError as error:
        site.problems.append(f"{error}; its curves are left out of the site")
        return []
    return [(f"pictures/{entry.name}-{chart.name}.svg", chart.title, chart.svg) for chart in curves_of(log)]


def _size(svg: str) -> Mapping[str, str]:
    """Return the size that an SVG gives itself, so that a page does not jump while it is loaded."""
    head = svg[: svg.index(">")]
    return {name: head.split(f'{name}="')[1].split('"')[0] for name in ("width", "height")}
