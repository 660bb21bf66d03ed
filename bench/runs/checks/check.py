"""All checks together: of records, of folders of records or of runs, of bundles, and of what lies beside."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from bench.core.errors import UserError
from bench.core.escape import printable
from bench.core.files import file_sha256, read_bytes
from bench.runs.checks.beside import evidence_findings, name_findings, plugin_findings, tuning_findings
from bench.runs.checks.doubled import doubled_findings
from bench.runs.checks.finding import Finding, error
from bench.runs.checks.identity import declared_task, identity_findings
from bench.runs.checks.numbers import number_findings
from bench.runs.checks.passes import pass_findings
from bench.runs.checks.private import private_findings
from bench.runs.checks.provenance import cost_findings, provenance_findings, state_findings
from bench.runs.checks.schema import parsed
from bench.runs.checks.together import together_findings
from bench.runs.given.plan import functions_of
from bench.runs.packing.bundles import is_bundle, opened, plugin_files
from bench.runs.record import Record
from bench.runs.records import record_files
from bench.runs.registry import Catalogue
from bench.runs.tuning.record import tuning_files

Kind = Literal["record", "tuning", "plug-in file"]

MOST_RECORD = 4 << 20
"""Size limit of a record; those of three generation seeds and six metrics take ten kilobytes."""


@dataclass(frozen=True)
class Checked:
    """A file with everything that was found in it."""

    path: Path
    record: Record | None
    """None if it is no record at all, or not meant to be one."""
    findings: Sequence[Finding]
    known: bool = False
    """Whether a registered task declares its protocol."""
    name: str = ""
    """What messages call it: within a bundle, the bundle's path and the file's in it."""
    kind: Kind = "record"

    @property
    def errors(self) -> list[Finding]:
        """The findings for which it is not accepted."""
        return [one for one in self.findings if one.level == "error"]

    def __str__(self) -> str:
        return printable(self.name or self.path)


class Checker:
    """The checks that one installation makes."""

    def __init__(
        self, catalogue: Catalogue, cache: Path | None = None, now: datetime.datetime | None = None
    ) -> None:
        self.catalogue = catalogue
        self.cache = cache
        self.now = now or datetime.datetime.now(datetime.UTC)
        self.metrics = catalogue.metrics.loaded()

    def check(self, paths: Iterable[Path]) -> list[Checked]:
        """Check records beside each other. Raises UserError for a path with no records, or a hostile bundle."""
        return [one for one in self.check_all(paths) if one.kind == "record"]

    def check_all(self, paths: Iterable[Path]) -> list[Checked]:
        """Check records as `check` does, and then the tunings and plug-in files that lie beside them."""
        with ExitStack() as stack:
            # A file that is named twice is one.
            named = {one.path: one for path in paths for one in _files(path, stack)}
            records = {one.path: Path(one.name) for one in named.values() if one.kind == "record"}
            found = [self.check_file(file) for file in records]
            functions = functions_of(one.record for one in found if one.record is not None)
            others = [
                Checked(one.path, None, list(self._of_other(one, functions)), name=one.name, kind=one.kind)
                for one in named.values()
                if one.kind != "record"
            ]
            whole = {one.path: one.record for one in found if one.record is not None}
            together = together_findings({path: (records[path], record) for path, record in whole.items()})
        doubled = doubled_findings({records[path]: record for path, record in whole.items()})
        checked = []
        for one in found:
            name = records[one.path]
            further = [*doubled.get(name, []), *together.get(one.path, [])]
            checked.append(replace(one, findings=[*one.findings, *further], name=str(name)))
        return [*checked, *others]

    def _of_other(self, found: _Found, functions: Mapping[str, str]) -> Iterator[Finding]:
        if found.kind == "tuning":
            return tuning_findings(found.path)
        given = {file_sha256(path) for path in self.catalogue.plugins}
        return plugin_findings(found.path, Path(found.name), given, functions)

    def check_file(self, path: Path) -> Checked:
        """Check one record by itself, and the files beside it."""
        try:
            record, findings = parsed(read_bytes(path, MOST_RECORD))
        except UserError as problem:
            return Checked(path, None, [error(str(problem).removeprefix(f"{path}: "))])
        if record is None:
            return Checked(path, None, findings)
        task, _ = declared_task(record, self.catalogue, self.cache)
        known = task is not None and task.protocol.digest() == record.protocol_sha256
        beside = [*name_findings(record, path), *evidence_findings(record, path, self.metrics)]
        return Checked(path, record, [*findings, *self._of_record(record), *beside], known)

    def _of_record(self, record: Record) -> Iterator[Finding]:
        yield from state_findings(record).values()
        yield from identity_findings(record, self.catalogue, self.cache)
        if record.status == "ok":
            yield from number_findings(record, self.metrics)
            yield from cost_findings(record)
            yield from pass_findings(record, self.catalogue)
        yield from provenance_findings(record, self.now)
        yield from private_findings(record)


class _Found(NamedTuple):
    """A file to check."""

    path: Path
    name: str
    """What messages call it."""
    kind: Kind = "record"


def _files(path: Path, stack: ExitStack) -> Iterator[_Found]:
    """Yield the records that a path names, and what lies beside them. Raises UserError without any record."""
    if not path.exists():
        raise UserError(f"no file or folder {path}; fix: name a record's file, a folder of records, or a bundle")
    if path.is_dir() and (found := list(record_files(path))):
        yield from (_Found(file, str(file)) for file in found)
        yield from (_Found(file, str(file), kind) for file, kind in _beside(path))
        return
    if not (path.is_dir() or is_bundle(path)):
        yield _Found(path, str(path))
        return
    folder = stack.enter_context(opened(path))
    found = list(record_files(folder))
    yield from (_Found(file, f"{path}/{file.relative_to(folder)}") for file in found)
    yield from (_Found(file, f"{path}/{'/'.join(file.parts[-3:])}", kind) for file, kind in _beside(folder))
    if not found:
        raise UserError(f"{path} has no records; fix: name a record's file, a run's folder, or a folder of either")


def _beside(folder: Path) -> Iterator[tuple[Path, Kind]]:
    yield from ((file, "tuning") for file in tuning_files(folder))
    yield from ((file, "plug-in file") for file in plugin_files(folder))
