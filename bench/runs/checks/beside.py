"""Whether the files beside records are readable and belong to them: sheets, curves, scores, tunings, plug-ins."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np

from bench.core.errors import UserError, without_fix
from bench.core.escape import shell_path
from bench.core.files import read_bytes
from bench.core.run_folder import OTHER_PROTOCOLS, RECORD
from bench.evaluation.image_scores import mean_in, read_scores
from bench.evaluation.sheet import read_sheet
from bench.metrics.base import MEAN_OF_IMAGES
from bench.metrics.result import MetricResult
from bench.runs.checks.finding import UNCHANGED, Finding, error, note, shortened, warning
from bench.runs.checks.private import private_findings
from bench.runs.evidence.files import evidence_of
from bench.runs.packing.bundles import is_bundle
from bench.runs.record import Record
from bench.runs.tuning.record import read_tuning
from bench.training.log import read_lines

FIX = "leave it out, or send the file that bench wrote"
RELATIVE = 1e-6
"""Networks score in float32, and a mean over them in another order differs by no more than this."""


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
            yield error(without_fix(problem), FIX)
    if record.status == "ok" and found.sheet is None:
        yield note("no sample sheet beside it", "bench records pack takes one from the run's folder")


def tuning_findings(path: Path) -> Iterator[Finding]:
    """Yield what is wrong with the record of a tuning."""
    try:
        found = read_tuning(path)
        named = found.file
    except UserError as problem:
        yield error(without_fix(problem).removeprefix(f"{path}: "), UNCHANGED)
        return
    except (ValueError, RecursionError) as problem:  # a value without a digest
        yield error(f"it has a value that plain JSON cannot hold ({problem})", UNCHANGED)
        return
    if f"{path.parent.name}/{path.name}" != named:
        yield error(f"it answers another question than its name says, which would be {named}", UNCHANGED)
    if found.provenance.git_dirty:
        yield warning("the code of the tuning differed from its commit", "commit the code, and tune again")
    yield from private_findings(found)


def plugin_findings(
    path: Path, called: Path, given: Collection[str], functions: Mapping[str, str]
) -> Iterator[Finding]:
    """Yield what is wrong with a plug-in file of others, or how it is used unless it is one of the hashes `given`.

    Nothing runs it. `called` is its path for messages, within that of a bundle. `functions` has the names of
    functions that made images, by the hashes of their files.
    """
    sha256 = path.parent.name
    if (found := hashlib.sha256(read_bytes(path)).hexdigest()) != sha256:
        yield error(f"its SHA-256 is {found[:12]}..., and not that of its folder's name", FIX)
    elif sha256 not in given:
        bundle = next((folder for folder in called.parents if is_bundle(folder)), None)
        how, file = "", called
        if bundle is not None:
            folder = bundle.with_suffix("")
            how = f"unzip {shell_path(bundle)} -d {shell_path(folder)}, and "
            file = folder / called.relative_to(bundle)
        what, use = "a plug-in file", f"--plugin {shell_path(file)} to check with it or to repeat a run"
        if sha256 in functions:
            what = "the file of a function"
            use = f"--sampler {shell_path(f'{file}:{functions[sha256]}')} to bench eval to repeat one"
        yield note(f"{what} of these runs, which nothing here has run", f"read it, {how}give {use}")


def name_findings(record: Record, path: Path) -> Iterator[Finding]:
    """Yield whether a record's file is not called as the run is; a run's own folder has the name."""
    if path.name == RECORD or path.parent.parent.name == record.run_id:
        return
    if path.stem != record.run_id and path.parent.name != OTHER_PROTOCOLS:
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
    """Compare the mean of the single scores of each metric and repetition with the record's value."""
    metrics = {metric.name: metric for metric in record.metrics}
    for name, scores in read_scores(path).items():
        recorded = _means_of_scores(metrics[name]) if name in metrics else []
        for repetition in np.unique(scores.repetition).tolist():
            if repetition >= len(recorded):
                yield error(f"scores of {name!r} in repetition {repetition}, which the record does not have")
                continue
            mean = mean_in(scores, repetition)
            if not math.isclose(mean, recorded[repetition], rel_tol=RELATIVE, abs_tol=RELATIVE):
                yield error(
                    f"the mean of {name} in repetition {repetition} is {mean:.9g}, "
                    f"but the record says {recorded[repetition]:.9g}"
                )


def _means_of_scores(metric: MetricResult) -> list[float]:
    """Return what the scores of each repetition have as their mean."""
    said = [repetition.get(MEAN_OF_IMAGES) for repetition in metric.diagnostics]
    said += [None] * len(metric.values)  # a stranger's record may have fewer
    return [value if mean is None else float(mean) for value, mean in zip(metric.values, said, strict=False)]
