"""Whether the scores of single images beside a record are those behind its values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bench.core.errors import UserError
from bench.evaluation.image_scores import ImageScores, SingleScores, mean_in
from bench.metrics.base import MEAN_OF_IMAGES, binds_its_result, metric_class
from bench.metrics.diversity import Diversity
from bench.metrics.info import MetricInfo
from bench.metrics.result import MetricResult
from bench.metrics.scores import MeanScore, mean_of_groups
from bench.runs.checks.finding import Finding, error, shortened, warning
from bench.runs.record import Record

RELATIVE = 1e-6
"""Networks score in float32, and a mean over them in another order differs by no more than this."""


def score_findings(record: Record, found: ImageScores, metrics: Mapping[str, MetricInfo]) -> Iterator[Finding]:
    """Yield the first thing that is wrong with the scores of each metric; `metrics` are the registered ones."""
    recorded = {metric.name: metric for metric in record.metrics}
    for name, scores in found.items():
        wrong = next(_of_metric(record, recorded.get(name), name, scores, metrics.get(name)), None)
        if wrong is not None:
            yield error(wrong)


def caption_findings(captions: Sequence[str], found: ImageScores) -> Iterator[Finding]:
    """Yield where the first images are of other prompts or classes in a sheet than in the scores."""
    for name, scores in found.items():
        first = scores.repetition == 0
        prompts = dict(zip(scores.index[first].tolist(), scores.prompt[first], strict=True))
        for place, caption in enumerate(captions):
            if (prompt := prompts.get(place)) is not None and prompt != caption:
                yield warning(
                    f"image {place} of {name} is of {shortened(prompt)}, but in the sheet of {shortened(caption)}",
                    "send the sheet and the scores of this run",
                )
                break


def _of_metric(
    record: Record, metric: MetricResult | None, name: str, scores: SingleScores, known: MetricInfo | None
) -> Iterator[str]:
    means = _means(metric) if metric is not None else []
    repetitions = np.unique(scores.repetition).tolist()
    for repetition in repetitions:
        if metric is None or repetition >= len(means):
            yield f"scores of {name!r} in repetition {repetition}, which the record does not have"
            return
        mean = mean_in(scores, repetition)
        if not _close(mean, means[repetition]):
            yield (
                f"the mean of {name} in repetition {repetition} is {mean:.9g}, "
                f"but the record says {means[repetition]:.9g}"
            )
        yield from _of_repetition(record, metric, scores, repetition, known)
    if missing := sorted(set(range(len(means))) - set(repetitions)):
        yield f"no scores of {name} in repetition {missing[0]}, which the record has"


def _of_repetition(
    record: Record, metric: MetricResult, scores: SingleScores, repetition: int, known: MetricInfo | None
) -> Iterator[str]:
    """Yield what is wrong with the places, the seeds and the spread of one repetition's scores."""
    rows = np.flatnonzero(scores.repetition == repetition)
    rows = rows[np.argsort(scores.index[rows])]
    index, where = scores.index[rows], f"{metric.name} in repetition {repetition}"
    size = metric.samples // len(rows)
    of_prompt = record.protocol.get("images_per_prompt", 1)
    whole = isinstance(of_prompt, int) and size > 0 and of_prompt % size == metric.samples % len(rows) == 0
    if not whole or not np.array_equal(index, np.arange(len(rows)) * size):
        yield f"{len(rows):,} scores of {where} are not of all its {metric.samples:,} images, or of their prompts"
        return
    first = record.protocol.get("first_seed")
    if isinstance(first, int):
        right = first + repetition * metric.samples + index
        given = scores.seed[rows]
        others = [place for place, seed in enumerate(given) if seed is not None and seed != right[place]]
        if others:
            yield (
                f"image {index[others[0]]} of {where} has the seed {given[others[0]]}, "
                f"but the protocol's is {right[others[0]]}"
            )
    yield from _of_spread(record, metric, scores.value[rows], repetition, known, size)


def _of_spread(
    record: Record,
    metric: MetricResult,
    values: np.ndarray,
    repetition: int,
    known: MetricInfo | None,
    size: int,
) -> Iterator[str]:
    """Compute the standard error over prompts again, of metrics whose class computes it from its scores alone."""
    diagnostics: Mapping[str, Any] = metric.diagnostics[repetition] if metric.diagnostics else {}
    said, of_prompt = diagnostics.get("standard_error"), record.protocol.get("images_per_prompt", 1)
    if known is None or not isinstance(said, float) or not isinstance(of_prompt, int) or not _is_of_scores(known):
        return
    group = max(of_prompt // size, 1)
    if len(values) % group:
        return
    std = mean_of_groups(values, group).std
    right = 0.0 if std is None else std / math.sqrt(len(values) // group)
    if not _close(right, said):
        yield (
            f"the standard error of {metric.name} in repetition {repetition} is {right:.9g}, "
            f"but the record says {said:.9g}"
        )


def _is_of_scores(known: MetricInfo) -> bool:
    try:
        found = metric_class(known)
        return issubclass(found, MeanScore | Diversity) and binds_its_result(found)
    except UserError:  # of a plug-in that cannot be used here
        return False


def _means(metric: MetricResult) -> list[float]:
    """Return what the scores of each repetition have as their mean."""
    said = [repetition.get(MEAN_OF_IMAGES) for repetition in metric.diagnostics]
    said += [None] * len(metric.values)  # a stranger's record may have fewer
    return [value if mean is None else float(mean) for value, mean in zip(metric.values, said, strict=False)]


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=RELATIVE, abs_tol=RELATIVE)
