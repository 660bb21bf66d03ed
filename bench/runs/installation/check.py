"""All known-answer tests of an installation, in order: what others build on comes first."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path

from bench.core.device import this_device
from bench.core.errors import UserError
from bench.features.references.store import reference_store
from bench.metrics.info import MetricInfo
from bench.runs.installation.arithmetic import arithmetic_checks, resize_checks
from bench.runs.installation.checked import Checked
from bench.runs.installation.extractors import extractor_checks
from bench.runs.installation.metrics import metric_checks
from bench.runs.installation.references import reference_checks
from bench.runs.registry import Catalogue, Entry
from bench.runs.weights import located_weights


def installation_checks(catalogue: Catalogue, metrics: Collection[str], cache: Path) -> Iterator[Checked]:
    """Test the arithmetic, the resizes, these metrics, and what they read; all registered ones if none is named.

    Raises UserError for an unknown name.
    """
    device = this_device()
    chosen = [catalogue.metrics.find(name) for name in metrics] or list(catalogue.metrics)
    yield from arithmetic_checks(device)
    yield from resize_checks(device)
    for metric in chosen:
        yield from metric_checks(metric)
    here = {name: one.found for name, one in located_weights(catalogue, cache).items() if one.found is not None}
    infos = [one for one in map(_info, chosen) if one is not None]
    read = {info.extractor for info in infos}
    for entry in catalogue.extractors:
        if not metrics or entry.name in read:
            yield from extractor_checks(entry, here, device)
    if any(info.needs_reference for info in infos):
        yield from reference_checks(reference_store(cache))


def _info(entry: Entry[MetricInfo]) -> MetricInfo | None:
    """Return a metric's description; None for a broken plug-in, which `metric_checks` has reported."""
    with contextlib.suppress(UserError):
        return entry.load()
    return None
