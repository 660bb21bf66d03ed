"""The feature spaces of registered extractors that metrics read and the task does not have itself."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from bench.core.device import this_device
from bench.core.errors import unknown
from bench.core.files import digest
from bench.core.progress import Progress
from bench.evaluation.feature_spaces import LoadedSpace, as_reference
from bench.features.pinned import read_pinned, weights_for
from bench.features.references.make import FeatureSpace, RealImages, kept_references
from bench.features.references.store import ReferenceStatistics, reference_store
from bench.metrics.info import MetricInfo
from bench.runs.registry import Catalogue
from bench.task.base import PreparedTask, Task

KEPT = 10_000
"""Number of real images whose single features are kept, in references of more than twice as many images."""


def registered_spaces(
    catalogue: Catalogue, prepared: PreparedTask, metrics: Collection[MetricInfo], cache: Path, progress: Progress
) -> dict[str, LoadedSpace]:
    """Load the registered extractors that metrics read and the task does not have, and make their references.

    Raises UserError for an unknown extractor, for missing weights, and if there are no real images.
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
        if any(_needs_reals(info) for info in metrics if info.extractor == name):
            space = FeatureSpace(extractor.network(pinned, entry.plugin_sha256), extract)
            made = _made_once(prepared.reference_images(), space, prepared.task, cache, progress)
            reference = as_reference(made, prepared.task.protocol.reference)
        found[name] = LoadedSpace(extract, reference)
    return found


def _needs_reals(info: MetricInfo) -> bool:
    return info.needs_reference and info.compares_with == "real"


def _made_once(
    images: RealImages, space: FeatureSpace, task: Task, cache: Path, progress: Progress
) -> ReferenceStatistics:
    name = f"{task.name}-{digest([space.network, images.source_sha256, images.crop])[:12]}"
    keep = None if images.count <= 2 * KEPT else KEPT
    return kept_references(images, {"": space}, name, reference_store(cache), progress, keep)[""]
