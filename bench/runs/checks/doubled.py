"""Whether a result is counted twice: records of one run that disagree, and one run under two names."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path

from bench.core.files import repeated_digest
from bench.metrics.result import MetricResult
from bench.runs.checks.finding import Finding, error, warning
from bench.runs.record import Record

ROUNDING = 1e-5
"""Networks compute in float32, and other processors round otherwise: the same run's FD then differs by 1e-7."""
FIX = "keep the older record, and say in the pull request why there is another"


def doubled_findings(records: Mapping[Path, Record]) -> dict[Path, list[Finding]]:
    """Return what is wrong with each record beside the others.

    Every record of a group but the oldest gets the finding, so that an accepted result stays accepted.
    """
    found: dict[Path, list[Finding]] = defaultdict(list)
    for path, first, record, other in _later(records, _result):
        if record == other:
            found[path].append(warning(f"{first} is the same record", "leave one of them out"))
        elif same_result(record, other):
            found[path].append(warning(f"{first} is a record of the same result", "leave one of them out"))
        else:
            found[path].append(error(f"{first} is a record of the same run with another result", FIX))
    for path, first, record, other in _later(records, _trained):
        if record.run_id != other.run_id and record.status == other.status == "ok":
            found[path].append(error(f"{first} has the same method, recipe, protocol and seed", FIX))
    for path, first, record, other in _later(records, _weights):
        if record.train_seed != other.train_seed:
            found[path].append(
                error(
                    f"{first} has the same weights, but training seed {other.train_seed} and not "
                    f"{record.train_seed}",
                    "train each seed",
                )
            )
    for path, first, record, other in _later(records, _distances):
        if record.run_id != other.run_id and _weights(record) != _weights(other):
            found[path].append(error(f"{first} is of another run, but has exactly the same values", FIX))
    return found


def same_result(one: Record, other: Record) -> bool:
    """Say whether two records are of one run and the same weights, with values that agree but for rounding."""
    return one.checkpoint == other.checkpoint and same_values(one, other)


def same_values(one: Record, other: Record) -> bool:
    """Say whether two records are of one run, with values that agree in every repetition but for rounding.

    Of those that do not, `load_records` says that one alone counts, and checks and packing that they contradict.
    Only metrics that both have are compared: versions of this package may measure more, or other ones. They may
    also write the same student into other files, so the hash of its files is not compared.
    """
    if (one.task, one.run_id, one.status) != (other.task, other.run_id, other.status):
        return False
    if _selected(one) != _selected(other) or one.weights != other.weights:
        return False
    values = {metric.name: _numbers(metric) for metric in other.metrics}
    shared = [(_numbers(metric), values[metric.name]) for metric in one.metrics if metric.name in values]
    return bool(shared) and all(
        len(first) == len(second) and all(map(_equal, first, second)) for first, second in shared
    )


def _selected(record: Record) -> tuple[object, ...]:
    """Return which weights of its training a record is of."""
    found = record.checkpoint
    return () if found is None else (found.iteration, found.selection, found.weights)


def _numbers(metric: MetricResult) -> list[float]:
    return [*metric.values, *([] if metric.value is None else [metric.value])]


def _equal(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=ROUNDING)


def _later(
    records: Mapping[Path, Record], key: Callable[[Record], Hashable | None]
) -> list[tuple[Path, Path, Record, Record]]:
    """Return each record with an older one of the same key: both paths, then both records. None is no key."""
    oldest: dict[Hashable, Path] = {}
    found = []
    for path in sorted(records, key=lambda one: (records[one].provenance.time, one)):
        group = key(records[path])
        if group is None:
            continue
        if group in oldest:
            found.append((path, oldest[group], records[path], records[oldest[group]]))
        else:
            oldest[group] = path
    return found


def _result(record: Record) -> Hashable:
    """Return what has one result: a run and, for a sampler, the networks that it needs no training beside."""
    return record.task, record.run_id, record.own_networks_sha256 if record.kind == "baseline" else ""


def _trained(record: Record) -> Hashable | None:
    """Return what makes two records the same training seed of the same row of a table."""
    if record.kind != "method":
        return None
    method, checkpoint = record.method, record.checkpoint
    how = (method.name, method.distiller, method.plugin_sha256, repeated_digest(method.recipe))
    selection = checkpoint.selection if checkpoint else ""
    return (record.task, record.protocol_sha256, record.own_networks_sha256, *how, selection, record.train_seed)


def _weights(record: Record) -> Hashable | None:
    """Return the weights that were evaluated, under which protocol."""
    if record.kind != "method" or record.checkpoint is None:
        return None
    return record.checkpoint.sha256, record.protocol_sha256


def _distances(record: Record) -> Hashable | None:
    """Return the values in which no two runs agree to the last digit; None if there are too few."""
    values = tuple(value for metric in record.metrics for value in metric.values if value != int(value))
    return (record.task, record.protocol_sha256, values) if len(values) > 1 else None
