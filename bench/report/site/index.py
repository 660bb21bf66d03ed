"""The first page: what there is, and where."""

from __future__ import annotations

from collections.abc import Iterator

from bench.report.site.pages import Page, Site


def pages(site: Site) -> Iterator[Page]:
    """Make the first page."""
    tasks = [
        {"name": task, "records": [entry for entry in site.entries if entry.record.task == task]}
        for task in site.tasks()
    ]
    yield Page("index.html", "index.html", "Results", {"tasks": tasks})
