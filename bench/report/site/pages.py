"""What the site is made of: pages, which are templates with their values, and files such as pictures and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from bench import __version__
from bench.core.escape import printable
from bench.report.site.boards import Board, boards_of
from bench.report.site.entries import Entry

TEMPLATES = Path(__file__).parent / "templates"


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


@dataclass(frozen=True)
class Site:
    """The records that a site shows, and the choice of its parts."""

    entries: Sequence[Entry]
    runs: Path = Path("runs")
    """The folder of this machine's runs, for what is under way."""
    suites: Sequence[str] = ()
    """Names of the suites that get a page."""

    @property
    def newest(self) -> str:
        """The day of the newest record, or an empty text."""
        return max((entry.record.provenance.created for entry in self.entries), default="")[:10]

    def tasks(self) -> list[str]:
        """Return the names of the tasks with records, sorted."""
        return sorted({entry.record.task for entry in self.entries})

    def boards(self, task: str) -> list[Board]:
        """Return the boards of a task, made once."""
        return self._boards.get(task, [])

    @cached_property
    def _boards(self) -> dict[str, list[Board]]:
        return {task: boards_of(task, self.entries) for task in self.tasks()}


def environment(site: Site) -> jinja2.Environment:
    """Return the templates. Every value is escaped for HTML, and its control characters are written out."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
    )
    made.globals.update(version=__version__, newest=site.newest)
    return made


def _harmless(value: Any) -> Any:
    """Write out the control characters and direction marks of text; markup of ours stays as it is."""
    return printable(value, lines=True) if isinstance(value, str) and not isinstance(value, Markup) else value


def file_of(folder: Path, path: str) -> Path:
    """Return a file's place in a folder, whose parents are made."""
    found = folder / path
    found.parent.mkdir(parents=True, exist_ok=True)
    return found
