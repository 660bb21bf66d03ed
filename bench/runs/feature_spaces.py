"""The feature spaces of an evaluation: the task's own, and those of registered extractors that metrics name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bench.core.device import this_device
from bench.core.errors import unknown
from bench.core.files import digest
from bench.core.progress import Progress
from bench.features.batch import Extract
from bench.features.pinned import read_pinned, weights_for
from bench.features.reference_store import ReferenceStatistics, reference_store
from bench.features.references import FeatureSpace, RealImages, kept_references
from bench.metrics.base import Reference
from bench.metrics.catalogue import MetricInfo
from bench.runs.registry import Catalogue
from bench.task.base import Task
from bench.task.prepared import PreparedTask

KEPT = 10_000
"""Real images whose features are kept one by one in references of more than twice as many."""


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


def registered_spaces(
    catalogue: Catalogue, prepared: PreparedTask, metrics: Collection[MetricInfo], cache: Path, progress: Progress
) -> dict[str, LoadedSpace]:
    """Load the registered extractors that metrics name and the task does not have, and make their references.

    Raises UserError for an unknown extractor, for missing weights, and where there are no real images.
    """
    found = {}
    for name in sorted({info.extractor for info in metrics} - prepared.extractors.keys()):
        if name not in catalogue.extractors.entries:
            known = [*prepared.extractors, *catalogue.extractors.entries]
            raise unknown(f"feature extractor for task {prepared.task.name!r}:", name, known)
        entry = catalogue.extractors.find(name)
        extractor, pinned = entry.load(), read_pinned(cache)
        extract = extractor.load(weights_for(extractor, pinned), this_device())
        reference = None
        if any(info.needs_reference for info in metrics if info.extractor == name):
            space = FeatureSpace(extractor.network(pinned, entry.plugin_sha256), extract)
            made = _made_once(prepared.reference_images(), space, prepared.task, cache, progress)
            reference = as_reference(made, prepared.task.protocol.reference)
        found[name] = LoadedSpace(extract, reference)
    return found


def _made_once(
    images: RealImages, space: FeatureSpace, task: Task, cache: Path, progress: Progress
) -> ReferenceStatistics:
    name = f"{task.name}-{digest([space.network, images.source_sha256, images.crop])[:12]}"
    keep = None if images.count <= 2 * KEPT else KEPT
    return kept_references(images, {"": space}, name, reference_store(cache), progress, keep)[""]


def as_reference(found: ReferenceStatistics, name: str) -> Reference:
    """Return kept statistics as metrics take them; `name` is the protocol's for the real images."""
    about = found.description
    return Reference(found.mean, found.cov, about.samples, name, about.sha256, found.rows, about.fallbacks)
