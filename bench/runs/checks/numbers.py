"""Whether a record's values agree with each other and with its protocol."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from bench.core.errors import UserError, listed
from bench.core.numbers import is_finite
from bench.metrics.base import binds_its_result, metric_class
from bench.metrics.catalogue import DIVERSITY, RATE
from bench.metrics.info import MetricInfo, is_within
from bench.metrics.intervals import t_interval
from bench.metrics.recorded import Recorded
from bench.metrics.result import MetricResult
from bench.metrics.titles import EARLIER_DIVERSITY, name_of, title_of
from bench.runs.checks.finding import UNCHANGED, Finding, error, note, shortened, warning
from bench.runs.record import Record, is_study
from bench.task.protocol import MAIN

RELATIVE = 1e-9
"""Rounding differs between machines in the last digits, and by no more than this."""


def number_findings(record: Record, metrics: Mapping[str, MetricInfo]) -> Iterator[Finding]:
    """Yield what is wrong with the values of a successful record; `metrics` are the registered ones, by name."""
    networks = {name: _network(record, info) for name, info in metrics.items()}
    # Some metrics are recorded under another name than the registered one, as a scaled KID is.
    recorded = {name_of(info, networks[name]): name for name, info in metrics.items()}
    declared = record.protocol.get("metrics")
    if isinstance(declared, list):
        names = list(map(str, declared))
        given = {recorded.get(metric.name, metric.name) for metric in record.metrics}
        if missing := [name for name in names if name not in given]:
            yield error(f"no value of {listed(missing)}, which the protocol declares", UNCHANGED)
        if more := sorted(given - set(names)):
            yield error(f"values of {listed(more)}, which the protocol does not declare", UNCHANGED)
    if not record.metrics:
        yield error("no metrics, although the status is ok", "evaluate the run: bench run again")
    for metric in record.metrics:
        name = recorded.get(metric.name, metric.name)
        known = metrics.get(name)
        title = metric.title
        if known is not None:  # an earlier KID of unscaled features has the registered title
            title = title_of(known, networks[name]) if metric.name in recorded else known.title
        for found in (*_of_metric(record, metric, known), *_of_title(metric, title)):
            yield Finding(found.level, f"metric {metric.name!r}: {found.what}", found.fix)


def _network(record: Record, info: MetricInfo) -> str:
    """Return the network whose features a metric reads under the record's protocol."""
    if info.extractor == MAIN:
        return str(record.protocol.get("features", ""))
    return str(record.protocol.get("extractors", {}).get(info.extractor, info.extractor))


def _of_title(metric: MetricResult, title: str) -> Iterator[Finding]:
    """Find a heading that says another metric or network, such as FID; tables would show it."""
    if metric.title != title and (metric.name, metric.title) != (DIVERSITY.name, EARLIER_DIVERSITY):
        yield warning(f"its heading is {shortened(metric.title)}, but it is {shortened(title)} here", UNCHANGED)


def _of_metric(record: Record, metric: MetricResult, known: MetricInfo | None) -> Iterator[Finding]:
    numbers = [*metric.values, *(n for n in (metric.value, metric.std, metric.low, metric.high) if n is not None)]
    if not all(map(is_finite, numbers)):
        yield error(f"{max(numbers, key=abs):g} is no value of any metric", UNCHANGED)
        return
    yield from _of_protocol(record, metric)
    if metric.value is None or not metric.values:
        yield error(f"no value, and {len(metric.values)} values by generation seed", UNCHANGED)
        return
    if is_study(record.protocol):
        yield from _of_study(metric, metric.value)
        return
    yield from _of_values(record, metric, metric.value)
    if known is None:
        yield note("not registered here, so that its direction and range are not checked", "give --plugin FILE")
        return
    if metric.direction != known.direction:
        yield error(f"{metric.direction} is said to be better, but {known.direction} is", UNCHANGED)
    yield from _of_diagnostics(record, metric, known)
    low, high = known.range
    if wrong := [value for value in (metric.value, *metric.values) if not is_within(value, known.range)]:
        yield error(f"{wrong[0]:g} is not between {low:g} and {high:g}", UNCHANGED)
    # A share of a thousand images may well be the same twice; a distance is not.
    if known.range != RATE and len(metric.values) > 1 and len(set(metric.values)) == 1:
        yield warning(
            f"all {len(metric.values)} values are {metric.values[0]:g}, but generation seeds give different ones",
            "say in the pull request why they are equal",
        )


def _of_diagnostics(record: Record, metric: MetricResult, known: MetricInfo) -> Iterator[Finding]:
    """Ask the metric's class whether each value and its diagnostics can both be true."""
    images_per_prompt = record.protocol.get("images_per_prompt", 1)
    if not isinstance(images_per_prompt, int) or images_per_prompt < 1:
        return
    try:
        implementation = metric_class(known)
    except UserError:  # of a plug-in that cannot be used here; evaluating it says why
        return
    if not binds_its_result(implementation):
        return
    for number, (value, diagnostics) in enumerate(zip(metric.values, metric.diagnostics, strict=False)):
        found = Recorded(value, metric.samples, images_per_prompt, diagnostics)
        for what in implementation.contradictions(known, found):
            yield error(f"repetition {number}: {what}", UNCHANGED)


def _of_protocol(record: Record, metric: MetricResult) -> Iterator[Finding]:
    """Compare the counts with those of the protocol, where it declares them."""
    samples, repetitions = record.protocol.get("samples"), record.protocol.get("repetitions")
    if samples is not None and metric.samples != samples:
        yield error(f"{metric.samples} samples, but the protocol has {samples}", UNCHANGED)
    if repetitions is not None and len(metric.values) != repetitions:
        yield error(f"{len(metric.values)} values, but the protocol has {repetitions} repetitions", UNCHANGED)
    if len(metric.diagnostics) not in (0, len(metric.values)):
        yield error(f"{len(metric.diagnostics)} diagnostics for {len(metric.values)} values", UNCHANGED)


def _of_values(record: Record, metric: MetricResult, value: float) -> Iterator[Finding]:
    """Compute the summary of the values again."""
    mean, std, low, high = t_interval(metric.values, metric.level)
    # EDM's papers print the minimum of the repetitions' FD, for which there is no interval.
    is_minimum = record.protocol.get("aggregate") == "minimum" and metric.name == "fd" and len(metric.values) > 1
    if is_minimum:
        mean, low, high = min(metric.values), None, None
    size = max(map(abs, metric.values))
    for name, given, right in (
        ("value", value, mean),
        ("std", metric.std, std),
        ("low", metric.low, low),
        ("high", metric.high, high),
    ):
        if not _equal(given, right, size):
            summary = "minimum" if is_minimum and name == "value" else "Student-t summary"
            yield error(f"{name} is {given}, but the {summary} of its values gives {right}", UNCHANGED)


def _of_study(metric: MetricResult, value: float) -> Iterator[Finding]:
    """Compute a preference and its exact binomial interval again, from the pairs that were won and lost."""
    from scipy.special import betaincinv

    found = metric.diagnostics[0] if metric.diagnostics else {}
    won, lost = found.get("pairs_won"), found.get("pairs_lost")
    if not (isinstance(won, int) and isinstance(lost, int) and won >= 0 and lost >= 0 and won + lost > 0):
        yield error("a study without the numbers of pairs that were won and lost", UNCHANGED)
        return
    tail = (1 - metric.level) / 2
    low = float(betaincinv(won, lost + 1, tail)) if won else 0.0
    high = float(betaincinv(won + 1, lost, 1 - tail)) if lost else 1.0
    rights = {"value": won / (won + lost), "low": low, "high": high}
    for name, given in {"value": value, "low": metric.low, "high": metric.high}.items():
        if not _equal(given, rights[name], 1.0):
            yield error(f"{name} is {given}, but {won} won and {lost} lost pairs give {rights[name]}", UNCHANGED)


def _equal(one: float | None, other: float | None, size: float) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=RELATIVE, abs_tol=RELATIVE * size)
