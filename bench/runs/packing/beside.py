"""What is packed beside records: the plug-in files that their runs had, and the records of their tunings."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from bench.core.errors import UserError, listed
from bench.core.files import read_bytes, read_object
from bench.core.imports import PLUGIN_MODULE
from bench.core.run_folder import PLAN
from bench.runs.checks.beside import tuning_findings
from bench.runs.checks.finding import note, warning
from bench.runs.given.plan import functions_of
from bench.runs.packing.bundles import plugin_name
from bench.runs.plugins.files import FROM_FILE
from bench.runs.record import MethodInfo, Record
from bench.runs.records import TUNING, tuned_runs
from bench.runs.registry import Catalogue
from bench.runs.tuning.record import read_tuning, tuning_files


@dataclass
class Beside:
    """The files beside the records of packed runs, by their names in a bundle."""

    catalogue: Catalogue
    """What is registered, with the plug-in files that the user named for those that are no longer there."""
    files: dict[str, bytes] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    """What a reviewer of the tunings and plug-in files would find, though they are packed."""

    def add(self, folder: Path, records: Sequence[Record]) -> Iterator[str]:
        """Add the files of a run's folder, which has these records, and yield why one cannot be packed."""
        yield from self._add_plugins(read_object(folder / PLAN) or {}, records)
        yield from self._add_tunings(folder, records)

    def _add_plugins(self, plan: Mapping[str, Any], records: Sequence[Record]) -> Iterator[str]:
        """Add the plug-in files that a plan or a record has the hash of: only a file of this very hash is one.

        One that was given beside what the run needed may be gone: a finished run cannot be repeated with another.
        """
        planned = {sha256: Path(path) for path, sha256 in plugins_of_plan(plan).items()}
        made = any(self._made_by_plugins(record) for record in records)
        self._note_packages(records)
        recorded = [one for record in records for one in self._recorded(record)]
        for sha256 in dict.fromkeys([*planned, *recorded]):
            known = planned.get(sha256)
            content, found = next(
                _files_of(sha256, [*([known] if known else []), *self.catalogue.plugins]), (b"", None)
            )
            called = (known or found or Path()).name
            if found is None and not made:
                idle = note(f"the plug-in file {called}, which it did not need, is gone or was changed: left out")
                self.findings.append(f"{records[0].run_id}: {idle}")
                continue
            if found is None:
                yield _gone(sha256, called, known if sha256 in functions_of(records) else None)
                continue
            called = _called_in(records, sha256) or called
            if (name := plugin_name(sha256, called)) is None:
                yield f"a bundle holds no plug-in file called {called!r}; fix: rename it to letters, and run again"
                continue
            if name not in self.files and (others := _imported(found, content)):
                gone = warning(
                    f"it imports {listed(others)}, which a bundle does not hold",
                    "move what it uses into it and run again, or send the rest beside the bundle",
                )
                self.findings.append(f"{found}: {gone}")
            self.files[name] = content

    def _made_by_plugins(self, record: Record) -> bool:
        """Say whether a record's method, task, metrics or images may be of a plug-in file."""
        task = self.catalogue.tasks.entries.get(record.task)
        ours = task is not None and not task.origin.startswith(FROM_FILE)
        return (
            not ours
            or record.method.origin.startswith(FROM_FILE)
            or bool(self._recorded(record) or functions_of([record]))
        )

    def _recorded(self, record: Record) -> list[str]:
        """Return the hashes of plug-in files that a record has: of its method, and of metrics of its protocol."""
        packages = self._of_packages(record)
        found = [sha256 for name, sha256 in _metrics(record).items() if name not in packages]
        return [*([record.method.plugin_sha256] if _of_file(record.method) else []), *found]

    def _of_packages(self, record: Record) -> list[str]:
        """Return the metrics of a record's protocol that installed packages define."""
        entries = self.catalogue.metrics.entries
        return [name for name in _metrics(record) if name in entries and entries[name].module]

    def _note_packages(self, records: Sequence[Record]) -> None:
        """Note the installed packages that define methods and metrics of records: a bundle lacks their code."""
        for record in records:
            method = record.method
            named = {
                f"metric {name}": self.catalogue.metrics.find(name).origin for name in self._of_packages(record)
            }
            if method.plugin_sha256 and not _of_file(method):
                named["method"] = method.origin
            for what, origin in named.items():
                gone = warning(
                    f"its {what} is of {origin}, which a bundle does not hold", "say where it is to be had"
                )
                self.findings.append(f"{record.run_id}: {gone}")

    def _add_tunings(self, folder: Path, records: Sequence[Record]) -> Iterator[str]:
        """Add the records of the tunings that chose a run's recipe, or that it is a point of."""
        runs, points = folder.resolve().parent.parent, set[object]()
        for path in tuning_files(runs):
            name = f"{TUNING}/{path.parent.name}/{path.name}"
            if not any(name.startswith(f"{TUNING}/{one.task}/{one.method.name}-") for one in records):
                continue
            findings = list(tuning_findings(path))
            if errors := [one for one in findings if one.level == "error"]:
                yield from (f"its tuning {path}: {one.what}; fix: {one.fix}" for one in errors)
                continue
            found = read_tuning(path)
            if not any(found.is_of(record) for record in records):
                continue
            points |= {point.run_id for point in found.points}
            if name not in self.files:
                self.files[name] = read_bytes(path)
                self.findings += [f"{path}: {one}" for one in findings]
        if folder.name in tuned_runs([runs]) - points:
            yield "it is a point of a tuning that has no answer yet; fix: the same bench tune goes on with it"


def plugins_of_plan(plan: Mapping[str, Any]) -> dict[str, str]:
    """Return the plug-in files that a run was planned or evaluated with, each with its hash."""
    job = plan.get("job")
    found = [plan.get("plugins"), job.get("plugins") if isinstance(job, dict) else None]
    return {str(path): str(sha256) for one in found if isinstance(one, dict) for path, sha256 in one.items()}


def _imported(path: Path, content: bytes) -> list[str]:
    """Return the files and folders that a plug-in file imports, by their paths; of installed packages nothing."""
    try:
        nodes = list(ast.walk(ast.parse(content)))
    except (SyntaxError, ValueError):  # a table of variants, or Python of another version
        return []
    named = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    named += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    others = {name.partition(".")[0] for name in named} - sys.stdlib_module_names - packages_distributions().keys()
    found = {name: _beside(path, name) or _on_path(name) for name in sorted(others)}
    return [str(place) for place in found.values() if place is not None]


def _beside(path: Path, name: str) -> Path | None:
    """Return the file or folder of Python files that a module's name stands for in a plug-in's folder."""
    file, folder = path.with_name(f"{name}.py"), path.with_name(name)
    if file.is_file():
        return file
    return folder if any(folder.glob("*.py")) else None


def _on_path(name: str) -> Path | None:
    """Return the file of a module that is found on PYTHONPATH or in the working folder; nothing is imported."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return Path(places[0]) if places else None


def _gone(sha256: str, called: str, function: Path | None) -> str:
    """Say that there is no file of a hash; `function` is the place of a file with a function that made images."""
    what = f"the plug-in file {called}" if called else "a plug-in file that it names"
    fix = "add --plugin FILE with the file as it was, or run again with the file as it is"
    if function is not None:
        what = f"the file of its function, {called},"
        fix = f"put it back at {function} as it was, or evaluate again with the file as it is"
    return f"{what} is gone or was changed: none has the recorded SHA-256 {sha256[:12]}...; fix: {fix}"


def _of_file(method: MethodInfo) -> bool:
    """Say whether a method's class is one of a plug-in file."""
    return bool(method.plugin_sha256) and method.distiller.startswith(PLUGIN_MODULE)


def _metrics(record: Record) -> dict[str, str]:
    """Return the metrics of a record's protocol that plug-ins define, with their hashes."""
    found = record.protocol.get("plugins")
    return {name: str(sha256) for name, sha256 in found.items()} if isinstance(found, dict) else {}


def _called_in(records: Sequence[Record], sha256: str) -> str:
    """Return the file's name by which a record knows its method's class; a run's id depends on it."""
    modules = [one.method.distiller.partition(":")[0] for one in records if one.method.plugin_sha256 == sha256]
    own = [name.removeprefix(PLUGIN_MODULE) for name in modules if name.startswith(PLUGIN_MODULE)]
    return f"{own[0]}.py" if own else ""


def _files_of(sha256: str, paths: Sequence[Path]) -> Iterator[tuple[bytes, Path]]:
    """Yield the content and the path of those files that have this hash."""
    for path in paths:
        try:
            content = read_bytes(path)
        except UserError:  # it is not there any more
            continue
        if hashlib.sha256(content).hexdigest() == sha256:
            yield content, path
