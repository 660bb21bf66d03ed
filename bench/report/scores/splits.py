"""Scores of single images by group: each metric's mean by prompt category, by prompt length or by class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.core.errors import UserError, unknown
from bench.evaluation.image_scores import ImageScores, SingleScores
from bench.metrics.intervals import refuse_no_level, t_interval

NO_GROUP = "without one"
"""The group of images without a category; it is shown, so that every image is in some group."""


@dataclass(frozen=True)
class Group:
    """One group's mean of one metric, over its prompts."""

    name: str
    prompts: int
    """Independent values: prompts, or images where conditions are classes."""
    images: int
    """Scores, in all repetitions."""
    mean: float
    low: float | None
    """Student's t interval over prompts; None for a single prompt, and where nothing varies."""
    high: float | None


def split_scores(
    scores: ImageScores, by: str, images_per_prompt: int, level: float = 0.95, bins: int = 4
) -> dict[str, list[Group]]:
    """Return the groups of each metric. Scores of a prompt are averaged first: its images are not independent.

    `bins` is the number of groups of equal size by length. Raises UserError if the scores do not say what their
    images are of, or if there is nothing to split.
    """
    refuse_no_level(level)
    named = GROUPS.get(by)
    if named is None:
        raise unknown("split", by, GROUPS)
    return {metric: _groups(one, *named(one, bins), images_per_prompt, level) for metric, one in scores.items()}


def _groups(
    scores: SingleScores, codes: np.ndarray, names: Sequence[str], images_per_prompt: int, level: float
) -> list[Group]:
    prompts = scores.index // images_per_prompt
    places = codes * (prompts.max(initial=0) + 1) + prompts  # a random class differs between repetitions
    units, positions = np.unique(places, return_inverse=True)
    means = np.bincount(positions, scores.value) / np.bincount(positions)
    group_of = units // (prompts.max(initial=0) + 1)
    found = []
    for code, name in enumerate(names):
        own = means[group_of == code]
        if len(own):
            mean, std, low, high = t_interval(own.tolist(), level)
            if not std:
                low = high = None
            found.append(Group(name, len(own), int(np.count_nonzero(codes == code)), mean, low, high))
    return found


def _all(scores: SingleScores, bins: int) -> tuple[np.ndarray, Sequence[str]]:  # noqa: ARG001 (as the others)
    return np.zeros(len(scores), dtype=np.int64), ["all"]


def _by_category(scores: SingleScores, bins: int) -> tuple[np.ndarray, Sequence[str]]:  # noqa: ARG001
    names = sorted({name for name in scores.category if name is not None})
    if not names:
        raise UserError("these prompts have no categories; fix: --by length, or leave out --by")
    return _coded(scores.category, [*names, None]), [*names, NO_GROUP]


def _by_class(scores: SingleScores, bins: int) -> tuple[np.ndarray, Sequence[str]]:  # noqa: ARG001
    names = list(dict.fromkeys(_conditions(scores)))
    if len(names) == len(np.unique(scores.index)) > 1:
        raise UserError("every image has a condition of its own, so there are no classes; fix: --by length")
    return _coded(scores.prompt, names), names


def _by_length(scores: SingleScores, bins: int) -> tuple[np.ndarray, Sequence[str]]:
    """Group prompts by their number of words, at quantiles of the different prompts."""
    words = {prompt: len(prompt.split()) for prompt in dict.fromkeys(_conditions(scores))}
    ends = np.unique(np.quantile([*words.values()], np.arange(1, bins + 1) / bins, method="inverted_cdf"))
    lengths = np.fromiter((words[prompt] for prompt in scores.prompt), dtype=np.int64, count=len(scores))
    starts = [min(words.values()), *(ends[:-1] + 1).tolist()]
    pairs = zip(starts, ends.tolist(), strict=True)
    names = [f"{start} words" if start == end else f"{start}–{end} words" for start, end in pairs]
    return np.searchsorted(ends, lengths), names


def _conditions(scores: SingleScores) -> Sequence[str]:
    """Return the condition of each image in words. Raises UserError if one has none."""
    if any(prompt is None for prompt in scores.prompt):
        raise UserError(
            "these scores do not say what their images are of: an earlier version wrote them, or conditions have "
            "no words; fix: evaluate the run again"
        )
    found: Sequence[str] = scores.prompt.tolist()
    return found


def _coded(texts: np.ndarray, names: Sequence[str | None]) -> np.ndarray:
    places = {name: place for place, name in enumerate(names)}
    return np.fromiter(map(places.__getitem__, texts), dtype=np.int64, count=len(texts))


GROUPS: Mapping[str, Callable[[SingleScores, int], tuple[np.ndarray, Sequence[str]]]] = {
    "all": _all,
    "category": _by_category,
    "length": _by_length,
    "class": _by_class,
}
"""How images are grouped: the code [n] of each image's group, and the groups' names."""
