"""DPG-Bench: a network for visual questions answers each prompt's questions about its images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch import Tensor

from bench.core.errors import UserError, hint
from bench.data.text.dpg import CATEGORIES, DPGPrompt
from bench.features.batch import ImageBatch
from bench.features.prompt_following.dpg_rules import (
    official_answers,
    official_questions,
    reason,
    share,
    valid_answers,
)
from bench.features.views import Features

Answer = Callable[[Tensor, Sequence[str]], Sequence[str]]
"""A network for visual questions: the answers in words to questions about an image [3, H, W] uint8."""
YES = "yes"
OFFICIAL = "dpg-official"


def dpg_scores(answer: Answer, prompts: Mapping[str, DPGPrompt], batch: ImageBatch) -> Features:
    """Return the scores of images by both rules, and their answers by category, from one pass of the network.

    `prompts` are the benchmark's by their text. Scores named `dpg_CATEGORY_yes` and `dpg_CATEGORY_questions` count
    answers of an image with dependencies, `dpg-official_...` without. Raises UserError for another prompt.
    """
    if len(batch.prompts) != len(batch):
        raise UserError("DPG-Bench reads the prompts of images, and these have none; fix: leave dpg out")
    rows: list[dict[str, float]] = []
    reasons = []
    for image, text in zip(batch.images, batch.prompts, strict=True):
        if text not in prompts:
            raise UserError(
                f"prompt {text[:80]!r} is not in DPG-Bench's file; {hint(text, prompts)[:200]} "
                "fix: evaluate on the prompts of dpg_bench.csv: --task dpg"
            )
        found = _scores(prompts[text], answer, image)
        rows.append(found[0])
        reasons.append(found[1])
    scores = {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}
    return Features(np.zeros((len(batch), 0)), scores=scores, reasons={"dpg": reasons})


def _scores(prompt: DPGPrompt, answer: Answer, image: Tensor) -> tuple[dict[str, float], str]:
    questions = prompt.questions
    words = answer(image.expand(3, -1, -1), [question.text for question in questions])
    said = {question.number: word == YES for question, word in zip(questions, words, strict=True)}
    valid, official = valid_answers(questions, said), official_questions(prompt)
    found: dict[str, float] = {
        "dpg": share(valid),
        OFFICIAL: 0.0 if official is None else share(official_answers(official, said)),
        f"{OFFICIAL}_left_out": float(official is None),
    }
    for category in CATEGORIES:
        for name, asked, answers in (("dpg", questions, valid), (OFFICIAL, official or (), said)):
            own = [answers[question.number] for question in asked if question.category == category]
            found |= {f"{name}_{category}_yes": float(sum(own)), f"{name}_{category}_questions": float(len(own))}
    return found, reason(questions, said)
