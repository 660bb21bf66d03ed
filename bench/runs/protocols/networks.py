"""Protocols completed with the networks of the registered feature extractors that they use. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bench.features.pinned import read_pinned
from bench.task.base import Task
from bench.task.declaration import Requirement
from bench.task.protocol import MAIN, Protocol, TeacherReference

if TYPE_CHECKING:
    from bench.features.base import FeatureExtractor
    from bench.runs.registry import Catalogue, Entry

T = TypeVar("T", bound=Task)


def with_metrics(task: T, names: Sequence[str], catalogue: Catalogue) -> T:
    """Return the task under a protocol that measures only these metrics and has its own name.

    Its numbers belong to that protocol, and are never part of the record of a run under the task's own protocol.
    Where they compare with the teacher's images, and the protocol names no sampler, the task's first makes them.
    Raises UserError for an unknown metric.
    """
    for name in names:
        catalogue.metrics.find(name)
    if tuple(names) == task.protocol.metrics:
        return task
    name = f"{task.protocol.name}.{'+'.join(names)}"
    protocol = replace(task.protocol, name=name, metrics=tuple(names))
    if protocol.teacher_reference is None and any(
        catalogue.metrics.get(one).compares_with == "teacher" for one in names
    ):
        protocol = replace(protocol, teacher_reference=TeacherReference.by(next(iter(task.baselines.values()))))
    return replace(task, protocol=task.naming_pinned(protocol))


def network_requirements(task: Task, catalogue: Catalogue, cache: Path) -> list[Requirement]:
    """Return the weights that registered extractors read for the protocol's metrics, each pinned or missing.

    A task requires those that it pins for itself, or has an extractor of its own for.
    """
    pinned, found = read_pinned(cache), dict[str, Requirement]()
    for metric, entry in _registered(task.protocol, catalogue):
        network = entry.load().network(pinned, entry.plugin_sha256)
        if task.protocol.extractors.get(entry.name, network) != network:
            continue
        for one in entry.load().weights:
            if one.name not in task.weight_names:
                path = pinned[one.name].path if one.name in pinned else None
                path = path if path is not None and path.exists() else None
                found.setdefault(one.name, Requirement(one.name, f"what metric {metric} reads", path, one.fix))
    return list(found.values())


def with_registered_networks(task: T, catalogue: Catalogue, cache: Path) -> T:
    """Return the task with what decides its numbers in its protocol, if that is registered.

    These are the networks of registered extractors, and the files of metrics that plug-ins define.
    """
    return replace(task, protocol=_named(task.protocol, catalogue, cache))


def _named(protocol: Protocol, catalogue: Catalogue, cache: Path) -> Protocol:
    missing: dict[str, str] = {}
    files: dict[str, str] = {}
    pinned = None
    for metric in protocol.metrics:
        if sha256 := catalogue.metrics.find(metric).plugin_sha256:
            files[metric] = sha256
    for _, entry in _registered(protocol, catalogue):
        if entry.name not in protocol.extractors:
            pinned = read_pinned(cache) if pinned is None else pinned
            missing[entry.name] = entry.load().network(pinned, entry.plugin_sha256)
    if not missing and files == protocol.plugins:
        return protocol
    return replace(protocol, extractors={**protocol.extractors, **missing}, plugins=files)


def _registered(protocol: Protocol, catalogue: Catalogue) -> Iterator[tuple[str, Entry[FeatureExtractor]]]:
    """Yield the metrics of a protocol whose extractor is registered, each with its extractor."""
    for metric in protocol.metrics:
        name = catalogue.metrics.get(metric).extractor
        if name != MAIN and name in catalogue.extractors.entries:
            yield metric, catalogue.extractors.find(name)
