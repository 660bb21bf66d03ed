"""What pages are made of: one entry for each record, with the files beside it and its name in addresses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from bench.core.files import digest
from bench.runs.evidence.files import Evidence, evidence_of
from bench.runs.record import Record
from bench.runs.records import load_records


@dataclass(frozen=True)
class Entry:
    """One record, and where it lies on disk and on the site."""

    record: Record
    path: Path
    """The record's file."""
    name: str
    """Name in addresses, unique on the site: the run's id, unless another task or set of networks has the same."""

    @property
    def page(self) -> str:
        """Address of the run's page from the site's root, not yet quoted."""
        return f"runs/{self.name}.html"

    @property
    def href(self) -> str:
        """Address of the run's page from the site's root, for a link."""
        return quote(self.page)

    @cached_property
    def evidence(self) -> Evidence:
        """The files beside the record: its sample sheet, its curves, its scores."""
        return evidence_of(self.path)


class Entries(NamedTuple):
    """The entries found, and one line for each file that could not be read."""

    entries: list[Entry]
    problems: list[str]


def read_entries(folders: Iterable[Path]) -> Entries:
    """Read the records in `folders`: one entry for each run, task and set of networks, from the first that has it.

    A sampler has one id whatever the teacher: measured with two teachers, it is two results.
    """
    loaded = load_records(folders)
    found: dict[tuple[str, str, str], tuple[Record, Path]] = {}
    for record, path in zip(loaded.records, loaded.paths, strict=True):
        found.setdefault(record.result_of, (record, path))
    taken: set[str] = set()
    entries = []
    for key, (record, path) in found.items():
        name = record.run_id
        if name.casefold() in taken:  # some file systems do not distinguish case
            name = f"{name}.{digest(list(key))[:8]}"
        taken.add(name.casefold())
        entries.append(Entry(record, path, name))
    return Entries(entries, loaded.problems)
