"""Files of records: each is one immutable JSON file, in a run's folder or among committed records."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from bench.core.errors import UserError
from bench.core.escape import shell_path
from bench.core.files import read_bytes, read_object, write_text
from bench.core.run_folder import OTHER_PROTOCOLS, RECORD
from bench.metrics.result import Model
from bench.runs.checks.doubled import same_values
from bench.runs.record import Record
from bench.runs.twins import Sampled, find_twins

M = TypeVar("M", bound=Model)

COMMITTED = "records"
"""The folder of committed records."""
TUNING = "tuning"
"""The folder of tuning records, in a folder of runs and beside the committed records."""
BEGUN = ".begun"
"""Ending of the file that names a tuning's runs until its record is there."""


UPGRADE = "install the version of the package that wrote it"
"""The fix for a file that a later package wrote."""


def other_protocol_path(run: Path, protocol: str, sha256: str, best: bool = False) -> Path:
    """Return the record file of a run's student, or of its best student, under another protocol."""
    return run / OTHER_PROTOCOLS / f"{'best-' if best else ''}{protocol}-{sha256[:12]}.json"


def records_beside(record: Path) -> list[Path]:
    """Return the record files of the same student under other protocols, those of the best student left out."""
    return [
        one for one in sorted((record.parent / OTHER_PROTOCOLS).glob("*.json")) if not one.name.startswith("best-")
    ]


class Loaded(NamedTuple):
    """The records found, and one line for each file that could not be read."""

    records: list[Record]
    problems: list[str]
    paths: list[Path]
    """The file of each record."""


def write_record(path: Path, record: Record) -> None:
    """Write a record so that it appears whole; a failed record may be replaced.

    Raises UserError if `path` has a different successful result, or is not a record.
    """
    refuse_another_result(path, record)
    write_text(path, record.model_dump_json(indent=2) + "\n")


def refuse_another_result(path: Path, record: Record) -> None:
    """Raise UserError if `path` has a different successful result, or is not a record."""
    if path.exists():
        existing = read_record(path)
        if existing.status == "ok" and existing.model_dump_json() != record.model_dump_json():
            raise UserError(
                f"{path} already has another result (run {existing.run_id}), and results are immutable; "
                f"fix: {moved_aside(path)}, then run again, if it is to be replaced"
            )


def read_record(path: Path) -> Record:
    """Read one record. Raises UserError with the file, the problem and the fix."""
    return read_model(path, Record, "record", "run")


def read_model(path: Path, model: type[M], what: str, command: str) -> M:
    """Read a file of JSON as a model. Raises UserError with the file, `what` it shall be, the problem and the fix.

    The fix is to move the file away and to repeat the `command` that writes it.
    """
    try:
        return model.model_validate_json(read_bytes(path), strict=True)  # "93.4" is no number
    except ValidationError as error:
        written = later_version(read_object(path) or {}, model)
        if written is not None:
            raise UserError(
                f"{path}: a {what} of version {written}, which this installation cannot read; fix: {UPGRADE}"
            ) from error
        first = error.errors(include_url=False, include_input=False)[0]
        where, problem = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        raise UserError(
            f"{path}: not a complete and valid {what} ({f'{where}: ' if where else ''}{problem}); "
            f"fix: put back a whole copy, or {moved_aside(path)}, then {command} again"
        ) from error


def write_model(path: Path, found: M, read: Callable[[Path], M]) -> None:
    """Write a model to a file that appears whole; one that differs in its provenance alone stays as it is.

    `read` reads the file that is there, and raises UserError for a broken one.
    """
    apart = {"provenance"}
    if not path.exists() or read(path).model_dump(exclude=apart) != found.model_dump(exclude=apart):
        write_text(path, found.model_dump_json(indent=2) + "\n")


def moved_aside(path: Path) -> str:
    """Return the command that takes a file away that may be the only one: a record of others, or of many hours."""
    return f"mv {shell_path(path)} {shell_path(f'{path}.aside')}"


def later_version(found: Mapping[str, Any], model: type[Model]) -> int | None:
    """Return the version of a file's fields if a later package wrote it, and None otherwise."""
    written, read = found.get("schema_version"), model.model_fields["schema_version"].default
    return written if isinstance(written, int) and written > read else None


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the garbage collector: searching many records that are all kept would double the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@collector_paused()
def load_records(folders: Iterable[Path]) -> Loaded:
    """Read all records in `folders`; each broken file becomes a line in `problems`.

    A folder's tunings are about its own records: those of a stranger say nothing about the results of others. Two
    results of one run in a folder that differ by more than rounding are a line in `problems`, too; on another
    machine a run may have another result.
    """
    loaded, of_tuning = Loaded([], [], []), []
    for folder in folders:
        tuned, first = tuned_runs([folder]), dict[tuple[str, ...], tuple[Path, Record]]()
        for path in record_files(folder):
            try:
                record = read_record(path)
            except UserError as error:
                loaded.problems.append(str(error))
                continue
            loaded.records.append(record)
            loaded.paths.append(path)
            known, other = first.setdefault(_measured(record), (path, record))
            if record.metrics != other.metrics and not same_values(record, other):
                loaded.problems.append(
                    f"{path}: {known} is a record of the same run with another result, and one of them alone "
                    f"counts; fix: bench records check {shell_path(folder)}, then keep the right one"
                )
            of_tuning.append(record.run_id in tuned)
    twins = _twins(loaded.records)
    for record, is_point in zip(loaded.records, of_tuning, strict=True):
        record.note(twins.get(record.own_networks_sha256) if twins else None, is_point)
    return loaded


def _measured(record: Record) -> tuple[str, ...]:
    """Return what was measured, and how: records that have this in common have one result."""
    selection = "" if record.checkpoint is None else record.checkpoint.selection
    return record.task, record.run_id, record.protocol_sha256, record.own_networks_sha256, selection


def folders_beside(folder: Path, name: str) -> list[Path]:
    """Return where a folder of runs or of records has its tunings, or what else lies beside the tasks.

    That is a folder in it and, if it is called `records`, one beside it, as in `results`, which is the last.
    """
    if folder.resolve().name != COMMITTED:
        return [folder / name]
    parent = folder.parent if folder.name == COMMITTED else folder.resolve().parent
    return [folder / name, parent / name]


def tuned_runs(folders: Iterable[Path]) -> set[object]:
    """Return the ids of the runs of all tunings, finished or begun, of folders of runs or of records."""
    roots = (root for folder in folders for root in folders_beside(folder, TUNING))
    files = (path for root in roots for path in root.glob("*/[!.]*") if path.suffix in (".json", BEGUN))
    found = (read_object(path) or {} for path in files)
    points = (point for tuning in found if isinstance(tuning.get("points"), list) for point in tuning["points"])
    return {point.get("run_id") for point in points if isinstance(point, dict)}


def _twins(records: Sequence[Record]) -> dict[str, str]:
    """Return the oldest of the networks that differ by rounding alone, by the digest of each of the others."""
    samplers = [one for one in records if one.kind == "baseline" and one.status == "ok"]
    samplers.sort(key=lambda one: one.provenance.time)
    return find_twins(
        Sampled(
            (one.task, one.run_id, one.protocol_sha256),
            one.own_networks_sha256,
            {metric.name: metric.values for metric in one.metrics},
        )
        for one in samplers
    )


def record_files(folder: Path) -> Iterator[Path]:
    """Yield the `record.json` of each run folder, the files in its `protocols`, and committed records.

    Committed records are all other `*.json` directly in `folder`, or at any depth if it is called `records`, where
    tunings are none.
    """
    if folder.is_dir():
        yield from _below(str(folder), here=True, deeper=folder.resolve().name == COMMITTED)


def _below(folder: str, here: bool, deeper: bool) -> Iterator[Path]:
    """Yield the records in a folder and below; any `*.json` counts in it if `here`, and below it if `deeper`.

    Paths are joined as text, since a Path for every folder would take as long as reading its record.
    """
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        yield Path(folder)  # the error is raised when it is read
        return
    names = [entry.name for entry in found]
    if RECORD in names:
        if OTHER_PROTOCOLS in names:
            yield from sorted(Path(folder, OTHER_PROTOCOLS).glob("[!.]*.json"))
        yield Path(folder, RECORD)
        return
    if here:
        yield from (Path(folder, name) for name in names if name.endswith(".json") and not name.startswith("."))
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from _below(f"{folder}/{entry.name}", deeper, deeper and entry.name != TUNING)
