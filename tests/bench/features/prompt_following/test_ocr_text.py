"""OCR accuracy on texts made by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import UserError
from bench.features.prompt_following.ocr_text import edit_distance, quoted_text, text_score


def test_the_first_quoted_text_is_wanted() -> None:
    assert quoted_text('A sign that says "Open now" and "closed"') == "Open now"


@pytest.mark.parametrize("prompt", ["A sign", 'A sign ""', 'A sign "  "', 'A sign "open'])
def test_a_prompt_without_quoted_text_is_named(prompt: str) -> None:
    with pytest.raises(UserError, match=f"{prompt!r} has no text in double quotes"):
        quoted_text(prompt)


@pytest.mark.parametrize(("wanted", "read", "score"), [
    ("Open Now", "OPENNOW", 1.0),  # neither spaces nor case count
    ("open", "we are open today", 1.0),  # contained
    ("open", "opan", 0.75),
    ("open", "", 0.0),
    ("open", "something else entirely", 0.0),  # no less than 0
    ("open", "openn", 1.0),
    ("open", "pen", 0.75),
])  # fmt: skip
def test_the_score_is_one_minus_the_share_of_wrong_characters(wanted: str, read: str, score: float) -> None:
    assert text_score(wanted, read) == score


@pytest.mark.parametrize(("one", "other", "distance"), [
    ("kitten", "sitting", 3),
    ("flaw", "lawn", 2),
    ("", "abc", 3),
    ("abc", "abc", 0),
])  # fmt: skip
def test_known_distances(one: str, other: str, distance: int) -> None:
    assert edit_distance(one, other) == edit_distance(other, one) == distance


@settings(max_examples=20, deadline=None)
@given(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5))
def test_the_distance_is_a_metric(one: str, other: str, third: str) -> None:
    assert edit_distance(one, third) <= edit_distance(one, other) + edit_distance(other, third)
    assert (edit_distance(one, other) == 0) == (one == other)
