"""The leaderboard of each task: one table for each protocol, which the browser sorts and filters."""

from __future__ import annotations

from collections.abc import Iterator

from bench.report.site.pages import Page, Site


def pages(site: Site) -> Iterator[Page]:
    """Make one page for each task."""
    for task in site.tasks():
        yield Page(f"tasks/{task}.html", "leaderboard.html", task, {"task": task, "boards": site.boards(task)})
