"""The feature spaces of an evaluation: a loaded extractor with its reference of real images."""

from __future__ import annotations

from dataclasses import dataclass

from bench.features.batch import Extract
from bench.features.reference_store import ReferenceStatistics
from bench.metrics.base import Reference
from bench.task.base import PreparedTask


@dataclass(frozen=True)
class LoadedSpace:
    """A loaded feature extractor, and the real images' features that it made."""

    extract: Extract
    reference: Reference | None
    """The real images; None if the extractor only scores, or no metric compares."""


def own_spaces(prepared: PreparedTask) -> dict[str, LoadedSpace]:
    """Return the feature spaces that the task provides, by the names that metrics use."""
    name = prepared.task.protocol.reference
    references = {key: as_reference(found, name) for key, found in prepared.references.items()}
    return {key: LoadedSpace(extract, references.get(key)) for key, extract in prepared.extractors.items()}


def as_reference(found: ReferenceStatistics, name: str) -> Reference:
    """Return stored statistics as a metric's reference; `name` is the protocol's name of the real images."""
    about = found.description
    return Reference(found.mean, found.cov, about.samples, name, about.sha256, found.rows, about.fallbacks)
