"""References of the teacher's images, in the feature spaces of the metrics that compare with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bench.core.files import digest
from bench.core.progress import Progress
from bench.evaluation.feature_spaces import LoadedSpace, own_spaces
from bench.evaluation.teacher_images import teacher_images
from bench.features.references.make import FeatureSpace, kept_references
from bench.features.references.store import ReferenceStatistics, reference_store
from bench.metrics.info import MetricInfo
from bench.task.assets import PreparedAsset, reference_asset
from bench.task.base import PreparedTask

KEPT = 10_000
"""Number of images whose single features are kept, in references of more than twice as many images."""


def add_teacher_references(
    prepared: PreparedTask,
    metrics: Iterable[MetricInfo],
    further: Mapping[str, LoadedSpace],
    progress: Progress,
) -> None:
    """Give a task the references of its teacher's images that metrics compare with, made only if missing.

    `further` are the feature spaces that the task does not provide. The references are among the task's data, so
    that every record has their hashes. Nothing is done if no metric compares with the teacher.
    """
    spaces = {**own_spaces(prepared), **further}
    wanted = {info.extractor for info in metrics if info.compares_with == "teacher"}
    missing = sorted(wanted - prepared.teacher_references.keys())
    if not missing:
        return
    images, store = teacher_images(prepared, progress), reference_store(prepared.cache)
    made, assets = dict[str, ReferenceStatistics](), list[PreparedAsset]()
    networks = [asset.sha256 for asset in prepared.weights]
    for extractor in missing:
        network = prepared.task.protocol.network(extractor)
        key = digest(["teacher reference", 1, images.source_sha256, extractor, network, networks])
        space = FeatureSpace(network, spaces[extractor].extract)
        keep = None if images.count <= 2 * KEPT else KEPT
        name = f"{prepared.task.name}-teacher-{key[:12]}"
        made[extractor] = kept_references(images, {"": space}, name, store, progress, keep)[""]
        assets.append(reference_asset(f"reference of the teacher, {extractor}", store, made[extractor]))
    prepared.teacher_references = {**prepared.teacher_references, **made}
    prepared.data = [*prepared.data, *assets]
