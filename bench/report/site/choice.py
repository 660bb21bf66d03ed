"""What a site shows: the records of this machine, those of the package, and folders and bundles of others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.core.errors import UserError, listed, unknown, without_fix
from bench.report.site.entries import read_entries
from bench.report.site.pages import Site
from bench.runs.packing.bundles import is_bundle, opened
from bench.runs.records import record_files
from bench.runs.result_files import RESULTS
from bench.runs.suites.reading import load_suite, suite_names
from bench.runs.tuning.record import read_tunings


@contextlib.contextmanager
def chosen_site(
    runs: Path,
    committed: bool,
    paths: Sequence[Path],
    suites: Sequence[str],
    tasks: Sequence[str],
    plugins: Sequence[Path] = (),
) -> Iterator[Site]:
    """Yield the site of these records; those that cannot be read are its first problems.

    `paths` are folders of runs or of records, and bundles, which are unpacked for as long as the site is made.
    Named suites and tasks leave out all others; `plugins` are files with the methods and tasks of suites. Raises
    UserError for unknown names and where nothing is left.
    """
    with contextlib.ExitStack() as stack:
        others = {stack.enter_context(_folder_of(path)): path for path in paths}
        folders = [runs, *others, *([RESULTS / "records"] if committed else [])]
        site = _site([folder for folder in folders if folder.is_dir()], runs, suites, tasks, plugins)
        for folder in others:
            tunings, problems = read_tunings(folder)
            site.tunings = [*site.tunings, *tunings]
            site.problems += problems
        yield site
        site.problems[:] = [_told(problem, others) for problem in site.problems]


def _told(problem: str, others: Mapping[Path, Path]) -> str:
    """Return a problem with the path that the user named, not the temporary folder to which it was unpacked."""
    for folder, path in others.items():
        if folder != path and str(folder.parent) in problem:  # tunings lie beside the folder of records
            named = problem.replace(str(folder), str(path)).replace(str(folder.parent), str(path))
            return f"{without_fix(named)}; left out of the site; fix: correct it in {path}, or leave it out"
    return problem


@contextlib.contextmanager
def _folder_of(path: Path) -> Iterator[Path]:
    """Yield the folder in which a path's records are found. Raises UserError if there can be none."""
    if path.is_dir() and any(record_files(path)):
        yield path
    elif path.is_dir() or is_bundle(path):
        with opened(path) as folder:
            yield folder
    else:
        raise UserError(f"{path} is no folder of records and no bundle; fix: name a folder or a .zip file")


def _site(
    folders: Sequence[Path], runs: Path, suites: Sequence[str], tasks: Sequence[str], plugins: Sequence[Path]
) -> Site:
    found = read_entries(folders)
    recorded = {entry.record.task for entry in found.entries}
    for task in tasks:
        if task not in recorded:
            raise unknown("task with records", task, recorded)
    chosen = {name: load_suite(name) for name in (suites or suite_names())}
    pages: dict[str, str] = {}
    for name, suite in chosen.items():
        if pages.setdefault(suite.name, name) != name:
            raise UserError(f"two suites are called {suite.name}: {pages[suite.name]} and {name}; fix: rename one")
    only = set(tasks) or (
        {scale.task for suite in chosen.values() for scale in suite.scales.values()} if suites else set()
    )
    entries = [entry for entry in found.entries if not only or entry.record.task in only]
    elsewhere = [entry.record for entry in found.entries if only and entry.record.task not in only]
    if not entries:
        raise UserError(f"no records in {runs} to show; fix: bench run --method dmd2 --task digits")
    site = Site(entries, runs, (), only, found.problems, plugins, elsewhere=elsewhere)
    site.suites = [name for name, suite in chosen.items() if site.scales(suite)]
    for name in set(suites) - set(site.suites):
        raise UserError(f"suite {name} has nothing on {listed(tasks)}; fix: leave out --task")
    return site
