"""DPG-Bench's two numbers of the same answers, from images whose answers are given by hand."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.core.errors import UserError
from bench.data.text.dpg import DPGPrompt, Question
from bench.features.batch import ImageBatch
from bench.features.prompt_following.dpg import dpg_scores
from bench.metrics.base import Measured
from bench.metrics.compositional import DPG as DPG_INFO
from bench.metrics.compositional import DPG_OFFICIAL
from bench.metrics.dpg import DPG, OfficialDPG
from bench.task.protocol import Protocol

RED_DOG = DPGPrompt(
    "first",
    "a red dog",
    (
        Question(1, "Is there a dog?", (), "entity", first_row=True),
        Question(2, "Is the dog red?", (1,), "attribute"),
    ),
)
TWO_CATS = DPGPrompt(
    "second",
    "two white cats",
    (
        Question(1, "Is there a cat?", (), "entity"),
        Question(2, "Are there two cats?", (1,), "other"),
        Question(3, "Are the cats white?", (1,), "attribute"),
    ),
)
PROMPTS = {one.prompt: one for one in (RED_DOG, TWO_CATS)}
PROTOCOL = Protocol(
    name="dpg",
    samples=4,
    repetitions=1,
    first_seed=0,
    labels="balanced",
    uint8="round",
    reference="none",
    features="none",
    metrics=("dpg",),
    images_per_prompt=2,
    smoke=True,
)


def answered(image: Tensor, questions: Sequence[str]) -> list[str]:
    """The answers are the pixels of an image: 1 is yes."""
    return ["yes" if level else "no" for level in image[0, 0, : len(questions)].tolist()]


def batch(*answers: Sequence[int], prompts: Sequence[str] = ()) -> ImageBatch:
    images = torch.zeros(len(answers), 3, 1, 3, dtype=torch.uint8)
    for image, levels in zip(images, answers, strict=True):
        image[:, 0, : len(levels)] = torch.tensor(levels, dtype=torch.uint8)
    half = len(answers) // 2
    return ImageBatch(images, prompts=prompts or ["a red dog"] * half + ["two white cats"] * half)


IMAGES = batch([1, 1], [0, 1], [1, 0, 1], [0, 1, 1])


def test_dpg_is_the_mean_of_questions_images_and_prompts() -> None:
    metric = DPG(None, PROTOCOL, DPG_INFO)
    metric.update(dpg_scores(answered, PROMPTS, IMAGES))
    found = metric.result()
    assert list(found.scores) == pytest.approx([1, 0, 2 / 3, 0])
    assert found.value == pytest.approx((1 + 0 + 2 / 3 + 0) / 4)
    assert found.reasons[2] == "no: Are there two cats?"
    assert {name: found.diagnostics[name] for name in ("entity", "attribute", "other")} == {
        "entity": 2 / 4,
        "attribute": 2 / 4,
        "other": 0.0,
    }


def test_the_official_number_is_without_the_first_row_and_what_fails_then() -> None:
    found = official(IMAGES)
    assert found.value == pytest.approx((2 / 3 + 0) / 2)
    assert (found.diagnostics["left_out"], found.diagnostics["prompts"]) == (2, 1)
    assert not found.scores


def test_the_official_categories_are_of_the_last_image_and_before_dependencies() -> None:
    diagnostics = official(IMAGES).diagnostics
    assert {name: diagnostics[name] for name in ("entity", "attribute", "other")} == {
        "entity": 0.0,
        "attribute": 1.0,
        "other": 1.0,
    }


def official(images: ImageBatch) -> Measured:
    metric = OfficialDPG(None, PROTOCOL, DPG_OFFICIAL)
    metric.update(dpg_scores(answered, PROMPTS, images))
    return metric.result()


def test_only_the_whole_answer_yes_counts() -> None:
    for word, share in (("yes", 1.0), ("yes, it is", 0.0), ("Yes", 0.0), ("", 0.0)):
        found = dpg_scores(lambda _image, asked, word=word: [word] * len(asked), PROMPTS, IMAGES)  # type: ignore[misc]
        assert found.scores["dpg"].tolist() == [share] * 4


def test_a_prompt_of_another_list_is_an_error_and_not_a_zero() -> None:
    with pytest.raises(UserError, match="'a blue dog' is not in DPG-Bench's file; did you mean 'a red dog'"):
        dpg_scores(answered, PROMPTS, batch([1, 1], prompts=["a blue dog"]))


def test_too_few_images_are_refused() -> None:
    metric = DPG(None, replace(PROTOCOL, smoke=False), DPG_INFO)
    metric.update(dpg_scores(answered, PROMPTS, IMAGES))
    with pytest.raises(UserError, match="requires at least 100 generated images, got 4"):
        metric.result()
