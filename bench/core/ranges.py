"""Numbers as users write them after an option: lists with commas, and ranges `1:8:1` with both ends."""

from __future__ import annotations

import math

from bench.core.errors import UserError

MOST = 1000
"""Numbers in one option; more are a mistake in a range."""
LARGEST = 1_000_000
"""Largest whole number; a larger one is a mistake, and from 2^53 on it would be rounded."""
NEAR = 1e-9
"""Share of a step by which the last number of a range may miss its end."""


def parse_numbers(option: str, text: str) -> list[float]:
    """Read `1,2,4` and `1:8:0.5` (first, last, step), also mixed, in their order and without doubles.

    Raises UserError that names the option for what is no number, an empty list, and a range without numbers.
    """
    found: list[float] = []
    for part in (part.strip() for part in text.split(",")):
        if part:
            found += _range(option, part) if ":" in part else [_number(option, part)]
    if not found:
        raise UserError(f"{option} has no numbers; fix: {option} 1,2,4 or {option} 1:8:1")
    return list(dict.fromkeys(found))


def parse_whole_numbers(option: str, text: str) -> list[int]:
    """Read whole numbers from 1 to `LARGEST`, as `parse_numbers` does."""
    found = parse_numbers(option, text)
    for number in found:
        if number < 1 or not number.is_integer():
            raise UserError(f"{option} takes whole numbers from 1 on, not {number:g}; fix: {option} 1,2,4,8")
        if number > LARGEST:
            raise UserError(f"{option} takes numbers up to {LARGEST:,}, not {number:g}; fix: {option} 1,2,4,8")
    return [int(number) for number in found]


def _range(option: str, text: str) -> list[float]:
    """Return the numbers of `first:last:step`, with the last one if the steps meet it."""
    parts = text.split(":")
    if len(parts) != 3:
        raise UserError(f"{option} takes a range as FIRST:LAST:STEP, not {text!r}; fix: {option} 1:8:1")
    first, last, step = (_number(option, part.strip()) for part in parts)
    if step <= 0:
        raise UserError(f"{option} {text}: the step is {step:g}; fix: a step above 0")
    if first > last:
        raise UserError(
            f"{option} {text} is empty: {first:g} is more than {last:g}; fix: {option} {last:g}:{first:g}:{step:g}"
        )
    count = math.floor((last - first) / step + NEAR) + 1
    if count > MOST:
        raise UserError(f"{option} {text} has {count:,} numbers, and {MOST:,} are the most; fix: a larger step")
    return [float(f"{first + number * step:.12g}") for number in range(count)]


def _number(option: str, text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise UserError(f"{option} takes numbers, not {text!r}; fix: {option} 1,2,4 or {option} 1:8:1")
    return found
