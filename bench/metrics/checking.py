"""Measure a metric on a set with a known answer."""

from __future__ import annotations

from typing import Any

from bench.metrics.base import Reference, make_metric
from bench.metrics.info import MetricInfo
from bench.metrics.known import KnownAnswer
from bench.task.protocol import Protocol


def measured_on(answer: KnownAnswer, info: MetricInfo) -> float:
    """Return the value of a metric on the set of a known answer. Raises what the metric raises."""
    reference = None if answer.real is None else Reference.of(answer.real, "known answer", "0" * 64)
    metric = make_metric(info, reference, _protocol(answer, info))
    for batch in answer.generated:
        metric.update(batch)
    return metric.result().value


def _protocol(answer: KnownAnswer, info: MetricInfo) -> Protocol:
    """Return a protocol under which few images are enough."""
    values: dict[str, Any] = {
        "name": "known-answer",
        "samples": sum(map(len, answer.generated)),
        "repetitions": 1,
        "first_seed": 0,
        "labels": "balanced",
        "uint8": "round",
        "reference": "known answer",
        "features": "known-answer",
        "metrics": (info.name,),
        "smoke": True,
    }
    return Protocol(**{**values, **answer.protocol})
