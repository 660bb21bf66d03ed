"""The record of one result is one immutable JSON file with everything that produced a number."""

from __future__ import annotations

import contextlib
import gc
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar

from pydantic import AfterValidator, Field, PrivateAttr, ValidationError, model_validator

from bench.core.errors import UserError
from bench.core.escape import is_name
from bench.core.files import read_bytes, read_object, repeated_digest, write_text
from bench.core.run_folder import OTHER_PROTOCOLS, RECORD
from bench.metrics.result import Count, MetricResult, Model
from bench.runs.twins import Sampled, find_twins
from bench.training.alarms import AlarmNote
from bench.training.cost import Passes, work

M = TypeVar("M", bound=Model)

COMMITTED = "records"
"""The folder of committed records."""
TUNING = "tuning"
"""The folder of tuning records, in a folder of runs and beside the committed records."""


def _as_name(text: str) -> str:
    if not is_name(text):
        raise ValueError(f"{text[:60]!r} is not a name; a name has letters and digits, with _ . + - between them")
    return text


Name = Annotated[str, AfterValidator(_as_name)]
"""A part of a run's path, RUNS/TASK/RUN."""


class MethodInfo(Model):
    """The method and recipe of a student, or the name of a sampler of the teacher."""

    name: str
    origin: str
    """The distribution that provides it, or the path of the plug-in file."""
    distiller: str
    """Import path of the class; empty for a baseline."""
    plugin_sha256: str = ""
    """Hash of the plug-in file that defines it; empty for an installed method."""
    passed: dict[str, Any]
    """The user's overrides."""
    recipe: dict[str, Any]
    """All resolved values: defaults, then the task's recipe, then `passed`."""


STUDY_KIND: Final = "user study"
"""The `kind` in the protocol of a user study (`bench study read`)."""


def is_study(protocol: Mapping[str, Any]) -> bool:
    """Say whether this is a record's protocol of a user study; its values are preferences of people."""
    return protocol.get("kind") == STUDY_KIND


def other_protocol_path(run: Path, protocol: str, sha256: str, best: bool = False) -> Path:
    """Return the record file of a run's student, or of its best student, under another protocol."""
    return run / OTHER_PROTOCOLS / f"{'best-' if best else ''}{protocol}-{sha256[:12]}.json"


class CheckpointInfo(Model):
    """The weights that were evaluated, and how they were selected."""

    iteration: Count
    selection: Literal["last", "best-by-test-metric", "none"]
    """none: there was no choice, as for a baseline."""
    sha256: str
    weights: Literal["raw", "ema", "published", "none"]
    """The last weights, their moving average, weights that others published, or none: the images were given."""


class NetworkPasses(Model):
    """Passes of single images through a network in training."""

    forward: Count
    backward: Count


class Cost(Model):
    """The cost of a result."""

    iterations: Count
    generator_updates: Count
    generated_images: Count
    """Iterations times batch size. Images that are generated for regression pairs or in backward simulation are
    not counted."""
    network_evaluations: Count | None
    """Forward passes per sample (NFE); None if it is not known, as of images that were given."""
    train_seconds: float
    """Training time over all attempts, without the validations; 0 if the run failed."""
    evaluate_seconds: float
    threads: Count
    processes: Count = 1
    """Number of processes that trained together, one for each GPU."""
    peak_memory_bytes: Count
    """Peak memory of the first process."""
    parameters: Count | None
    """None if it is not known."""
    gpu_hours: float
    """0 on a CPU."""
    passes: dict[str, NetworkPasses] = Field(default_factory=dict)
    """Counted passes by network (bench.training.passes); none in records from before they were counted."""

    @property
    def work(self) -> float | None:
        """The work of the counted passes of images (bench.training.cost.work); None if none were counted."""
        if not self.passes:
            return None
        return work({name: Passes(one.forward, one.backward) for name, one in self.passes.items()})


class Asset(Model):
    """A file that the result depends on: the teacher, the feature network or a data set, but not the student."""

    role: str
    sha256: str
    bytes: Count


class Provenance(Model):
    """The time, the machine and the software of a result."""

    created: str
    """UTC, ISO 8601."""
    git_commit: str | None
    git_dirty: bool | None
    packages: dict[str, str]
    """Version of each library that can change results."""
    python: str
    platform: str
    cpu: str
    gpu: str | None
    threads: Count
    argv: list[str]
    """The command line; paths of the machine are shortened to their last name."""
    precision: str
    tf32: bool


class Failure(Model):
    """The reason why a run has no result."""

    type: str
    """Name of the exception."""
    message: str
    traceback: str
    log_tail: list[str]


class Record(Model):
    """One result of a method or a baseline, on a task, under a protocol, from one training seed."""

    schema_version: Literal[1] = 1
    run_id: Name
    kind: Literal["method", "baseline"]
    """A trained student, or a named sampler of the teacher such as `teacher-ode`."""
    status: Literal["ok", "failed"]
    method: MethodInfo
    task: Name
    protocol: dict[str, Any]
    protocol_sha256: str
    """Digest of `protocol`; only numbers with an equal digest share a column."""
    train_seed: Count | None
    """None for a baseline."""
    metrics: list[MetricResult]
    checkpoint: CheckpointInfo | None
    cost: Cost
    weights: list[Asset]
    """The teacher and the feature networks."""
    data: list[Asset]
    provenance: Provenance
    sampler: dict[str, Any]
    """The settings of the sampler: steps, time steps, and so on."""
    error: Failure | None
    """Set exactly when `status` is failed."""
    alarms: list[AlarmNote] = Field(default_factory=list)
    """Signs of trouble in training; none in records from before there were alarms."""

    _twin: str | None = PrivateAttr(None)
    _of_tuning: bool = PrivateAttr(False)

    @property
    def of_tuning(self) -> bool:
        """Whether it is a point of a tuning's grid: chosen as the best of several, it is too good a result.

        That is known of records that are loaded beside the tuning's own record (bench/runs/tuning.py).
        """
        return self._of_tuning

    @property
    def own_networks_sha256(self) -> str:
        """The digest of the very networks that the result depends on: the teacher and the feature networks."""
        return repeated_digest(sorted((asset.role, asset.sha256) for asset in self.weights))

    @property
    def networks_sha256(self) -> str:
        """The digest by which numbers are comparable: that of the oldest networks that differ by rounding alone.

        Such networks are found among the records that are loaded together (bench/runs/twins.py). With another
        teacher or feature network, a number is another quantity even under an equal protocol.
        """
        return self._twin or self.own_networks_sha256

    @model_validator(mode="after")
    def _consistent(self) -> Record:
        method, protocol = self.method, self.protocol
        for part, values in {"method": [method.passed, method.recipe], "sampler": self.sampler}.items():
            _refuse_no_json(part, values)
        _refuse_no_json("protocol", protocol)
        extractors = protocol.get("extractors", {})
        networks = list(extractors.values()) if isinstance(extractors, dict) else [None]
        if not all(isinstance(text, str) for text in (protocol.get("name", ""), *networks)):
            raise ValueError("the protocol has a name or extractors that are not text")
        if self.protocol_sha256 != repeated_digest(self.protocol):
            raise ValueError("protocol_sha256 is not the digest of protocol")
        if (self.status == "failed") != (self.error is not None):
            raise ValueError("status and error disagree")
        return self


def _refuse_no_json(part: str, values: Any) -> None:
    """Raise ValueError for values without a digest; tables distinguish recipes by their digests."""
    try:
        repeated_digest(values)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{part} has a value that plain JSON cannot hold ({error})") from None


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
    text = record.model_dump_json(indent=2) + "\n"
    if path.exists():
        existing = read_record(path)
        if existing.status == "ok" and existing.model_dump_json(indent=2) + "\n" != text:
            raise UserError(
                f"{path} already has another result (run {existing.run_id}), and results are immutable; "
                f"fix: rm {shlex.quote(str(path))}, then run again, if it is to be replaced"
            )
    write_text(path, text)


def read_record(path: Path) -> Record:
    """Read one record. Raises UserError with the file, the problem and the fix."""
    return read_model(path, Record, "record", "run")


def read_model(path: Path, model: type[M], what: str, command: str) -> M:
    """Read a file of JSON as a model. Raises UserError with the file, `what` it shall be, the problem and the fix.

    The fix is to remove the file and to repeat the `command` that writes it.
    """
    try:
        return model.model_validate_json(read_bytes(path), strict=True)  # "93.4" is no number
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where, problem = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        raise UserError(
            f"{path}: not a complete and valid {what} ({f'{where}: ' if where else ''}{problem}); "
            f"fix: rm {shlex.quote(str(path))}, then {command} again"
        ) from error


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
    """Read all records in `folders`; each broken file becomes a line in `problems`."""
    folders, loaded = list(folders), Loaded([], [], [])
    for path in (path for folder in folders for path in record_files(folder)):
        try:
            loaded.records.append(read_record(path))
            loaded.paths.append(path)
        except UserError as error:
            loaded.problems.append(str(error))
    _note_twins(loaded.records)
    _note_tunings(loaded.records, folders)
    return loaded


def _note_tunings(records: Sequence[Record], folders: Sequence[Path]) -> None:
    """Let records know that a tuning in a folder of runs, or beside the committed records, ran them."""
    tuned = tuned_runs(folder.parent if folder.name == COMMITTED else folder for folder in folders)
    for record in records:
        record._of_tuning = record.run_id in tuned


def tuned_runs(folders: Iterable[Path]) -> set[object]:
    """Return the ids of the runs of all tunings whose records are in folders of runs."""
    found = (read_object(path) or {} for folder in folders for path in folder.glob(f"{TUNING}/*/*.json"))
    points = (point for tuning in found if isinstance(tuning.get("points"), list) for point in tuning["points"])
    return {point.get("run_id") for point in points if isinstance(point, dict)}


def _note_twins(records: Sequence[Record]) -> None:
    """Let records know which networks differ from theirs by rounding alone; the oldest stand for all."""
    samplers = [one for one in records if one.kind == "baseline" and one.status == "ok"]
    samplers.sort(key=lambda one: one.provenance.created)
    twins = find_twins(
        Sampled(
            (one.task, one.run_id, one.protocol_sha256),
            one.own_networks_sha256,
            {metric.name: metric.values for metric in one.metrics},
        )
        for one in samplers
    )
    if twins:
        for record in records:
            record._twin = twins.get(record.own_networks_sha256)


def record_files(folder: Path) -> Iterator[Path]:
    """Yield the `record.json` of each run folder, the files in its `protocols`, and committed records.

    Committed records are all other `*.json` directly in `folder`, or at any depth if it is called `records`.
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
            yield from sorted(Path(folder, OTHER_PROTOCOLS).glob("*.json"))
        yield Path(folder, RECORD)
        return
    if here:
        yield from (Path(folder, name) for name in names if name.endswith(".json") and not name.startswith("."))
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from _below(f"{folder}/{entry.name}", deeper, deeper)
