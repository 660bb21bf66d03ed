"""What a site shows: the records of this machine, those of the package, and what else is named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.core.errors import UserError, unknown
from bench.report.site.entries import read_entries
from bench.report.site.pages import Site
from bench.runs.suites import RESULTS, load_suite, suite_names


def read_site(
    runs: Path, committed: bool, paths: Sequence[Path], suites: Sequence[str], tasks: Sequence[str]
) -> Site:
    """Return the site of these records; those that cannot be read are its first problems.

    Named suites and tasks leave out all others. Raises UserError for unknown names and if there are no records.
    """
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise UserError(f"{missing[0]} does not exist; fix: name a record, a folder of records or a bundle")
    folders = [runs, *paths, *([RESULTS / "records"] if committed else [])]
    found = read_entries(folder for folder in folders if folder.is_dir())
    recorded = {entry.record.task for entry in found.entries}
    for task in tasks:
        if task not in recorded:
            raise unknown("task with records", task, recorded)
    chosen = [load_suite(name) for name in (suites or suite_names())]
    only = set(tasks) or ({scale.task for suite in chosen for scale in suite.scales.values()} if suites else set())
    entries = [entry for entry in found.entries if not only or entry.record.task in only]
    if not entries:
        raise UserError(f"no records in {runs} to show; fix: bench run --method dmd2 --task digits")
    site = Site(entries, runs, (), only, found.problems)
    site.suites = [suite.name for suite in chosen if site.scales(suite)]
    return site
