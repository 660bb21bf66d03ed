"""Comparisons of methods, runs and samplers: for each metric the values, and for each pair the test that fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np

from bench.core.errors import UserError, hint
from bench.evaluation.image_scores import ImageScores, SingleScores, by_prompt, read_scores, same_images
from bench.metrics.intervals import bca_interval, refuse_no_level, t_interval
from bench.metrics.result import MetricResult
from bench.metrics.titles import TIMES, UNSCALED_KID, shown_name, shown_title
from bench.report.comparison.effort import unequal_effort
from bench.report.comparison.recipe_differences import Difference, recipe_differences
from bench.report.comparison.significance import Comparison, against_sampler, holm, paired, welch
from bench.report.notes import differing_assets, rounded_networks
from bench.report.sides import Side
from bench.report.summary import GENERATION_SEEDS, TRAINING_SEEDS
from bench.runs.evidence.files import evidence_of
from bench.runs.recipes import FilledRecipes

Kind = Literal["training seeds", "sampler", "exact sampler", "prompts", "generation seeds"]
"""What a test is over."""

ASSUMPTIONS: dict[Kind, str] = {
    "training seeds": (
        "Welch's t over training seeds, with one less than the smaller number of seeds as degrees of freedom. "
        "It is about the methods, and assumes normal values of independent trainings; the variances may differ."
    ),
    "sampler": (
        "Welch's t over the training seeds of a method and the generation seeds of a sampler of the teacher, with "
        "one less than the smaller number of seeds as degrees of freedom. It is about the method, and assumes "
        "normal values of independent trainings and of independent generation seeds."
    ),
    "exact sampler": (
        "One-sample t over training seeds, against a sampler's value of one generation seed, or a minimum of "
        "several. The error of such a value is not known, and it is taken as exact: the true p is larger."
    ),
    "prompts": (
        "Paired t over prompts, or over images where conditions are classes; scores are averaged over a prompt's "
        "images and the generation seeds. It is about these two students and not about the methods, and assumes "
        "that prompts are independent. The bootstrap interval is that of the same mean difference by resampled "
        "prompts (BCa), which need not be normal."
    ),
    "generation seeds": (
        "Paired t over generation seeds, from whose noise students and samplers both make their images; images "
        "from outside have noise of their own, and are paired in the order of their seeds. It is about these two "
        "students and not about the methods, and assumes normal differences of independent seeds."
    ),
}
"""Each test, what it is about, and what it assumes."""


UNSCALED_WHY = "its features were not scaled, and its size has no meaning"
"""Why a KID of unscaled features is left out."""


@dataclass(frozen=True)
class Measured:
    """A side's values of one metric."""

    values: tuple[float, ...]
    """One for each training seed; one for a sampler. Empty if there is none."""
    mean: float | None
    low: float | None
    high: float | None
    interval: str
    """What the interval is over: training seeds, generation seeds for a single value, or nothing."""


@dataclass(frozen=True)
class Pair:
    """The test of two sides in one metric."""

    first: int
    """Position of a side."""
    second: int
    kind: Kind | None = None
    """None if there is no test."""
    test: Comparison | None = None
    """The difference of the first and the second."""
    p: float | None = None
    """The p-value, adjusted by Holm for the number of tests of this metric."""
    why: str = ""
    """The reason for no test."""
    bootstrap: tuple[float, float] | None = None
    """Of a test over prompts, the interval of the difference by the bootstrap; see `bench.metrics.intervals`."""


@dataclass(frozen=True)
class Metric:
    """One metric of all sides."""

    name: str
    title: str
    direction: Literal["lower", "higher"]
    factor: int
    """Factor by which tables multiply the values; those here are not multiplied."""
    sides: tuple[Measured, ...]
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Compared:
    """A comparison of two or more sides."""

    sides: tuple[Side, ...]
    level: float
    metrics: tuple[Metric, ...]
    trained: tuple[int, ...]
    """Positions of the trained methods, which have recipes."""
    differences: tuple[Difference, ...]
    """Recipe values of the trained methods that differ."""
    left_out: tuple[str, ...]
    """Metrics that are not shown, each with the reason."""
    warnings: tuple[str, ...]
    """What makes the numbers incomparable although the protocol is one, such as another reference or budget."""

    def differ(self, pair: Pair) -> bool:
        """Return whether a pair differs at the level, adjusted for the number of tests of its metric."""
        return pair.p is not None and pair.p < 1 - self.level


def compared(sides: Sequence[Side], metrics: Sequence[str] = (), level: float = 0.95) -> Compared:
    """Compare two or more sides of one protocol, in the `metrics` or in all that were measured.

    Raises UserError for an unknown metric, or a level outside 0 to 1.
    """
    refuse_no_level(level)
    found = [_results(side) for side in sides]
    every = dict.fromkeys(name for results in found for name in results)
    for name in metrics:
        if name not in every:
            raise UserError(f"unknown metric with results here: {name!r}; {hint(name, every)}")
    names = tuple(dict.fromkeys(metrics)) or tuple(name for name in every if name != UNSCALED_KID)
    scores = [_scores(side) for side in sides]
    records = [record for side in sides for record in side.records]
    trained = tuple(number for number, side in enumerate(sides) if side.first.kind == "method")
    differences = recipe_differences([sides[number].first.method for number in trained], FilledRecipes())
    left = {name: "not asked for" for name in every if name not in names}
    if not metrics and UNSCALED_KID in left:
        left[UNSCALED_KID] = UNSCALED_WHY
    return Compared(
        tuple(sides),
        level,
        tuple(_metric(name, sides, found, scores, level) for name in names),
        trained,
        tuple(differences),
        tuple(f"{name} ({reason})" for name, reason in left.items()),
        tuple(rounded_networks(records) + differing_assets(records) + unequal_effort(sides)),
    )


def _results(side: Side) -> dict[str, list[MetricResult]]:
    """Return the results of each metric, one for each training seed, by the metric's name in tables."""
    found: dict[str, list[MetricResult]] = {}
    for record in side.records:
        for metric in record.metrics:
            found.setdefault(shown_name(metric.name, record.protocol), []).append(metric)
    return found


def _scores(side: Side) -> ImageScores:
    """Return the scores of a single student or sampler's images; none for several training seeds."""
    path: Path | None = evidence_of(side.found[0].path).scores if len(side.found) == 1 else None
    return read_scores(path) if path else {}


def _metric(
    name: str,
    sides: Sequence[Side],
    found: Sequence[dict[str, list[MetricResult]]],
    scores: Sequence[ImageScores],
    level: float,
) -> Metric:
    some = next(results[name][0] for results in found if name in results)
    given = [results.get(name, []) for results in found]
    protocol = sides[0].first.protocol
    pairs = [
        _pair(first, second, sides, given, [one.get(some.name) for one in scores], level)
        for first, second in combinations(range(len(sides)), 2)
    ]
    return Metric(
        name,
        shown_title(some.name, some.title, protocol),
        some.direction,
        TIMES.get(name, 1),
        tuple(_measured(results, level) for results in given),
        tuple(_adjusted(pairs)),
    )


def _measured(results: Sequence[MetricResult], level: float) -> Measured:
    values = tuple(result.value for result in results if result.value is not None)
    if not values:
        return Measured((), None, None, None, "")
    if len(values) > 1:
        mean, _, low, high = t_interval(values, level)
        return Measured(values, mean, low, high, TRAINING_SEEDS)
    (only,) = (result for result in results if result.value is not None)
    if only.low is None or len(only.values) < 2:
        return Measured(values, values[0], None, None, "")
    _, _, low, high = t_interval(only.values, level)
    return Measured(values, values[0], low, high, GENERATION_SEEDS)


def _pair(
    first: int,
    second: int,
    sides: Sequence[Side],
    given: Sequence[Sequence[MetricResult]],
    scores: Sequence[SingleScores | None],
    level: float,
) -> Pair:
    """Test two sides with what fits them, or say why there is no test."""
    one, other = sides[first], sides[second]
    mine, theirs = ([r.value for r in given[side] if r.value is not None] for side in (first, second))
    for side, values in ((one, mine), (other, theirs)):
        if not values:
            return Pair(first, second, why=f"{side.label} has no value")
    try:
        if len(mine) == len(theirs) == 1:
            by_prompts = _differences(
                scores[first], scores[second], one.first.protocol.get("images_per_prompt", 1)
            )
            if by_prompts is not None:
                test = paired(by_prompts.tolist(), [0.0] * len(by_prompts))
                return Pair(first, second, "prompts", test, bootstrap=bca_interval(by_prompts, level))
            return Pair(first, second, "generation seeds", _over_seeds(given[first][0], given[second][0]))
        if len(mine) > 1 and len(theirs) > 1:
            return Pair(first, second, "training seeds", welch(mine, theirs))
        if len(mine) > 1 and other.first.kind == "baseline":
            return Pair(first, second, *_with_sampler(mine, given[second][0]))
        if len(theirs) > 1 and one.first.kind == "baseline":
            kind, test = _with_sampler(theirs, given[first][0])
            return Pair(first, second, kind, replace(test, difference=-test.difference, n=test.n[::-1]))
        few = one if len(mine) == 1 else other
        return Pair(first, second, why=f"{few.label} has one training seed; fix: train two more")
    except NoTestError as reason:
        return Pair(first, second, why=str(reason))
    except ValueError:  # no spread
        difference = math.fsum(mine) / len(mine) - math.fsum(theirs) / len(theirs)
        return Pair(first, second, why="equal, without any spread" if difference == 0 else "no spread, so no test")


def _with_sampler(values: Sequence[float], sampler: MetricResult) -> tuple[Kind, Comparison]:
    """Test a method with several training seeds against a sampler."""
    test = against_sampler(values, sampler)
    return "sampler" if test.test == "Welch's t" else "exact sampler", test


class NoTestError(Exception):
    """The reason why two single runs have no test."""


def _differences(
    first: SingleScores | None, second: SingleScores | None, images_per_prompt: object
) -> np.ndarray | None:
    """Return the differences [p] of the prompts' mean scores; None unless both have scores of the same images.

    Raises NoTestError if the protocol does not say which images share a prompt.
    """
    if first is None or second is None or not same_images(first, second):
        return None
    if not isinstance(images_per_prompt, int) or images_per_prompt < 1:
        raise NoTestError(f"the protocol has {images_per_prompt!r} images per prompt")
    difference: np.ndarray = by_prompt(first, images_per_prompt)[1] - by_prompt(second, images_per_prompt)[1]
    return difference


def _over_seeds(one: MetricResult, other: MetricResult) -> Comparison:
    """Test two single students or samplers over generation seeds.

    Raises NoTestError if that is not possible, and ValueError if nothing varies.
    """
    if one.low is None and len(one.values) > 1:
        raise NoTestError("a minimum over generation seeds has no test; fix: train more seeds")
    if len(one.values) != len(other.values) or len(one.values) < 2:
        raise NoTestError("one generation seed has no test; fix: train more seeds, or take a protocol of several")
    return paired(one.values, other.values)


def _adjusted(pairs: Sequence[Pair]) -> list[Pair]:
    """Adjust the p-values of the pairs that were tested."""
    tested = [pair.test.p for pair in pairs if pair.test is not None]
    adjusted = iter(holm(tested))
    return [replace(pair, p=next(adjusted)) if pair.test is not None else pair for pair in pairs]
