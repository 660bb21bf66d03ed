"""Read text, JSON and JSON lines that a user gives: UTF-8, with or without a mark, and with any ends of lines."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import UserError
from bench.core.json_objects import RepeatedKeyError, first_repeated, unrepeated
from bench.core.safe_pickle import shown

KINDS = {dict: "an object", list: "an array", str: "a text", bool: "true or false", type(None): "null"}
"""What JSON calls a value, by its class in Python; all others are numbers."""


def kind_of(value: object) -> str:
    """Return what JSON calls a value: `an array`."""
    return KINDS.get(type(value), "a number")


def is_unicode(text: str) -> bool:
    """Say whether text can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def refuse_repeated(path: Path, names: Sequence[str]) -> None:
    """Raise UserError if two columns have the same name: a reader by name would lose one of them."""
    twice = first_repeated(names)
    if twice is not None:
        raise UserError(f"{path} has two columns {shown(twice)!r}; fix: rename one of them")


def text_of(data: bytes, where: str) -> str:
    """Decode UTF-8. Raises UserError if the bytes are not UTF-8, or are UTF-16, which may look like it."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{where} is not UTF-8 text ({error.reason} at byte {error.start:,}, in line {line:,}); "
            "fix: save it as UTF-8"
        ) from None
    if "\0" in text:
        raise UserError(f"{where} is not UTF-8 text (it has zero bytes, as UTF-16 has); fix: save it as UTF-8")
    return text


def json_of(data: bytes, where: str, fix: str = "write it again") -> object:
    """Decode JSON. Raises UserError if the bytes are not JSON in UTF-8, or if an object has a key twice."""
    return _parsed(text_of(data, where), where, fix)


def json_lines(data: bytes, where: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the object on each line with the line's number from 1; blank lines have none.

    Raises UserError for a line that is not a JSON object, as in a file that is one array.
    """
    fix = "write one JSON object on each line"
    text = text_of(data, where)
    if text.lstrip().startswith("["):
        raise UserError(f"{where} begins as an array, and not as JSON lines; fix: {fix}")
    # Not splitlines, which also splits at characters that JSON may have in a text.
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        if not line.strip():
            continue
        place = f"{where}: line {number}"
        content = _parsed(line, place, fix)
        if not isinstance(content, dict):
            raise UserError(f"{place} is {kind_of(content)} and not an object; fix: {fix}")
        yield number, content


def _parsed(text: str, where: str, fix: str) -> object:
    if not text.strip():
        raise UserError(f"{where} is empty, and no JSON; fix: {fix}")

    try:
        content: object = json.loads(text, object_pairs_hook=unrepeated)
    except RepeatedKeyError as error:
        raise UserError(f"{where} has {shown(error.key)!r} twice; fix: keep one of them") from None
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        raise UserError(f"{where} is not JSON{' or is cut short' * cut} ({error}); fix: {fix}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not JSON ({error}); fix: {fix}") from None
    return content
