"""Which metrics read which weights: by the extractors that they name, and by the networks of tasks' protocols."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from bench.features.base import FeatureExtractor
from bench.features.weights import FoundWeights
from bench.runs.registry import Catalogue
from bench.runs.weights import Located
from bench.task.base import Task
from bench.task.pinned import PinnedTask
from bench.task.protocol import Protocol


def readers(catalogue: Catalogue, located: Iterable[Located], task: Task | None) -> dict[str, list[str]]:
    """Return the metrics that read each of these weights, by name; with `task`, only those of its protocol.

    A metric that reads a protocol's main features reads the weights whose published network has their name.
    """
    protocols = list(_protocols(catalogue)) if task is None else [task.protocol]
    found = {}
    for one in located:
        metrics: set[str] = set()
        for extractor in one.extractors:
            names = {extractor.name}
            if task is None or one.name in task.weight_names:
                names |= {_published_network(extractor)} - {""}
            if task is None:
                metrics |= {info for info, of in _extractors_of(catalogue).items() if of == extractor.name}
            for protocol in protocols:
                metrics |= {name for name in protocol.metrics if _network(catalogue, protocol, name) & names}
        found[one.name] = sorted(metrics)
    return found


def _extractors_of(catalogue: Catalogue) -> Mapping[str, str]:
    return {name: metric.extractor for name, metric in catalogue.metrics.loaded().items()}


def _protocols(catalogue: Catalogue) -> Iterable[Protocol]:
    for task in catalogue.tasks.loaded().values():
        yield from task.protocols.values() if isinstance(task, PinnedTask) else [task.protocol]


def _network(catalogue: Catalogue, protocol: Protocol, metric: str) -> set[str]:
    """Return the names of the extractor that a metric reads under a protocol, and of its network."""
    extractor = _extractors_of(catalogue).get(metric, "")
    return {extractor, protocol.network(extractor)} if extractor else set()


def _published_network(extractor: FeatureExtractor) -> str:
    """Return the name that an extractor's network has with the published files; empty without any."""
    files = {one.name: FoundWeights(Path(one.file.name), one.file.sha256) for one in extractor.weights if one.file}
    return extractor.network(files) if len(files) == len(extractor.weights) else ""
