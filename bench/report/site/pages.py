"""What the site is made of: pages, which are templates with their values, and files such as pictures and data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from bench import __version__
from bench.core.errors import UserError
from bench.core.escape import printable
from bench.report.site.boards import Board, boards_of
from bench.report.site.entries import Entry
from bench.report.site.pictures import Picture, picture_of
from bench.report.summary import tidy
from bench.runs.recipes import FilledRecipes
from bench.runs.record import Record
from bench.runs.registry import Catalogue, load_catalogue
from bench.runs.suites.reading import load_suite
from bench.runs.suites.settled import settled
from bench.runs.suites.suite import Suite, SuiteScale
from bench.runs.tuning.record import Tuning

MOST_SEEDS = 12
"""A row of a table links to at most this many runs, and counts the others."""
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Chart:
    """A chart on a page."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Page:
    """One page: a template and the values that it shows."""

    path: str
    """Path from the site's root, such as `tasks/fashion.html`."""
    template: str
    title: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def context(self) -> dict[str, Any]:
        """Return the template's values, with `root`, the address of the site's root from this page."""
        return {**self.values, "title": self.title, "root": "../" * self.path.count("/")}


@dataclass(frozen=True)
class Asset:
    """A file that is copied as it is."""

    path: str
    content: bytes


@dataclass
class Site:
    """The records that a site shows, what follows from them (made once), and the choice of its parts."""

    entries: Sequence[Entry]
    runs: Path = Path("runs")
    """The folder of this machine's runs, for what is under way."""
    suites: Sequence[str] = ()
    """Names of the suites that get a page, and paths of a user's own."""
    only: Collection[str] = ()
    """The tasks to which the site is limited; none: all."""
    problems: list[str] = field(default_factory=list)
    """One line for each file that cannot be shown; parts add to it."""
    plugins: Sequence[Path] = ()
    """Plug-in files with methods and tasks of the suites."""
    tunings: Sequence[Tuning] = ()
    """Those of other people's records, for suites that neither this machine nor the package has tuned."""
    elsewhere: Sequence[Record] = ()
    """Records of tasks that are not shown: students of shown ones may start from theirs."""
    _frames: dict[str, pd.DataFrame] = field(default_factory=dict, init=False)
    _boards: dict[str, list[Board]] = field(default_factory=dict, init=False)
    _suites: dict[str, Suite] = field(default_factory=dict, init=False)
    _pictures: dict[str, Picture | None] = field(default_factory=dict, init=False)

    @property
    def newest(self) -> str:
        """The day of the newest record, or an empty text."""
        return max((entry.record.provenance.created for entry in self.entries), default="")[:10]

    @cached_property
    def catalogue(self) -> Catalogue:
        """All that is installed, and what the plug-in files define."""
        return load_catalogue(self.plugins)

    def tasks(self) -> list[str]:
        """Return the names of the tasks with records, sorted."""
        return sorted(self._by_task)

    def scales(self, suite: Suite) -> list[SuiteScale]:
        """Return the scales of a suite that are shown: on another task, all would look as if it were not run."""
        return [scale for scale in suite.scales.values() if not self.only or scale.task in self.only]

    def suite(self, name: str) -> Suite:
        """Read a suite, with all that it decides for its rows."""
        if name not in self._suites:
            found = load_suite(name)
            scales = {
                scale.name: settled(scale, self.catalogue, self.runs, others=self.tunings)
                for scale in found.scales.values()
            }
            self._suites[name] = replace(found, scales=scales)
        return self._suites[name]

    @cached_property
    def records(self) -> list[Record]:
        """All records, also those of tasks that are not shown."""
        return [*(entry.record for entry in self.entries), *self.elsewhere]

    def entries_of(self, task: str) -> list[Entry]:
        """Return the entries of a task."""
        return self._by_task.get(task, [])

    def frame(self, task: str) -> pd.DataFrame:
        """Return a task's tidy frame (bench.report.summary), where `line` is the place in `entries_of(task)`."""
        if task not in self._frames:
            places = {id(entry.record): place for place, entry in enumerate(self.entries_of(task))}
            records = [entry.record for entry in self.entries_of(task)]
            self._frames[task] = tidy(
                records, lambda record: places[id(record)], FilledRecipes.among(self.records)
            )
        return self._frames[task]

    def boards(self, task: str) -> list[Board]:
        """Return the boards of a task; a task without records has none."""
        if task not in self._boards:
            found = boards_of(task, self.entries_of(task), self.frame(task)) if task in self._by_task else []
            self._boards[task] = found
        return self._boards[task]

    def picture(self, entry: Entry) -> Picture | None:
        """Return an entry's sample sheet; None if it has none, or one that cannot be read, which is a problem."""
        if entry.name not in self._pictures:
            self._pictures[entry.name] = self._read_picture(entry)
        return self._pictures[entry.name]

    def _read_picture(self, entry: Entry) -> Picture | None:
        try:
            return picture_of(entry.evidence.sheet) if entry.evidence.sheet else None
        except UserError as error:
            self.problems.append(f"{error}; left out of the site")
            return None

    @cached_property
    def _by_task(self) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        for entry in self.entries:
            found.setdefault(entry.record.task, []).append(entry)
        return found


def environment(site: Site) -> jinja2.Environment:
    """Return the templates. Every value is escaped for HTML, and its control characters are written out."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
        auto_reload=False,
    )
    made.globals.update(version=__version__, newest=site.newest, most_seeds=MOST_SEEDS)
    return made


def _harmless(value: Any) -> Any:
    """Write out the control characters and direction marks of text; markup of ours stays as it is."""
    return printable(value, lines=True) if isinstance(value, str) and not isinstance(value, Markup) else value


def file_of(folder: Path, path: str) -> Path:
    """Return a file's place in a folder, whose parents are made."""
    found = folder / path
    found.parent.mkdir(parents=True, exist_ok=True)
    return found
