"""Known answers of the registered metrics."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bench.core.imports import load_class
from bench.metrics.base import Metric
from bench.metrics.checking import measured_on
from bench.metrics.info import MetricInfo
from bench.runs.installation.checked import Checked, compared, failed, left_out
from bench.runs.registry import Entry

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
