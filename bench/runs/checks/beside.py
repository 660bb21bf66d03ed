"""Whether the files beside records are readable and belong to them: sheets, curves, scores, tunings, plug-ins."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import UserError, without_fix
from bench.core.escape import shell_path
from bench.core.files import read_bytes
from bench.core.numbers import is_finite
from bench.core.run_folder import OTHER_PROTOCOLS, RECORD
from bench.evaluation.image_scores import read_scores
from bench.evaluation.sheet import read_sheet, read_sheet_info
from bench.metrics.info import MetricInfo
from bench.runs.checks.finding import UNCHANGED, Finding, error, note, shortened, warning
from bench.runs.checks.identity import of_another_protocol
from bench.runs.checks.private import private_findings
from bench.runs.checks.scores import caption_findings, score_findings
from bench.runs.evidence.files import evidence_of
from bench.runs.evidence.sheets import maker_of
from bench.runs.packing.bundles import is_bundle
from bench.runs.record import Record
from bench.runs.tuning.record import read_tuning
from bench.training.log import read_lines

FIX = "leave it out, or send the file that bench wrote"
FULL_RANK = 10
"""An FD of so many times as many images as features is nearly that of more images."""
TWICE = 2
"""FDs of fewer and of all images of one student differ by less than this factor, beyond what fewer images add."""
TAILS = 8
"""How many times more fewer images add to an FD of features with heavy tails than to one of normal features; 6.3
times was the most that was measured, for the cubes of half a normal distribution, whose kurtosis is 150."""
FEATURES = 32
"""Of fewer features, a single image in a heavy tail may be most of an FD."""


def evidence_findings(record: Record, path: Path, metrics: Mapping[str, MetricInfo]) -> Iterator[Finding]:
    """Yield what is wrong with the files beside a record, each by its name; `metrics` are the registered ones."""
    found = evidence_of(path)

    def of_scores(record: Record, file: Path) -> Iterator[Finding]:
        scores = read_scores(file)
        yield from score_findings(record, scores, metrics)
        with contextlib.suppress(UserError):  # a damaged sheet has its own finding
            yield from caption_findings(read_sheet_info(found.sheet).captions if found.sheet else [], scores)

    for file, check in ((found.sheet, _of_sheet), (found.curves, _of_curves), (found.scores, of_scores)):
        if file is None:
            continue
        try:
            for one in check(record, file):
                yield Finding(one.level, f"{file.name}: {one.what}", one.fix or FIX)
        except UserError as problem:
            yield error(without_fix(problem), FIX)
    if record.status == "ok" and found.sheet is None and not of_another_protocol(record):  # those have none
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
    if sheet.made_by and record.checkpoint is not None and sheet.made_by != maker_of(record):
        yield error("its images were made by other weights, or by another sampler", "send the sheet of this run")
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
    yield from _of_distances(record, lines)


def _of_distances(record: Record, lines: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Compare the FDs on the way, of the first images of the same seeds, with the record's."""
    distances = {line["iteration"]: line for line in lines if is_finite(line.get("fd"))}
    found, recorded = record.checkpoint, next((one for one in record.metrics if one.name == "fd"), None)
    if not distances or found is None or record.status != "ok":
        return
    last = distances.get(found.iteration)
    if found.selection == "best-by-test-metric":
        if last is None:
            yield error(f"iteration {found.iteration} was selected by its FD, but none was measured there")
        elif lower := [
            one
            for one in distances.values()
            if one["fd"] < last["fd"] and one.get("fd_samples") == last.get("fd_samples")
        ]:
            yield error(
                f"iteration {found.iteration} was selected by the lowest FD, {last['fd']:g}, but it was "
                f"{lower[0]['fd']:g} at iteration {lower[0]['iteration']}"
            )
    if last is None or recorded is None or not recorded.values or of_another_protocol(record):
        return
    about = next(iter(recorded.diagnostics), {})
    samples, rank, trace = last.get("fd_samples"), about.get("generated_rank"), about.get("generated_trace")
    if not (isinstance(samples, int) and isinstance(rank, int)) or samples < FULL_RANK * rank:
        return
    value, during = recorded.values[0], last["fd"]
    most = math.inf
    if isinstance(trace, int | float) and rank >= FEATURES:  # records of earlier versions have no trace
        most = TWICE * value + TAILS * normal_bias(trace, rank, samples)
    if during > most or value > during * TWICE:
        yield warning(
            f"FD at iteration {found.iteration} was {during:g}, of {samples:,} images, but the record says "
            f"{value:g}, of {recorded.samples:,}",
            "say in the pull request why they differ so much, or send the curves of this run",
        )


def normal_bias(trace: float, rank: int, images: int) -> float:
    """Return the most that the FD of so many images of the right distribution is, for normal features of a trace.

    The mean's part is trace / n, the covariance's sum_ij l_i l_j (1 + [i = j]) / (2 n (l_i + l_j)) to first order,
    and l_i l_j / (l_i + l_j) is at most (l_i + l_j) / 4. Source: Bhatia, Jain and Lim 2019, of the Bures distance.
    """
    return trace * (rank + 5) / (4 * images)
