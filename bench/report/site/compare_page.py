"""The page that compares runs in the browser: the list to choose from, and the facts that records do not hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from markupsafe import Markup

from bench.metrics.titles import TIMES, UNSCALED_KID, shown_name, shown_title
from bench.report.cells import header
from bench.report.comparison.comparing import ASSUMPTIONS, UNSCALED_WHY
from bench.report.site.entries import Entry
from bench.report.site.pages import Page, Site
from bench.runs.recipes import FilledRecipes
from bench.runs.record import is_study


def pages(site: Site) -> Iterator[Page]:
    """Make the page; the records that it compares come from the tasks' data files, and are of no user study."""
    compared = [entry for entry in site.entries if not is_study(entry.record.protocol)]
    tasks: dict[str, list[tuple[str, str]]] = {}
    for entry in sorted(compared, key=lambda entry: entry.record.task):
        tasks.setdefault(entry.record.task, []).append((entry.name, label_of(entry)))
    facts = {
        "times": TIMES,
        "headings": headings(compared),
        "defaults": added_defaults(compared),
        "assumptions": ASSUMPTIONS,
        "leftOut": {UNSCALED_KID: UNSCALED_WHY},
    }
    yield Page(
        "compare.html", "compare.html", "Compare runs", {"tasks": tasks.items(), "facts": script_json(facts)}
    )


def label_of(entry: Entry) -> str:
    """Return the words of a run in lists: method, seed, and the user's overrides."""
    method, seed = entry.record.method, entry.record.train_seed
    passed = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in method.passed.items()]
    failed = ["failed"] if entry.record.status == "failed" else []
    return ", ".join([method.name, *([] if seed is None else [f"seed {seed}"]), *passed, *failed])


def headings(entries: Iterable[Entry]) -> dict[str, str]:
    """Return the heading of each metric, by the protocol's digest and the metric's name."""
    found = {}
    for record in (entry.record for entry in entries):
        for metric in record.metrics:
            title = shown_title(metric.name, metric.title, record.protocol)
            key = f"{record.protocol_sha256} {shown_name(metric.name, record.protocol)}"
            found[key] = header(title, metric.direction)
    return found


def added_defaults(entries: Iterable[Entry]) -> dict[str, dict[str, Any]]:
    """Return the defaults of values that some recorded recipes lack, by method and class.

    Such values were added to the method later, and the defaults are the behaviour before (bench.runs.recipes).
    """
    filled = FilledRecipes()
    found: dict[str, dict[str, Any]] = {}
    for method in (entry.record.method for entry in entries):
        lacking = filled.class_defaults(method).items()
        added = {name: value for name, value in lacking if name not in method.recipe}
        if added:
            found.setdefault(f"{method.name} {method.distiller}", {}).update(added)
    return found


def script_json(values: Any) -> Markup:
    """Return JSON for a script element: nothing in it can end the element."""
    return Markup(json.dumps(values).replace("<", "\\u003c"))
