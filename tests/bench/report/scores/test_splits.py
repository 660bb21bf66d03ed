"""Scores of single images by category, length and class, with an interval over prompts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from bench.core.errors import UserError
from bench.evaluation.image_scores import SingleScores
from bench.metrics.intervals import t_interval
from bench.report.scores.extremes import extremes, group_size
from bench.report.scores.splits import Group, split_scores

PROMPTS = ["a cat", "a red cat on a mat", "two dogs", "the word OPEN on a sign in the rain at night"]
CATEGORIES = ["animals", "animals", "animals", None]


def scores(values: Sequence[float], per_prompt: int = 1, repetitions: int = 1) -> SingleScores:
    """Return scores of the four prompts' images, by repetition and prompt."""
    places = np.arange(len(PROMPTS) * per_prompt)
    words = {
        name: np.tile(np.array([*texts, None], dtype=object)[places // per_prompt], repetitions)
        for name, texts in (("prompt", PROMPTS), ("category", CATEGORIES))
    }
    return SingleScores.of(
        np.repeat(np.arange(repetitions), len(places)), np.tile(places, repetitions), values, **words
    )


def test_a_category_has_the_mean_and_the_interval_of_its_prompts() -> None:
    groups = split_scores({"clip": scores([1.0, 2.0, 6.0, 0.5])}, "category", 1)["clip"]
    mean, _, low, high = t_interval([1.0, 2.0, 6.0])
    assert groups == [Group("animals", 3, 3, mean, low, high), Group("without one", 1, 1, 0.5, None, None)]


def test_the_images_of_a_prompt_are_one_value_in_all_repetitions() -> None:
    """Two images of each prompt in two repetitions: n is the number of prompts, not of images."""
    values = [1, 3, 2, 2, 6, 6, 0, 1, 1, 3, 2, 2, 6, 6, 0, 1]
    (group,) = split_scores({"clip": scores(values, 2, 2)}, "all", 2)["clip"]
    mean, _, low, high = t_interval([2.0, 2.0, 6.0, 0.5])
    assert group == Group("all", 4, 16, mean, low, high)


def test_values_that_do_not_vary_have_no_interval() -> None:
    (group,) = split_scores({"ocr": scores([1.0] * 4)}, "all", 1)["ocr"]
    assert (group.mean, group.low, group.high) == (1.0, None, None)


def test_lengths_are_words_at_quantiles_of_the_prompts() -> None:
    groups = split_scores({"clip": scores([1.0, 2.0, 6.0, 0.5])}, "length", 1, bins=2)["clip"]
    assert [(group.name, group.prompts, group.mean) for group in groups] == [
        ("2 words", 2, 3.5),
        ("3–11 words", 2, 1.25),
    ]
    (whole,) = split_scores({"clip": scores([1.0, 2.0, 6.0, 0.5])}, "length", 1, bins=1)["clip"]
    assert (whole.name, whole.prompts) == ("2–11 words", 4)


def test_a_class_has_its_images_and_a_random_class_may_differ_between_repetitions() -> None:
    names = np.array(["cat", "dog", "cat", "dog", "dog", "dog"], dtype=object)
    one = SingleScores.of([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2], [1.0, 0.0, 0.0, 1.0, 1.0, 1.0], prompt=names)
    cat, dog = split_scores({"accuracy": one}, "class", 1)["accuracy"]
    assert (cat.name, cat.prompts, cat.images, cat.mean) == ("cat", 2, 2, 0.5)
    assert (dog.name, dog.prompts, dog.images) == ("dog", 3, 4), "index 1 is a dog in both: one value, 0.5"
    assert dog.mean == pytest.approx((0.5 + 1.0 + 1.0) / 3)


def test_what_cannot_be_split_is_told() -> None:
    one = scores([1.0, 2.0, 6.0, 0.5])
    with pytest.raises(UserError, match=r"every image has a condition of its own, .*; fix: --by length"):
        split_scores({"clip": one}, "class", 1)
    without = SingleScores.of([0, 0], [0, 1], [1.0, 2.0])
    with pytest.raises(UserError, match="these prompts have no categories; fix: --by length"):
        split_scores({"clip": without}, "category", 1)
    with pytest.raises(UserError, match="do not say what their images are of: an earlier version wrote them"):
        split_scores({"clip": without}, "length", 1)
    with pytest.raises(UserError, match="--level is a confidence between 0 and 1, not 95"):
        split_scores({"clip": one}, "all", 1, level=95)


@pytest.mark.parametrize(
    ("end", "direction", "values"),
    [
        ("worst", "higher", [0.5, 1.0]),
        ("best", "higher", [6.0, 2.0]),
        ("worst", "lower", [6.0, 2.0]),
        ("best", "lower", [0.5, 1.0]),
    ],
)
def test_the_worst_and_best_images_come_first(end: str, direction: str, values: list[float]) -> None:
    found = extremes(scores([1.0, 2.0, 6.0, 0.5]), 2, end, direction)  # type: ignore[arg-type]
    assert [one.value for one in found] == values
    assert found[0].prompt == PROMPTS[[1.0, 2.0, 6.0, 0.5].index(values[0])]


def test_equal_scores_stay_in_order_and_groups_are_counted() -> None:
    assert [one.index for one in extremes(scores([1.0] * 4), 9, "best", "higher")] == [0, 1, 2, 3]
    assert group_size(scores([1.0] * 4)) == 1
    assert group_size(SingleScores.of([0, 0, 1, 1], [0, 4, 0, 4], [0.0] * 4)) == 4
