"""Whether the files beside a record are readable and belong to it: sample sheet, curves, scores."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from bench.core.errors import UserError
from bench.core.files import read_text
from bench.core.run_folder import RECORD
from bench.evaluation.sheet import read_sheet
from bench.runs.checks.finding import Finding, error, note, shortened, warning
from bench.runs.evidence import evidence_of
from bench.runs.records import Record
from bench.training.log import read_lines

FIX = "leave it out, or send the file that bench wrote"
RELATIVE = 1e-5
"""Single scores are written with six digits."""
REPETITION = "repetition"
"""Column of scores that tells generation seeds apart."""


def evidence_findings(record: Record, path: Path) -> Iterator[Finding]:
    """Yield what is wrong with the files beside a record, each by its name."""
    found = evidence_of(path)
    for file, check in ((found.sheet, _of_sheet), (found.curves, _of_curves), (found.scores, _of_scores)):
        if file is None:
            continue
        try:
            for one in check(record, file):
                yield Finding(one.level, f"{file.name}: {one.what}", one.fix or FIX)
        except UserError as problem:
            yield error(str(problem).partition("; fix:")[0], FIX)
    if record.status == "ok" and found.sheet is None:
        yield note("no sample sheet beside it", "bench records pack takes one from the run's folder")


def name_findings(record: Record, path: Path) -> Iterator[Finding]:
    """Yield whether a record's file is not called as the run is; a run's own folder has the name."""
    if path.name == RECORD or path.parent.parent.name == record.run_id:
        return
    if path.stem != record.run_id and path.parent.name != "protocols":
        yield warning(f"the file is not called {record.run_id}.json, as its run is", "rename it")


def _of_sheet(record: Record, path: Path) -> Iterator[Finding]:
    sheet = read_sheet(path)
    samples = record.protocol.get("samples")
    if isinstance(samples, int) and len(sheet.images) > samples:
        yield error(f"{len(sheet.images)} images, but the protocol has {samples} samples")
    if len(sheet.images) > 1 and (sheet.images == sheet.images[0]).all():
        yield warning("all its images are the same")


def _of_curves(record: Record, path: Path) -> Iterator[Finding]:
    lines = read_lines(path)
    if not lines:
        yield error("no complete line")
        return
    iterations = [line["iteration"] for line in lines]
    for before, after in itertools.pairwise(iterations):
        if after < before:
            yield error(f"iteration {after} comes after {before}")
            break
    budget = record.cost.iterations
    if iterations[0] < 0 or max(iterations) > budget:
        yield error(f"iterations {iterations[0]} to {max(iterations)}, but training had {budget}")
    for line in lines:
        if bad := [name for name, value in line.items() if isinstance(value, float) and not math.isfinite(value)]:
            yield warning(f"{shortened(bad[0])} is not finite at iteration {line['iteration']}")
            break


def _of_scores(record: Record, path: Path) -> Iterator[Finding]:
    """Compare the means of single scores with the metrics of the same names."""
    rows = csv.DictReader(io.StringIO(read_text(path)))
    metrics = {metric.name: metric for metric in record.metrics}
    columns = [name for name in rows.fieldnames or () if name in metrics]
    if not columns:
        yield error(f"no column is called as a metric of the record ({', '.join(metrics)})")
        return
    sums: dict[str, dict[int, list[float]]] = {name: defaultdict(list) for name in columns}
    for number, row in enumerate(rows, start=2):
        for name in columns:
            try:
                value, repetition = float(row[name]), int(row.get(REPETITION) or 0)
            except (TypeError, ValueError):
                value, repetition = math.nan, 0
            if not math.isfinite(value):
                yield error(f"line {number}: {name} is {shortened(row[name])}, which is no finite number")
                return
            sums[name][repetition].append(value)
    for name in columns:
        values = metrics[name].values
        for repetition, scores in sorted(sums[name].items()):
            mean = math.fsum(scores) / len(scores)
            if not 0 <= repetition < len(values):
                yield error(f"repetition {repetition} of {name}, but the record has {len(values)}")
            elif not math.isclose(mean, values[repetition], rel_tol=RELATIVE, abs_tol=RELATIVE):
                yield error(
                    f"the mean of {name} in repetition {repetition} is {mean:.6g}, "
                    f"but the record says {values[repetition]:.6g}"
                )
