"""Committed records as plain data, and copies of them with some values changed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.core.files import digest

COMMITTED = Path(__file__).parent.parent / "results" / "records"
EXAMPLE: dict[str, Any] = json.loads((COMMITTED / "digits" / "dmd2-s1-e03abe5945.json").read_text())
SAMPLER: dict[str, Any] = json.loads((COMMITTED / "digits" / "teacher-ode-75c86c7bc0.json").read_text())
GONE = object()
"""In place of a value: the key is left out."""

Found = Callable[..., list[str]]
Written = Callable[..., Path]


def changed(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a record with values at dotted places, such as `metrics.0.value`.

    The digest of a changed protocol is computed again, unless it is changed too.
    """
    record = copy.deepcopy(dict(base))
    for place, value in values.items():
        *way, last = [int(part) if part.isdigit() else part for part in place.split(".")]
        inner: Any = record
        for part in way:
            inner = inner[part]
        if value is GONE:
            del inner[last]
        else:
            inner[last] = value
    if "protocol_sha256" not in values and isinstance(record.get("protocol"), dict):
        record["protocol_sha256"] = digest(record["protocol"])
    return record
