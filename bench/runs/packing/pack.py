"""Packing runs: their records and what lies beside them, laid out as committed records are."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.core.errors import UserError
from bench.core.escape import shell_path
from bench.core.files import read_bytes, whole_file
from bench.core.run_folder import OTHER_PROTOCOLS, RECORD, go_on
from bench.runs.checks.check import Checked, Checker
from bench.runs.checks.doubled import same_values
from bench.runs.checks.provenance import state_findings
from bench.runs.evidence.files import SUFFIXES, evidence_of
from bench.runs.packing.beside import Beside
from bench.runs.packing.bundles import place, write_zip
from bench.runs.record import Record
from bench.runs.records import read_record
from bench.runs.tuning.record import Tuning, read_tuning
from bench.training.log import read_lines

MOST_LINES = 300
"""Lines of a packed log: a curve is not wider than that on a page."""
DIGITS = 6
STATES = ("smoke", "dirty")
"""States in which a run is packed only by request."""


@dataclass(frozen=True)
class Packed:
    """The files of a bundle."""

    files: dict[str, bytes]
    """By their names in it (bench.runs.packing.bundles)."""
    records: list[Record]
    checked: list[Checked]
    findings: Sequence[str] = ()
    """Findings on the tunings and the plug-in files."""

    @property
    def beside(self) -> list[str]:
        """The names of the plug-in files and of the tunings."""
        return [name for name in self.files if name.count("/") > 1]


def packed(folders: Iterable[Path], checker: Checker, allowed: Collection[str] = ()) -> Packed:
    """Collect the files of finished runs. `allowed` are the STATES that are accepted as well as good ones.

    Raises UserError that names every run that is refused, with the reason and the fix.
    """
    found = Packed({}, [], [])
    refused: list[str] = []
    paths: dict[Path, Path] = {}
    for folder in folders:
        if (folder / RECORD).is_file():
            files = [folder / RECORD, *sorted((folder / OTHER_PROTOCOLS).glob("[!.]*.json"))]
            paths.update(dict.fromkeys(files, folder))
        else:
            refused.append(f"{folder.name}: it has no {RECORD}, since it has not finished; fix: {go_on(folder)}")
    of_folder: dict[Path, list[Record]] = {}
    for checked in checker.check(paths) if paths else []:
        if reasons := list(_reasons(checked, allowed)):
            refused += [f"{checked}: {reason}" for reason in reasons]
        elif checked.record is not None:
            _add(found, checked.path, checked.record)
            found.checked.append(checked)
            of_folder.setdefault(paths[checked.path], []).append(checked.record)
    beside = Beside(checker.catalogue)
    for folder, records in of_folder.items():
        refused += [f"{folder.name}: {reason}" for reason in beside.add(folder, records)]
    if refused:
        raise UserError("these are not packed:\n  " + "\n  ".join(refused))
    return replace(found, files={**beside.files, **found.files}, findings=beside.findings)


def _reasons(checked: Checked, allowed: Collection[str]) -> Iterator[str]:
    """Yield why a record is not packed."""
    yield from (str(one).removeprefix("error: ") for one in checked.errors)
    states = {} if checked.record is None else state_findings(checked.record)
    for state, finding in states.items():
        if state not in allowed:
            more = f", or --allow {state}" if state in STATES else ""
            yield f"{finding.what}; fix: {finding.fix}{more}"


def _add(found: Packed, path: Path, record: Record) -> None:
    """Add a record and the files beside it. Raises UserError if one of these is damaged."""
    stem = _stem(record)
    beside = evidence_of(path)
    found.records.append(record)
    if beside.sheet is not None:
        found.files[f"{stem}{SUFFIXES['sheet']}"] = read_bytes(beside.sheet)
    if beside.curves is not None:
        lines = "".join(json.dumps(line) + "\n" for line in thinned(read_lines(beside.curves)))
        found.files[f"{stem}{SUFFIXES['curves']}"] = lines.encode()
    if beside.scores is not None:
        found.files[f"{stem}{beside.scores.suffix}"] = read_bytes(beside.scores)
    found.files[f"{stem}.json"] = read_bytes(path)  # the last: packing that is stopped leaves no record alone


def thinned(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return at most about MOST_LINES lines of a log, evenly chosen, with figures of six digits.

    Every line with an FD is kept, and so are the first and the last line.
    """
    plain = [position for position, line in enumerate(lines) if "fd" not in line]
    room = max(2, MOST_LINES - (len(lines) - len(plain)))
    if len(plain) > room:
        step = (len(plain) - 1) / (room - 1)
        plain = [plain[round(place * step)] for place in range(room)]
    kept = set(plain)
    return [
        {name: _rounded(value) for name, value in line.items()}
        for position, line in enumerate(lines)
        if "fd" in line or position in kept
    ]


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) and math.isfinite(value) else value


def write_packed(found: Packed, out: Path) -> list[Path]:
    """Write a bundle: a .zip file, or a folder such as results/records, to which it is added.

    If the folder has a record of the same result already, that record stays, and gets the files beside it; so does
    a tuning that chose the same. Returns these files. Raises UserError, before anything is written, if it has a
    record of another result of a run.
    """
    zipped = out.suffix.lower() == ".zip"
    if out.exists() and out.is_dir() == zipped:
        raise UserError(f"{out} is {'a folder' if zipped else 'a file'} already; fix: give another --out")
    if zipped:
        with whole_file(out) as temporary:
            write_zip(temporary, found.files)
        return []
    results = {f"{_stem(record)}.json": record for record in found.records}
    kept = []
    for name, content in found.files.items():
        path = place(out, name)
        if path.suffix != ".json" or not path.exists() or read_bytes(path) == content:
            continue
        if name in results:
            there = read_record(path)
            same, what, made = same_values(there, results[name]), "result of this run", there.provenance.created
        else:
            tuning = read_tuning(path)
            same, what, made = _same_choice(tuning, content), "answer of this tuning", tuning.provenance.created
        if not same:
            raise UserError(
                f"{path} has another {what} ({made}), and records are immutable; "
                f"fix: keep it, or rm {shell_path(path)} and say in the pull request why it is replaced"
            )
        kept.append(path)
    for name, content in found.files.items():
        if (path := place(out, name)) not in kept:
            with whole_file(path) as temporary:
                temporary.write_bytes(content)
    return kept


def _same_choice(there: Tuning, content: bytes) -> bool:
    """Whether two answers to one question chose the same, among the same runs."""
    ours = Tuning.model_validate_json(content)
    runs = [[point.run_id for point in one.points] for one in (there, ours)]
    return there.chosen == ours.chosen and runs[0] == runs[1]


def _stem(record: Record) -> str:
    """Return the name of a record's files in a bundle, without a suffix."""
    return f"{record.task}/{record.run_id}"
