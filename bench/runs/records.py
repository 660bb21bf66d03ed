"""The record of one result: everything that produced a number, in one immutable JSON file."""

from __future__ import annotations

import contextlib
import gc
import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, ValidationError, model_validator

from bench.core.errors import UserError
from bench.core.escape import is_name
from bench.core.files import read_bytes, repeated_digest, write_text
from bench.core.run_folder import OTHER_PROTOCOLS, RECORD
from bench.metrics.result import Count, MetricResult, Model


def _as_name(text: str) -> str:
    if not is_name(text):
        raise ValueError(f"{text[:60]!r} is no name: letters, digits and _ . + - inside")
    return text


Name = Annotated[str, AfterValidator(_as_name)]
"""Part of the paths of a run, RUNS/TASK/RUN."""


class MethodInfo(Model):
    """How the student was trained, or which sampler of the teacher this is."""

    name: str
    origin: str
    """The distribution that provides it, or the path of the plug-in file."""
    distiller: str
    """Import path of the class; empty for a baseline."""
    plugin_sha256: str = ""
    """Hash of the plug-in file that defines it; empty for an installed method."""
    passed: dict[str, Any]
    """What the user overrode."""
    recipe: dict[str, Any]
    """All numbers as resolved: defaults, the task's recipe, then `passed`."""


def other_protocol_path(run: Path, protocol: str, sha256: str, best: bool = False) -> Path:
    """File of the record of a run's student, or of its best one, under another protocol: its name and digest."""
    return run / OTHER_PROTOCOLS / f"{'best-' if best else ''}{protocol}-{sha256[:12]}.json"


class CheckpointInfo(Model):
    """Which weights were evaluated, and how they were chosen."""

    iteration: Count
    selection: Literal["last", "best-by-test-metric", "none"]
    """none: there was nothing to choose from, as for a baseline."""
    sha256: str
    weights: Literal["raw", "ema", "published"]
    """The last ones, their average, or what somebody else published, whichever it is."""


class Cost(Model):
    """What the result took."""

    iterations: Count
    generator_updates: Count
    generated_images: Count
    """Iterations times batch size. What a method generates besides, for regression pairs or in backward
    simulation, is not counted."""
    network_evaluations: Count
    """Forward passes per sample (NFE)."""
    train_seconds: float
    """Over all attempts, without the looks at FD on the way; 0 if the run failed."""
    evaluate_seconds: float
    threads: Count
    processes: Count = 1
    """Processes that worked on it together; on GPUs, as many of those."""
    peak_memory_bytes: Count
    """Of the first process."""
    parameters: Count
    gpu_hours: float
    """0 on a CPU."""


class Asset(Model):
    """A file that the result depends on: the teacher, the feature network, a data set; never the student."""

    role: str
    sha256: str
    bytes: Count


class Provenance(Model):
    """Where, when and with what it was made."""

    created: str
    """UTC, ISO 8601."""
    git_commit: str | None
    git_dirty: bool | None
    packages: dict[str, str]
    """Version of each library that matters."""
    python: str
    platform: str
    cpu: str
    gpu: str | None
    threads: Count
    argv: list[str]
    precision: str
    tf32: bool


class Failure(Model):
    """Why a run gave no result."""

    type: str
    """Name of the exception."""
    message: str
    traceback: str
    log_tail: list[str]


class Record(Model):
    """One result: a method or a baseline, on a task, under a protocol, from one training seed."""

    schema_version: Literal[1] = 1
    run_id: Name
    kind: Literal["method", "baseline"]
    """A trained student, or a named sampler of the teacher such as `teacher-ode`."""
    status: Literal["ok", "failed"]
    method: MethodInfo
    task: Name
    protocol: dict[str, Any]
    protocol_sha256: str
    """Digest of `protocol`; numbers share a column only where it is equal."""
    train_seed: Count | None
    """None for a baseline."""
    metrics: list[MetricResult]
    checkpoint: CheckpointInfo | None
    cost: Cost
    weights: list[Asset]
    """The teacher, the feature network."""
    data: list[Asset]
    provenance: Provenance
    sampler: dict[str, Any]
    """How samples are drawn: steps, time steps, and so on."""
    error: Failure | None
    """Set exactly when `status` is failed."""

    @model_validator(mode="after")
    def _consistent(self) -> Record:
        method, protocol = self.method, self.protocol
        for what, values in {"method": [method.passed, method.recipe], "sampler": self.sampler}.items():
            _refuse_no_json(what, values)
        _refuse_no_json("protocol", protocol)
        extractors = protocol.get("extractors", {})
        networks = list(extractors.values()) if isinstance(extractors, dict) else [None]
        if not all(isinstance(text, str) for text in (protocol.get("name", ""), *networks)):
            raise ValueError("protocol has a name or extractors that are no text")
        if self.protocol_sha256 != repeated_digest(self.protocol):
            raise ValueError("protocol_sha256 is not the digest of protocol")
        if (self.status == "failed") != (self.error is not None):
            raise ValueError("status and error disagree")
        return self


def _refuse_no_json(what: str, values: Any) -> None:
    """Raise ValueError for numbers that have no digest, by which tables tell recipes apart."""
    try:
        repeated_digest(values)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} holds what plain JSON has no form for ({error})") from None


class Loaded(NamedTuple):
    """The records found, and one line for each file that could not be read."""

    records: list[Record]
    problems: list[str]


def write_record(path: Path, record: Record) -> None:
    """Write a record so that it appears whole; a failed record may be replaced.

    Raise UserError if `path` holds a different result that is ok, or something that is no record.
    """
    text = record.model_dump_json(indent=2) + "\n"
    if path.exists():
        existing = read_record(path)
        if existing.status == "ok" and existing.model_dump_json(indent=2) + "\n" != text:
            raise UserError(
                f"{path} already holds another result (run {existing.run_id}), and results are immutable; "
                f"to replace it: rm {shlex.quote(str(path))}, then run again"
            )
    write_text(path, text)


def read_record(path: Path) -> Record:
    """Read one record; raise UserError naming the file, what is wrong with it and what mends it."""
    try:
        return Record.model_validate_json(read_bytes(path))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        problem = f"{where}: {first['msg']}" if where else first["msg"]
        raise UserError(
            f"{path}: not a whole and valid record ({problem}); "
            f"delete it and run again: rm {shlex.quote(str(path))}"
        ) from error


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Spare the garbage collector from searching records that are all kept: half of the time to work on many."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@collector_paused()
def load_records(folders: Iterable[Path]) -> Loaded:
    """Read all records in `folders`; a broken file becomes a line in `problems`, never a silent gap."""
    loaded = Loaded([], [])
    for path in (path for folder in folders for path in _record_files(folder)):
        try:
            loaded.records.append(read_record(path))
        except UserError as error:
            loaded.problems.append(str(error))
    return loaded


def _record_files(folder: Path) -> Iterator[Path]:
    """Yield the `record.json` of each run folder and what lies in its `protocols`, and committed records: all
    other `*.json` that lie directly in `folder`, or at any depth if it is called `records`."""
    if folder.is_dir():
        yield from _below(str(folder), here=True, deeper=folder.resolve().name == "records")


def _below(folder: str, here: bool, deeper: bool) -> Iterator[Path]:
    """Yield the records in a folder and below; `here` and `deeper`: whether any `*.json` is one. By names: a path
    for every folder would take as long as reading its record."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        yield Path(folder)  # reading it says why
        return
    names = [entry.name for entry in found]
    if RECORD in names:
        if OTHER_PROTOCOLS in names:
            yield from sorted(Path(folder, OTHER_PROTOCOLS).glob("*.json"))
        yield Path(folder, RECORD)
        return
    if here:
        yield from (Path(folder, name) for name in names if name.endswith(".json") and not name.startswith("."))
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from _below(f"{folder}/{entry.name}", deeper, deeper)
