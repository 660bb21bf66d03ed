"""Whether several records fit together: sheets of the same noise, diagnostics of the same real images."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path

from bench.core.errors import UserError
from bench.evaluation.sheet import Sheet, read_sheet
from bench.metrics.result import MetricResult
from bench.runs.checks.finding import UNCHANGED, Finding, warning
from bench.runs.evidence.files import evidence_of
from bench.runs.evidence.sheets import maker_of
from bench.runs.given.plan import is_given
from bench.runs.record import Record

ROUNDING = 1e-3
"""Features differ between processors by 1e-6, and the smallest eigenvalue of many by more."""
OF_REFERENCE = "reference_"
"""How the diagnostics of the real images alone begin."""
FIX_SHEET = "send the sheet of this run, as bench records pack does"


def together_findings(records: Mapping[Path, tuple[Path, Record]]) -> dict[Path, list[Finding]]:
    """Return what is wrong with the records, by their paths, beside older ones; each has its name for messages."""
    found: dict[Path, list[Finding]] = defaultdict(list)
    older: dict[Hashable, tuple[Path, Record, object]] = {}
    for path in sorted(records, key=lambda one: (records[one][1].provenance.time, one)):
        name, record = records[path]
        for kind, key, content in _facts(path, record):
            other = older.setdefault((kind, key), (name, record, content))
            if other[1] is not record and (what := _difference(kind, record, content, *other)) is not None:
                found[path].append(what)
    return found


def _facts(path: Path, record: Record) -> Iterator[tuple[str, Hashable, object]]:
    """Yield what is known of a record, each with a key under which all records have the same, or no two have."""
    if record.status != "ok":
        return
    for metric in record.metrics:
        if (key := _reference_of(record, metric)) is not None:
            yield "reference", key, metric
    sheet = _sheet_of(path)
    if sheet is None:
        return
    if not is_given(record.sampler):
        yield "noise", (record.task, record.protocol_sha256), sheet.noise
    if len(sheet.images) > 1 and (sheet.images != sheet.images[0]).any():
        yield "images", hashlib.sha256(sheet.images.tobytes()).hexdigest(), None


def _difference(
    kind: str, record: Record, content: object, first: Path, other: Record, before: object
) -> Finding | None:
    if kind == "noise" and content != before:
        return warning(f"its sheet is of other noise or conditions than that of {first}", FIX_SHEET)
    if kind == "images" and maker_of(record) != maker_of(other) and _values(record) != _values(other):
        return warning(f"its sheet has the very images of {first}, which is of other weights", FIX_SHEET)
    if kind == "reference" and isinstance(content, MetricResult) and isinstance(before, MetricResult):
        return _other_reference(content, before, first)
    return None


def _other_reference(metric: MetricResult, before: MetricResult, first: Path) -> Finding | None:
    """Find a diagnostic of the real images that is another one in a record with the same real images."""
    known = _of_real_images(before)
    for name, value in _of_real_images(metric).items():
        if name in known and not math.isclose(value, known[name], rel_tol=ROUNDING):
            return warning(
                f"metric {metric.name!r}: {name} is {value:.6g}, but {known[name]:.6g} in {first}, whose real "
                "images and networks are the same",
                UNCHANGED,
            )
    return None


def _of_real_images(metric: MetricResult) -> dict[str, float]:
    """Return the numbers that the real images alone decide, but those that rounding decides without full rank."""
    found = next(iter(metric.diagnostics), {})
    lost = found.get(f"{OF_REFERENCE}rank_deficient", False)
    return {
        name: float(value)
        for name, value in found.items()
        if name.startswith(OF_REFERENCE) and isinstance(value, int | float) and not lost and "clipped" not in name
    }


def _reference_of(record: Record, metric: MetricResult) -> Hashable | None:
    """Return what decides the real side of a metric: the protocol, all networks, and the references."""
    references = sorted((asset.role, asset.sha256) for asset in record.data if asset.role.startswith("reference"))
    key = record.task, record.protocol_sha256, record.own_networks_sha256, tuple(references), metric.name
    return key if references else None


def _sheet_of(path: Path) -> Sheet | None:
    """Return the sheet beside a record; None without one, and for a damaged one, which has its own finding."""
    file = evidence_of(path).sheet
    try:
        return read_sheet(file) if file is not None else None
    except UserError:
        return None


def _values(record: Record) -> list[float]:
    """Return all values; records of equal ones have a finding of their own."""
    return [value for metric in record.metrics for value in metric.values]
