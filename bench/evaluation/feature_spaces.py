"""The feature spaces of an evaluation: an extractor that is ready, and the real images by it."""

from __future__ import annotations

from dataclasses import dataclass

from bench.features.batch import Extract
from bench.features.reference_store import ReferenceStatistics
from bench.metrics.base import Reference
from bench.task.base import PreparedTask


@dataclass(frozen=True)
class LoadedSpace:
    """A feature extractor that is ready, and the real images' features by it."""

    extract: Extract
    reference: Reference | None
    """None where the extractor only scores, or no metric compares."""


def own_spaces(prepared: PreparedTask) -> dict[str, LoadedSpace]:
    """Return the feature spaces that the task provides, by the names that metrics ask for."""
    name = prepared.task.protocol.reference
    references = {key: as_reference(found, name) for key, found in prepared.references.items()}
    return {key: LoadedSpace(extract, references.get(key)) for key, extract in prepared.extractors.items()}


def as_reference(found: ReferenceStatistics, name: str) -> Reference:
    """Return kept statistics as metrics take them; `name` is the protocol's for the real images."""
    about = found.description
    return Reference(found.mean, found.cov, about.samples, name, about.sha256, found.rows, about.fallbacks)
