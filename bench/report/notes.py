"""The footnotes of a table: the facts that its numbers share, and the differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.metrics.titles import TIMES, UNSCALED_KID, shown_name
from bench.report.cells import percent
from bench.report.measured import Measured
from bench.report.outside import outside_notes
from bench.report.study.words import study_notes
from bench.runs.record import INITIAL_WEIGHTS, Record, is_study
from bench.training.alarms import AlarmNote
from bench.training.budget import PASSES

NOTICED = {
    "generated_rank_deficient": "the covariance of the generated images lacks full rank",
    "reference_rank_deficient": "the covariance of the images compared with lacks full rank",
    "by_factors": "covariances too nearly singular for the eigenvalues of their product; taken from their factors",
    "clipped": "up to {most} negative eigenvalues were taken as zero",
    "generated_without_patch": "up to {most} generated images were too small to have a patch",
    "reference_without_patch": "{most} real images were too small to have a patch",
    "truncated": "up to {most} prompts were cut to what the network reads",
}
"""Diagnostics that a reader must know of if they are not zero."""


@dataclass(frozen=True)
class Facts:
    """What the records of one protocol share."""

    protocol: str
    protocol_sha256: str
    images: str
    generation_seeds: str
    training_seeds: tuple[int, ...]
    precision: str
    """The note on networks that are not sampled in float32; empty for those that are."""
    levels: str
    """The level of the intervals, such as 95 %."""
    smoke: bool
    study: bool
    """Whether the numbers are preferences of people, whom the notes describe."""


def facts(records: Sequence[Record]) -> Facts | None:
    """Return what records of one protocol share; None for no records."""
    if not records:
        return None
    protocol = records[0].protocol
    seeds = {r.train_seed for r in records if r.kind == "method" and r.status == "ok" and r.train_seed is not None}
    levels = sorted({metric.level for record in records for metric in record.metrics})
    return Facts(
        protocol=str(protocol.get("name")),
        protocol_sha256=records[0].protocol_sha256,
        images=_count(protocol.get("samples")),
        generation_seeds=str(protocol.get("repetitions")),
        training_seeds=tuple(sorted(seeds)),
        precision=_precision(protocol),
        levels=_list(percent(level) for level in levels),
        smoke=bool(protocol.get("smoke", False)),
        study=is_study(protocol),
    )


def seeds_notes(labels: Sequence[str], values: Mapping[tuple[int, str], Measured]) -> list[str]:
    """Name the training seeds behind each row if they differ or are one; no note if all rows have the same.

    `labels` are the rows' names; `values` are the table's, by row and column.
    """
    counts: dict[int, dict[str, int]] = {}
    for (row, column), value in values.items():
        if value.n:
            counts.setdefault(row, {})[column] = value.n
    every = {n for found in counts.values() for n in found.values()}
    if not every or (len(every) == 1 and every != {1}):
        return []
    rows: dict[int, list[str]] = {}
    for row, found in counts.items():
        usual = max(found.values())
        fewer = ", ".join(f"n={n} for {column}" for column, n in found.items() if n < usual)
        rows.setdefault(usual, []).append(labels[row] + (f" ({fewer})" if fewer else ""))
    listed = ". ".join(f"n={n}: {'; '.join(names)}" for n, names in sorted(rows.items()))
    return [
        f"Training seeds behind each row. {listed}. With n=1 the interval, if there is one, is over generation "
        "seeds alone: do not set it beside an interval over training seeds."
    ]


def warnings(records: Sequence[Record]) -> list[str]:
    """Return the notes on differences that make records incomparable, or all that tell of a user study."""
    return study_notes(records) if records and is_study(records[0].protocol) else differing_assets(records)


def notes(records: Sequence[Record], columns: Collection[str]) -> list[str]:
    """Return the footnotes for a table with these metrics of records of one protocol; none for no records."""
    shared = facts(records)
    if shared is None:
        return []
    if shared.study:
        return study_notes(records)
    protocol = records[0].protocol
    lines = [
        f"Protocol {shared.protocol}, SHA-256 {shared.protocol_sha256[:12]}: {shared.images} images, "
        f"{shared.generation_seeds} generation seed(s){shared.precision}.",
        f"± is the half width of the {f'{shared.levels} Student-t interval'.strip()} over n training seeds; "
        "[low, high] is that interval over the generation seeds of one run. It is narrower, because it leaves out "
        "how much another training would differ, and it cannot rank methods.",
        "Bold: better than every other trained student by more than both intervals over training seeds. Nothing "
        "is bold if a row has only one training seed.",
    ]
    if TIMES.keys() & set(columns):
        lines.append(
            "KID: the unbiased estimate over all pairs of images, times 1,000. SE is the standard error of one "
            "measurement over its generated and real images. / RMS: the features were divided by their root mean "
            "square over the real images; the published definition, of an Inception's features, has no such scale."
        )
    unscaled = sum(shown_name(one.name, protocol) == UNSCALED_KID for record in records for one in record.metrics)
    if unscaled:
        lines.append(
            f"KID of {unscaled} record(s) is left out: features of {protocol.get('features')} were not scaled, "
            f"and its size has no meaning. `--format csv` has it as {UNSCALED_KID}; fix: "
            f"bench eval --task {records[0].task} --checkpoint FILE, which measures the student again."
        )
    if students := [record for record in records if record.kind == "method" and record.status == "ok"]:
        lines += [f"Training seeds: {_list(shared.training_seeds)}.", *_of_students(students)]
    lines.append(f"Machines: {'; '.join(sorted({_machine(record) for record in records}))}.")
    again = len(records) - len({record.run_id for record in records})
    if again:
        lines.append(f"{again} record(s) are of runs that were recorded twice; the newest counts.")
    dirty = sum(record.provenance.git_dirty is True for record in records)
    if dirty:
        lines.append(f"{dirty} of {len(records)} records were made from a checkout with uncommitted changes.")
    if protocol.get("covariance_start") == "ones":
        lines.append("FD: the protocol adds 1 / (images - 1) to every entry of the generated images' covariance.")
    lines += _of_the_teacher(protocol)
    lines += outside_notes(records)
    return lines + _alarms(records) + _noticed(records) + rounded_networks(records) + differing_assets(records)


def _of_students(students: Sequence[Record]) -> list[str]:
    """Say how trained students came to be: their iterations, passes and the choice of their checkpoints."""
    budgets = sorted({record.cost.iterations for record in students})
    lines = [
        f"Budget: {_list(f'{budget:,}' for budget in budgets)} iterations. Training images: iterations times "
        "batch; other generated images (regression pairs, backward simulation, evaluation) are not counted."
    ]
    if any(record.cost.passes for record in students):
        lines.append(f"Passes are counted in training. {PASSES}")
    chosen = Counter(
        f"{record.checkpoint.selection} ({record.checkpoint.weights} weights)"
        for record in students
        if record.checkpoint
    )
    lines.append(f"Checkpoint selection: {_list(sorted(chosen))}.")
    return lines


def _of_the_teacher(protocol: Mapping[str, Any]) -> list[str]:
    """Return a note on the teacher's images that metrics compare with; none if no metric does."""
    reference = protocol.get("teacher_reference")
    if not isinstance(reference, Mapping):
        return []
    return [
        "To the teacher: these metrics compare with the teacher's own images of the same prompts and seeds, by "
        f"its sampler {reference.get('sampler')}, whose own row is about 0. They say how close a student is to "
        "this teacher, and never compare students of two teachers."
    ]


def _alarms(records: Sequence[Record]) -> list[str]:
    """Return a note on the runs that had alarms in training, by method and seed; none if there were none."""
    had = [
        f"{record.method.name}, seed {record.train_seed}: {', '.join(map(alarm_text, record.alarms))}"
        for record in records
        if record.alarms
    ]
    return [f"Alarms in training (docs/alarms.md). {'. '.join(had)}."] if had else []


def alarm_text(note: AlarmNote) -> str:
    """Return an alarm of a record as text: its name, its iterations and its worst value."""
    last = "" if note.last == note.first else f" to {note.last:,}"
    return f"{note.name} (iteration {note.first:,}{last}, at worst {note.worst:.3g}, threshold {note.threshold:g})"


def _noticed(records: Sequence[Record]) -> list[str]:
    """Return the diagnostics that metrics reported: fallbacks and adjustments behind a number."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for record in records:
        for metric in record.metrics:
            for key in NOTICED.keys() & set().union(*metric.diagnostics):
                most = max(int(one.get(key) or 0) for one in metric.diagnostics)
                if most:
                    count, before = found.get((metric.title, key), (0, 0))
                    found[metric.title, key] = count + 1, max(before, most)
    return [
        f"{title}: {NOTICED[key].format(most=f'{most:,}')} ({count} of {len(records)} records)."
        for (title, key), (count, most) in sorted(found.items())
    ]


def _precision(protocol: Mapping[str, Any]) -> str:
    """Say that a protocol samples in another precision than float32; empty if it does not."""
    precision = protocol.get("sampling_precision", "fp32")
    return "" if precision == "fp32" else f", networks sampled in {precision}"


def _machine(record: Record) -> str:
    made = record.provenance
    return f"{made.gpu or made.cpu}, {made.threads} thread(s), {made.precision}"


TWINS = (
    "The networks of these records (teacher, feature network) were made {made} times, and differ by rounding "
    "alone: the numbers of the teacher's samplers agree to 0.1 % in every metric and generation seed."
)
MADE_WITH_NETWORKS = frozenset({"reference features", "teacher pairs"})
"""Roles of data that a task's networks make."""


def rounded_networks(records: Sequence[Record]) -> list[str]:
    """Say if the records' networks are not the same bytes, and differ by rounding alone."""
    made = len({record.own_networks_sha256 for record in records})
    return [TWINS.format(made=made)] if made > 1 == len({record.networks_sha256 for record in records}) else []


def differing_assets(records: Sequence[Record]) -> list[str]:
    """Warn of each role (feature network, teacher, data) whose bytes differ between records.

    Networks that differ by rounding alone are left to `rounded_networks`, and so are the data made with them. The
    students from which runs start are parts of recipes.
    """
    seen: dict[str, Counter[str]] = {}
    for record in records:
        for asset in (*record.weights, *record.data):
            seen.setdefault(asset.role, Counter())[asset.sha256] += 1
    same = {INITIAL_WEIGHTS}
    if rounded_networks(records):
        same |= {asset.role for record in records for asset in record.weights} | MADE_WITH_NETWORKS
    return [
        f"Warning: the {role} of these records differ, so their numbers are not comparable: "
        + _list(f"{sha256[:12]} ({count} record(s))" for sha256, count in sorted(counts.items()))
        + "."
        for role, counts in sorted(seen.items())
        if len(counts) > 1 and role not in same
    ]


def _count(number: object) -> str:
    return f"{number:,}" if isinstance(number, int) else str(number)


def _list(items: Iterable[object]) -> str:
    return ", ".join(str(item) for item in items)
