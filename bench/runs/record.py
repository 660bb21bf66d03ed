"""The record of one result: everything that produced a number."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from bench.core.escape import is_name
from bench.core.files import repeated_digest
from bench.metrics.result import Count, MetricResult, Model
from bench.training.alarms import AlarmNote
from bench.training.cost import Passes, work


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
    """Hash of the plug-in file or package that defines it; empty for what comes with this package."""
    passed: dict[str, Any]
    """The user's overrides."""
    recipe: dict[str, Any]
    """All resolved values: defaults, then the task's recipe, then `passed`."""


STUDY_KIND: Final = "user study"
"""The `kind` in the protocol of a user study (`bench study read`)."""
INITIAL_WEIGHTS: Final = "initial weights"
"""Role of the student from which a run starts: a part of its recipe, and not of what measured it."""


def is_study(protocol: Mapping[str, Any]) -> bool:
    """Say whether this is a record's protocol of a user study; its values are preferences of people."""
    return protocol.get("kind") == STUDY_KIND


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
    altered: dict[str, Count] = Field(default_factory=dict)
    """Of packed images: their numbers by what was changed in them beyond the crop, such as transparency that was
    dropped; none in records from before it was kept."""


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

    @property
    def time(self) -> datetime.datetime:
        """The time of `created`, whatever its time zone; the first of all times for a text that is no time."""
        try:
            found = datetime.datetime.fromisoformat(self.created)
        except ValueError:
            found = datetime.datetime.min
        return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


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

        That is known of records that are loaded beside the tuning's own record (bench/runs/tuning/record.py).
        """
        return self._of_tuning

    @property
    def result_of(self) -> tuple[str, str, str]:
        """The run, the task and the networks: of records that agree in these, tables show one."""
        return self.run_id, self.task, self.networks_sha256

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

    def note(self, twin: str | None, of_tuning: bool) -> None:
        """Take what only the records that are loaded together can tell: the networks' twin, and a tuning's run."""
        self._twin, self._of_tuning = twin, of_tuning

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
        names = [metric.name for metric in self.metrics]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"metrics has several results of {twice[0]!r}, where a test would count a seed twice")
        if (self.status == "failed") != (self.error is not None):
            raise ValueError("status and error disagree")
        return self


def _refuse_no_json(part: str, values: Any) -> None:
    """Raise ValueError for values without a digest; tables distinguish recipes by their digests."""
    try:
        repeated_digest(values)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{part} has a value that plain JSON cannot hold ({error})") from None
