"""Check, before anything is submitted, that a cluster has what a profile asks for."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import UserError, counted, hint
from bench.jobs.spec import JobSpec
from slurm.graph import Batch
from slurm.profile import Profile
from slurm.queue import require_commands, slurm
from slurm.resources import Resources, Stage
from slurm.submission import new_submission, require_fit

STAGES: tuple[Stage, ...] = ("prepare", "train", "evaluate")


@dataclass(frozen=True)
class NodeKind:
    """Nodes of a partition that are alike."""

    partition: str
    is_default: bool
    hours: float
    """Longest time limit; infinity: none."""
    nodes: int
    """The number of nodes that are not down."""
    cpus: int
    memory_gb: float
    features: frozenset[str]
    gpus: int
    gpu_types: frozenset[str]


def refusals(profile_name: str, profile: Profile, asked: dict[Stage, Resources], task: str) -> list[str]:
    """Ask `sbatch --test-only` with the very scripts that a task's stages would get; return what it refuses.

    Raises UserError where there is no sbatch.
    """
    require_commands("sbatch")
    with tempfile.TemporaryDirectory() as folder:
        submission = new_submission(Path(folder), profile_name)
        found = []
        for stage in STAGES:
            work = JobSpec(f"{stage} {task}", stage, submission.folder)
            try:
                require_fit(submission, Batch(f"{stage}-{task}", stage, (work, work), asked[stage]), profile)
            except UserError as error:
                found.append(str(error))
        return found


def node_kinds() -> list[NodeKind]:
    """Ask the cluster for its partitions and their nodes. Raises UserError without a cluster."""
    text = slurm("sinfo", "-h", "-e", "-o", "%P|%l|%D|%c|%m|%f|%G|%t")
    return [kind for line in text.splitlines() if (kind := _kind(line.strip())) is not None]


def _kind(line: str) -> NodeKind | None:
    partition, limit, nodes, cpus, memory, features, gres, state = line.split("|")
    if state.startswith(("down", "drain", "fail", "inval", "unk")):
        return None
    gpus = re.findall(r"gpu(?::([\w.-]+))??:(\d+)", gres)
    return NodeKind(
        partition.rstrip("*"),
        partition.endswith("*"),
        _hours(limit),
        int(nodes),
        int(cpus.rstrip("+")),
        int(memory.rstrip("+")) / 1024,
        frozenset(features.split(",")) - {"(null)"},
        sum(int(count) for _, count in gpus),
        frozenset(kind for kind, _ in gpus if kind),
    )


def _hours(limit: str) -> float:
    """A time limit as Slurm prints it: days-hours:minutes:seconds, or infinite."""
    if not limit[:1].isdigit():
        return float("inf")
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    hours, minutes, seconds = [0] * (3 - len(parts)) + parts
    return 24 * int(days or 0) + hours + minutes / 60 + seconds / 3600


def problems(profile: Profile, asked: dict[Stage, Resources], kinds: Sequence[NodeKind]) -> list[str]:
    """Return one line, with its fix, for each request that does not fit the cluster."""
    return [line for stage in STAGES for line in _stage_problems(profile, stage, asked[stage], kinds)]


def _stage_problems(profile: Profile, stage: Stage, asked: Resources, kinds: Sequence[NodeKind]) -> Iterator[str]:
    settings = profile.settings(stage)
    names = sorted({kind.partition for kind in kinds})
    partitions = None if settings.partition is None else settings.partition.split(",")
    for name in partitions or ():
        if name not in names:
            yield f"{stage}: no partition {name!r} with nodes that are up; {hint(name, names)}"
            return
    inside = [kind for kind in kinds if (kind.is_default if partitions is None else kind.partition in partitions)]
    if not inside:
        yield f"{stage}: there is no default partition; set partition in the profile: {', '.join(names)}"
        return
    where = f"{stage}: partition {settings.partition or inside[0].partition!r}"
    if settings.constraint is not None and not re.search(r"[&|*\[(]", settings.constraint):
        fitting = [kind for kind in inside if settings.constraint in kind.features]
        if not fitting:
            known = ", ".join(sorted(set().union(*(kind.features for kind in inside)))) or "none"
            yield f"{where} has no node with the feature {settings.constraint!r}; there are: {known}"
            return
        inside = fitting
    if profile.gpu_type and asked.gpus and not any(profile.gpu_type in kind.gpu_types for kind in inside):
        known = ", ".join(sorted(set().union(*(kind.gpu_types for kind in inside)))) or "GPUs without a type"
        yield f"{where} has no GPUs of type {profile.gpu_type!r}; there are: {known}"
    most = {
        "gpus_per_node": (asked.gpus, max(kind.gpus for kind in inside), counted(asked.gpus, "GPU")),
        "cpus_per_node": (asked.cpus, max(kind.cpus for kind in inside), counted(asked.cpus, "CPU")),
        "memory_gb_per_node": (
            asked.memory_gb,
            max(kind.memory_gb for kind in inside),
            f"{asked.memory_gb:g} GB of memory",
        ),
    }
    for key, (wanted, there, what) in most.items():
        if wanted > there:
            yield f"{where}: a job asks for {what} of a node, and the most is {there:g}; lower {key}"
    if asked.nodes > (there := sum(kind.nodes for kind in inside)):
        yield f"{where}: a job would ask for {asked.nodes} nodes, and it has {there}; lower max_nodes"
    if asked.hours > (limit := max(kind.hours for kind in inside)):
        asks = f"a job would ask for {counted(asked.hours, 'hour')}"
        yield f"{where}: {asks}, and the limit is {limit:g}; lower max_hours"
