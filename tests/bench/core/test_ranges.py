"""Numbers after an option: lists, ranges with both ends, and what is wrong with others."""

from __future__ import annotations

import pytest

from bench.core.errors import UserError
from bench.core.ranges import parse_numbers, parse_whole_numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("3", [3]),
        ("1,2,4,8", [1, 2, 4, 8]),
        ("4,1", [4, 1]),
        ("1:3:0.5", [1, 1.5, 2, 2.5, 3]),
        ("1:8:2", [1, 3, 5, 7]),
        ("2:2:1", [2]),
        ("0:0.3:0.1", [0, 0.1, 0.2, 0.3]),
        ("1, 2:4:1, 3", [1, 2, 3, 4]),
    ],
)
def test_lists_and_ranges_are_read_in_their_order_and_without_doubles(text: str, numbers: list[float]) -> None:
    assert parse_numbers("--guidance", text) == numbers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "--guidance has no numbers; fix: --guidance 1,2,4"),
        (" , ", "--guidance has no numbers"),
        ("high", "--guidance takes numbers, not 'high'"),
        ("nan", "--guidance takes numbers, not 'nan'"),
        ("1,inf", "--guidance takes numbers, not 'inf'"),
        ("1:8", "takes a range as FIRST:LAST:STEP, not '1:8'"),
        ("1:x:1", "--guidance takes numbers, not 'x'"),
        ("1:8:0", "the step is 0; fix: a step above 0"),
        ("8:1:-1", "the step is -1; fix: a step above 0"),
        ("8:1:1", "is empty: 8 is more than 1; fix: --guidance 1:8:1"),
        ("0:1:0.0001", "has 10,001 numbers, and 1,000 are the most"),
    ],
)
def test_what_is_no_list_is_refused_with_the_option(text: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        parse_numbers("--guidance", text)
    assert said in str(error.value) and "; fix: " in str(error.value)


def test_steps_are_whole_numbers_from_one_on() -> None:
    assert parse_whole_numbers("--steps", "1,2:8:2") == [1, 2, 4, 6, 8]
    for text in ("0", "2.5", "-4"):
        with pytest.raises(UserError, match="--steps takes whole numbers from 1 on"):
            parse_whole_numbers("--steps", text)
    with pytest.raises(UserError, match="--steps takes numbers up to 1,000,000, not 1e"):
        parse_whole_numbers("--steps", "99999999999999999999999")
