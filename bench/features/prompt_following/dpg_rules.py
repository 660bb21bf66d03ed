"""DPG-Bench's score of an image: pure functions of the answers to its prompt's questions.

Source: Hu et al. 2024 (ELLA), arXiv:2403.05135; dependencies as Cho et al. 2024 (DSG), arXiv:2310.18235.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.data.text.dpg import DPGPrompt, Question

Answers = Mapping[int, bool]
"""Whether the answer to each question is yes, by the question's number."""


def valid_answers(questions: Sequence[Question], answers: Answers) -> dict[int, bool]:
    """Return the answers, each no if that to any question it depends on, directly or not, is no.

    The questions may be in any order, and have no circles.
    """
    by_number = {question.number: question for question in questions}
    held: dict[int, bool] = {}

    def holds(number: int) -> bool:
        if number not in held:
            held[number] = answers[number] and all(map(holds, by_number[number].parents))
        return held[number]

    return {question.number: holds(question.number) for question in questions}


def share(answers: Answers) -> float:
    """Return the share of questions whose answer is yes."""
    return sum(answers.values()) / len(answers)


def official_questions(prompt: DPGPrompt) -> tuple[Question, ...] | None:
    """Return the questions that the official script asks; None if it fails on the prompt and leaves it out.

    It skips the first row of the file. Where another question depends on that one, it raises an exception for
    every image of the prompt, and goes on without them.
    """
    skipped = {question.number for question in prompt.questions if question.first_row}
    asked = tuple(question for question in prompt.questions if not question.first_row)
    return None if not asked or any(skipped & set(question.parents) for question in asked) else asked


def official_answers(questions: Sequence[Question], answers: Answers) -> dict[int, bool]:
    """Return the answers as the official script scores them.

    It reads questions in their order in the file: a question that depends on a later one sees that one's own
    answer, even if it turns into no afterwards.
    """
    scored = {question.number: answers[question.number] for question in questions}
    for question in questions:
        if not all(scored[parent] for parent in question.parents):
            scored[question.number] = False
    return scored


def reason(questions: Sequence[Question], answers: Answers) -> str:
    """Return the questions that do not count as yes, in words; empty if all do."""
    valid = valid_answers(questions, answers)
    return "\n".join(
        f"{'depends on a no' if answers[question.number] else 'no'}: {question.text}"
        for question in questions
        if not valid[question.number]
    )
