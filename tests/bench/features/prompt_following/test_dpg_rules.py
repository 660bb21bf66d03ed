"""DPG-Bench's rules, on answers made by hand."""

from bench.data.text.dpg import DPGPrompt, Question
from bench.features.prompt_following.dpg_rules import (
    official_answers,
    official_questions,
    reason,
    share,
    valid_answers,
)

DOG = Question(1, "Is there a dog?", (), "entity", first_row=True)
RED = Question(2, "Is the dog red?", (1,), "attribute")
RUNS = Question(3, "Does the red dog run?", (2,), "relation")
CAT = Question(4, "Is there a cat?", (), "entity")


def test_a_question_counts_if_all_that_it_depends_on_do() -> None:
    answers = {1: False, 2: True, 3: True, 4: True}
    valid = valid_answers((DOG, RED, RUNS, CAT), answers)
    assert valid == {1: False, 2: False, 3: False, 4: True}
    assert share(valid) == 0.25


def test_one_no_among_several_parents_is_enough() -> None:
    both = Question(5, "Does the dog chase the cat?", (1, 4), "relation")
    assert not valid_answers((DOG, CAT, both), {1: True, 4: False, 5: True})[5]
    assert valid_answers((DOG, CAT, both), {1: True, 4: True, 5: True})[5]


def test_a_question_without_parents_keeps_its_answer() -> None:
    assert valid_answers((CAT,), {4: True}) == {4: True}


def test_the_order_of_the_file_matters_to_the_official_script_alone() -> None:
    """RUNS is before RED here; RED turns into no only after RUNS has read it."""
    answers, shuffled = {1: False, 2: True, 3: True}, (DOG, RUNS, RED)
    assert valid_answers(shuffled, answers) == {1: False, 3: False, 2: False}
    assert official_answers(shuffled, answers) == {1: False, 3: True, 2: False}
    assert official_answers((DOG, RED, RUNS), answers) == valid_answers((DOG, RED, RUNS), answers)


def test_the_official_script_skips_the_first_row_and_fails_on_what_depends_on_it() -> None:
    assert official_questions(DPGPrompt("a", "a dog and a cat", (DOG, CAT))) == (CAT,)
    assert official_questions(DPGPrompt("a", "a red dog", (DOG, RED))) is None
    assert official_questions(DPGPrompt("a", "a dog", (DOG,))) is None
    assert official_questions(DPGPrompt("b", "a cat", (CAT,))) == (CAT,)


def test_the_reason_lists_what_is_not_so() -> None:
    found = reason((DOG, RED, CAT), {1: False, 2: True, 4: True})
    assert found == "no: Is there a dog?\ndepends on a no: Is the dog red?"
    assert reason((CAT,), {4: True}) == ""
