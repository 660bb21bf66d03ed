"""Known answers of the registered metrics."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from bench.core.imports import load_class
from bench.metrics.base import Measured, Metric, Reference, make_metric
from bench.metrics.info import MetricInfo
from bench.metrics.known import KnownAnswer
from bench.runs.installation.checked import Checked, compared, failed, left_out
from bench.runs.registry import Entry
from bench.task.protocol import Protocol

NONE = "no known answer; fix: give the class one, as docs/plugins.md shows"


def metric_checks(entry: Entry[MetricInfo]) -> Iterator[Checked]:
    """Test a metric on its known answers; one without any is listed as such."""
    try:
        info = entry.load()
        metric: type[Metric] = load_class(info.implementation)
        answers = metric.known_answers(info)
    except Exception as error:  # a stranger's plug-in may raise anything
        yield failed("metric", entry.name, "its known answers", error)
        return
    if not answers:
        yield left_out("metric", entry.name, "", NONE)
    for answer in answers:
        yield compared(
            *("metric", entry.name, answer.case, answer.expected, answer.tolerance),
            partial(measured_on, answer, info),
        )


def measured_on(answer: KnownAnswer, info: MetricInfo) -> float:
    """Return the value of a metric on the set of a known answer. Raises what the metric raises."""
    return result_on(answer, info).value


def result_on(answer: KnownAnswer, info: MetricInfo) -> Measured:
    """Return the value with its diagnostics on the set of a known answer. Raises what the metric raises."""
    reference = None if answer.real is None else Reference.of(answer.real, "known answer", "0" * 64)
    metric = make_metric(info, reference, _protocol(answer, info))
    for batch in answer.generated:
        metric.update(batch)
    return metric.result()


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
