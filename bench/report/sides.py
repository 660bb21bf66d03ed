"""The sides of a comparison, and what makes them comparable."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from bench.core.errors import UserError, listed
from bench.runs.record import Record, is_study


@dataclass(frozen=True)
class Found:
    """A record and its file."""

    record: Record
    path: Path


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a method with all its training seeds, one run, or a sampler."""

    label: str
    found: tuple[Found, ...]
    """One for each training seed, in their order; a sampler and a single run have one."""
    whole: bool = True
    """Whether the side is a method or a sampler; otherwise it is a single run of a method."""

    @property
    def records(self) -> list[Record]:
        """The records, one for each training seed."""
        return [one.record for one in self.found]

    @property
    def first(self) -> Record:
        """The record of the first training seed."""
        return self.found[0].record


def comparable(sides: list[Side]) -> list[Side]:
    """Return the sides if their numbers are of the same quantity.

    Raises UserError for results of different protocols, or of different teachers or feature networks, for a run
    without results, and for a user study.
    """
    for side in sides:
        for record in side.records:
            if is_study(record.protocol):
                raise UserError(
                    f"{side.label} is a user study, and its preference already compares two runs; "
                    f"fix: bench report --task {record.task}, which shows it"
                )
            if record.error is not None:
                raise UserError(
                    f"{side.label} has no result: it failed with {record.error.type}; "
                    f"fix: bench logs {record.task}/{record.run_id}"
                )
    base = sides[0]
    for side in sides[1:]:
        ours, theirs = base.first, side.first
        if ours.protocol_sha256 != theirs.protocol_sha256:
            raise UserError(
                f"{base.label} was measured under {protocol_of(ours)} and {side.label} under "
                f"{protocol_of(theirs)}; numbers of two protocols are never compared; "
                f"fix: bench eval --task {ours.task} --checkpoint FOLDER, which measures a student again, or "
                "--protocol NAME, which leaves out those of others"
            )
    for one, other in combinations(sides, 2):
        if not measured_alike(one.first, other.first):
            raise UserError(
                f"{one.label} and {other.label} depend on different networks: "
                f"{differing_roles(one.first, other.first)}; "
                "such numbers are never compared, unless the teacher's samplers show that they differ by rounding "
                f"alone; fix: bench eval --task {one.first.task} --sampler NAME, measure both with the same, or "
                "leave the committed records out by --no-committed"
            )
    return sides


def measured_alike(ours: Record, theirs: Record) -> bool:
    """Say whether two results depend on the same networks, but for those that only one of them needs.

    Images from outside and pipelines need no teacher: what measures them is all that they share with a student.
    """
    if ours.networks_sha256 == theirs.networks_sha256:
        return True
    fewer, more = sorted(
        ([(one.role, one.sha256) for one in record.weights] for record in (ours, theirs)), key=len
    )
    return "teacher" not in dict(fewer) and set(fewer) < set(more)


def protocol_of(record: Record) -> str:
    """Name a record's protocol with its digest and its task."""
    return f"protocol {record.protocol.get('name', '')} {record.protocol_sha256[:12]} on {record.task}"


def differing_roles(ours: Record, theirs: Record) -> str:
    """Name the roles whose files differ."""
    first, second = (sorted((asset.role, asset.sha256) for asset in one.weights) for one in (ours, theirs))
    return listed(sorted({role for role, _ in set(first) ^ set(second)}))
