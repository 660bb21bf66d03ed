"""The footnotes of a table: what its numbers share, and where they do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from bench.records import Record


def notes(records: Sequence[Record]) -> list[str]:
    """Return the footnotes for records of one protocol; none for no records."""
    if not records:
        return []
    protocol = records[0].protocol
    students = [record for record in records if record.kind == "method" and record.status == "ok"]
    levels = sorted({metric.level for record in records for metric in record.metrics})
    lines = [
        f"Protocol {protocol.get('name')}, SHA-256 {records[0].protocol_sha256[:12]}: "
        f"{protocol.get('samples')} images, {protocol.get('repetitions')} generation seed(s).",
        f"± is the half width of the {_list(f'{level:.0%}' for level in levels)} Student-t interval "
        "over n training seeds; "
        "[low, high] is that interval over the generation seeds of one run. Bold: the best trained student.",
    ]
    if students:
        seeds = sorted({record.train_seed for record in students if record.train_seed is not None})
        lines.append(f"Training seeds: {_list(seeds)}.")
        budgets = sorted({record.cost.iterations for record in students})
        lines.append(f"Budget: {_list(f'{budget:,}' for budget in budgets)} iterations.")
        chosen = Counter(
            f"{record.checkpoint.selection} ({record.checkpoint.weights} weights)"
            for record in students
            if record.checkpoint
        )
        lines.append(f"Checkpoint selection: {_list(sorted(chosen))}.")
    lines.append(f"Machines: {'; '.join(sorted({_machine(record) for record in records}))}.")
    again = len(records) - len({record.run_id for record in records})
    if again:
        lines.append(f"{again} record(s) of runs that were recorded twice: the newest counts.")
    dirty = sum(record.provenance.git_dirty is True for record in records)
    if dirty:
        lines.append(f"{dirty} of {len(records)} records were made from a checkout with uncommitted changes.")
    return lines + _differing_assets(records)


def _machine(record: Record) -> str:
    made = record.provenance
    return f"{made.gpu or made.cpu}, {made.threads} thread(s), {made.precision}"


def _differing_assets(records: Sequence[Record]) -> list[str]:
    """Warn of each role (feature network, teacher, data) that did not have the same bytes everywhere."""
    seen: dict[str, Counter[str]] = {}
    for record in records:
        for asset in (*record.weights, *record.data):
            seen.setdefault(asset.role, Counter())[asset.sha256] += 1
    return [
        f"Warning: {role} differs between these records, so their numbers are not comparable: "
        + _list(f"{sha256[:12]} ({count} record(s))" for sha256, count in sorted(counts.items()))
        + "."
        for role, counts in sorted(seen.items())
        if len(counts) > 1
    ]


def _list(items: Iterable[object]) -> str:
    return ", ".join(str(item) for item in items)
