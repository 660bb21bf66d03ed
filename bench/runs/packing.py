"""Packing runs: their records, sample sheets, curves and scores, laid out as committed records are."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bench.core.errors import UserError, listed, nearest
from bench.core.files import read_bytes, whole_file
from bench.core.run_folder import GO_ON, OTHER_PROTOCOLS, PLAN, RECORD
from bench.runs.bundles import write_zip
from bench.runs.checks.check import Checked, Checker
from bench.runs.checks.doubled import same_values
from bench.runs.checks.provenance import state_findings
from bench.runs.evidence import SUFFIXES, evidence_of
from bench.runs.record import Record
from bench.runs.records import read_record, tuned_runs
from bench.training.log import read_lines

MOST_LINES = 300
"""Lines of a packed log: a curve is not wider than that on a page."""
DIGITS = 6
STATES = ("smoke", "dirty")
"""States in which a run is packed only by request."""


class FoundRuns(NamedTuple):
    """The runs that are meant, and those of a method that are not."""

    folders: list[Path]
    of_tuning: list[Path]
    """Runs of a tuning of a named method, which are no results of it."""


def find_runs(runs: Path, names: Sequence[str], task: str | None) -> FoundRuns:
    """Return the folders of the runs that names mean: a folder, a run id, or a method, which is all its seeds.

    The runs of a tuning are called by their own names alone. Raises UserError for a name that means none.
    """
    folders = sorted(path.parent for path in runs.glob(f"*/*/{PLAN}"))
    if task is not None:
        folders = [folder for folder in folders if folder.parent.name == task]
    found: dict[Path, None] = {}
    tuned, apart = tuned_runs([runs]), dict[Path, None]()
    for name in names:
        if "/" in name or (Path(name) / RECORD).is_file():
            chosen = [Path(name)]
            if not Path(name).is_dir():
                raise UserError(f"no folder {name}; fix: name a run's folder, its id or its method")
        else:
            meant = [folder for folder in folders if name in (folder.name, _method(folder))]
            if not meant:
                raise _unknown(name, folders, runs, task)
            chosen = [folder for folder in meant if folder.name == name or folder.name not in tuned]
            apart.update(dict.fromkeys(folder for folder in meant if folder not in chosen))
            if not chosen:
                raise UserError(
                    f"all runs of {name} are of its tuning, and no results: {listed(one.name for one in meant)}; "
                    "fix: name them by their ids, if they are to be packed"
                )
        found.update(dict.fromkeys(chosen))
    return FoundRuns([*found], [one for one in apart if one not in found])


def _method(folder: Path) -> str:
    """Return the method or sampler of a run by its folder's name, METHOD-sSEED-HASH or SAMPLER-HASH."""
    stem, _, _ = folder.name.rpartition("-")
    method, mark, seed = stem.rpartition("-s")
    return method if mark and seed.isdigit() else stem


def _unknown(name: str, folders: Iterable[Path], runs: Path, task: str | None) -> UserError:
    known = [folder.name for folder in folders]
    close = nearest(name, [*known, *dict.fromkeys(map(_method, map(Path, known)))])
    where = f"{runs}/{task}" if task else str(runs)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"there: {listed(known)}"
    return UserError(f"no run or method {name!r} in {where}; {hint}; fix: bench status shows all runs")


@dataclass(frozen=True)
class Packed:
    """The files of a bundle."""

    files: dict[str, bytes]
    """By their names in it, TASK/RUN.SUFFIX."""
    records: list[Record]
    checked: list[Checked]


def packed(folders: Iterable[Path], checker: Checker, allowed: Collection[str] = ()) -> Packed:
    """Collect the files of finished runs. `allowed` are the STATES that are accepted besides good ones.

    Raises UserError that names every run that is refused, with the reason and the fix.
    """
    found = Packed({}, [], [])
    refused: list[str] = []
    paths: list[Path] = []
    for folder in folders:
        if (folder / RECORD).is_file():
            paths += [folder / RECORD, *sorted((folder / OTHER_PROTOCOLS).glob("*.json"))]
        else:
            refused.append(f"{folder.name}: it has no {RECORD}, since it has not finished; fix: {GO_ON}")
    for checked in checker.check(paths) if paths else []:
        if reasons := list(_reasons(checked, allowed)):
            refused += [f"{checked}: {reason}" for reason in reasons]
        elif checked.record is not None:
            _add(found, checked.path, checked.record)
            found.checked.append(checked)
    if refused:
        raise UserError("these are not packed:\n  " + "\n  ".join(refused))
    return found


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


def thinned(lines: Sequence[dict[str, Any]], most: int = MOST_LINES) -> list[dict[str, Any]]:
    """Return at most about `most` lines of a log, evenly chosen, with figures of six digits.

    Every line with an FD is kept, and so are the first and the last line.
    """
    plain = [position for position, line in enumerate(lines) if "fd" not in line]
    room = max(2, most - (len(lines) - len(plain)))
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

    If the folder has a record of the same result already, that record stays, and gets the files beside it. Returns
    these records. Raises UserError, before anything is written, if it has a record of another result of a run.
    """
    zipped = out.suffix.lower() == ".zip"
    if out.exists() and out.is_dir() == zipped:
        raise UserError(f"{out} is {'a folder' if zipped else 'a file'} already; fix: give another --out")
    if zipped:
        with whole_file(out) as temporary:
            write_zip(temporary, found.files)
        return []
    kept = []
    for record in found.records:
        name = f"{_stem(record)}.json"
        path = out / name
        if not path.exists() or read_bytes(path) == found.files[name]:
            continue
        there = read_record(path)
        if not same_values(there, record):
            raise UserError(
                f"{path} has another result of this run ({there.provenance.created}), and records are immutable; "
                f"fix: keep it, or rm {shlex.quote(str(path))} and say in the pull request why it is replaced"
            )
        kept.append(path)
    for name, content in found.files.items():
        if out / name not in kept:
            with whole_file(out / name) as temporary:
                temporary.write_bytes(content)
    return kept


def _stem(record: Record) -> str:
    """Return the name of a record's files in a bundle, without a suffix."""
    return f"{record.task}/{record.run_id}"
