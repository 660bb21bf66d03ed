"""A comparison as data for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.report.comparison.comparing import Compared, Pair


def to_data(compared: Compared) -> dict[str, Any]:
    """Return the comparison as data for JSON, with values in their own scale."""
    first = compared.sides[0].first
    labels = [side.label for side in compared.sides]
    return {
        "task": first.task,
        "protocol": first.protocol.get("name"),
        "protocol_sha256": first.protocol_sha256,
        "level": compared.level,
        "sides": [
            {
                "label": side.label,
                "runs": [record.run_id for record in side.records],
                "method": side.first.method.name,
            }
            for side in compared.sides
        ],
        "metrics": [
            {
                "name": metric.name,
                "title": metric.title,
                "direction": metric.direction,
                "values": [
                    {"label": label, **vars(measured)}
                    for label, measured in zip(labels, metric.sides, strict=True)
                ],
                "pairs": [_pair_data(pair, compared, labels) for pair in metric.pairs],
            }
            for metric in compared.metrics
        ],
        "recipe_differences": [
            {
                "field": row.field,
                "values": [
                    {"label": labels[side], "value": one.plain, "passed": one.passed}
                    for side, one in zip(compared.trained, row.values, strict=True)
                ],
            }
            for row in compared.differences
        ],
        "left_out": list(compared.left_out),
        "warnings": list(compared.warnings),
    }


def _pair_data(pair: Pair, compared: Compared, labels: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"first": labels[pair.first], "second": labels[pair.second]}
    if pair.test is None:
        return found | {"test": None, "why": pair.why}
    low, high = pair.test.interval(compared.level)
    return found | {
        "test": pair.test.test,
        "over": pair.kind,
        "n": list(pair.test.n),
        "difference": pair.test.difference,
        "low": low,
        "high": high,
        "t": pair.test.t,
        "degrees": pair.test.degrees,
        "p": pair.test.p,
        "p_holm": pair.p,
        "bootstrap": pair.bootstrap,
        "differ": compared.differ(pair),
    }
