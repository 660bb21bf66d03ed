"""Whether a file is a record at all: JSON of the right fields, each given once and of the right type."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from bench.core.escape import printable
from bench.runs.checks.finding import UNCHANGED, Finding, error, shortened
from bench.runs.record import Record
from bench.runs.records import UPGRADE, later_version

MOST_ERRORS = 50
"""A damaged file may have thousands; the rest is counted."""


def parsed(content: bytes) -> tuple[Record | None, list[Finding]]:
    """Return the record in a file's bytes, or None with everything that is wrong with it."""
    repeated = _repeated_keys(content)
    try:
        return Record.model_validate_json(content, strict=True), repeated
    except ValidationError as invalid:
        found = invalid.errors(include_url=False)
        number = next((one["input"] for one in found if one["loc"] == ("schema_version",)), None)
        if (version := later_version({"schema_version": number}, Record)) is not None:
            return None, [error(f"a record of version {version}, which this installation cannot read", UPGRADE)]
        said = [error(_in_words(one), UNCHANGED) for one in found[:MOST_ERRORS]]
        if len(found) > MOST_ERRORS:
            said.append(error(f"{len(found) - MOST_ERRORS} more fields are wrong"))
        return None, [*repeated, *said]


def _in_words(one: Any) -> str:
    """Say in words what pydantic found wrong in one place."""
    where = ".".join(str(part) for part in one["loc"])
    kind, message = one["type"], one["msg"]
    if kind == "missing":
        return f"{where} is missing"
    if kind == "extra_forbidden":
        return f"{where} is no field of a record of version 1, and is {shortened(one['input'])}"
    if kind == "json_invalid":
        return f"not JSON: {message.removeprefix('Invalid JSON: ')}"
    if kind == "value_error":
        message = message.removeprefix("Value error, ")
        return f"{where}: {message}" if where else message
    must = message.replace("Input should be", "must be", 1)
    return f"{where or 'the file'} is {shortened(one['input'])}, but {must[:1].lower()}{must[1:]}"


def _repeated_keys(content: bytes) -> list[Finding]:
    """Find keys that an object has twice: readers disagree on which of the two values counts."""
    found: dict[str, None] = {}

    def pairs(items: Sequence[tuple[str, Any]]) -> None:
        keys = [key for key, _ in items]
        if len(set(keys)) < len(keys):
            found.update((key, None) for key in keys if keys.count(key) > 1)

    try:
        json.loads(content, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return []  # the reader of records says so
    return [error(f"the key {printable(shortened(key))} is given twice in one object", UNCHANGED) for key in found]
