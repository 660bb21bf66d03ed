"""The feature spaces of an evaluation: a loaded extractor with its references."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from bench.features.batch import Extract
from bench.features.references.store import ReferenceStatistics
from bench.metrics.base import Reference
from bench.metrics.info import MetricInfo
from bench.task.base import PreparedTask


@dataclass(frozen=True)
class LoadedSpace:
    """A loaded feature extractor, and the features that it made of the images to compare with."""

    extract: Extract
    reference: Reference | None
    """The real images; None if the extractor only scores, or no metric compares with them."""
    teacher: Reference | None = None
    """The teacher's images; None if no metric compares with them."""

    def reference_of(self, metric: MetricInfo) -> Reference | None:
        """Return the images that a metric compares with."""
        return self.teacher if metric.compares_with == "teacher" else self.reference

    def hashes(self) -> Iterator[tuple[str, str]]:
        """Yield the hash of each reference, with what its images are."""
        for whose, reference in (("real", self.reference), ("teacher", self.teacher)):
            if reference is not None:
                yield whose, reference.sha256


def own_spaces(prepared: PreparedTask) -> dict[str, LoadedSpace]:
    """Return the feature spaces that the task provides, by the names that metrics use."""
    name = prepared.task.protocol.reference
    references = {key: as_reference(found, name) for key, found in prepared.references.items()}
    return {key: LoadedSpace(extract, references.get(key)) for key, extract in prepared.extractors.items()}


def with_teacher(spaces: Mapping[str, LoadedSpace], prepared: PreparedTask) -> dict[str, LoadedSpace]:
    """Return the spaces with the references of the teacher's images that the task has been given."""
    reference = prepared.task.protocol.teacher_reference
    name = f"images of the teacher by {reference.sampler}" if reference else ""
    made = {key: as_reference(found, name) for key, found in prepared.teacher_references.items()}
    return {key: replace(space, teacher=made.get(key)) for key, space in spaces.items()}


def as_reference(found: ReferenceStatistics, name: str) -> Reference:
    """Return stored statistics as a metric's reference; `name` is the protocol's name of its images."""
    about = found.description
    return Reference(found.mean, found.cov, about.samples, name, about.sha256, found.rows, about.fallbacks)
