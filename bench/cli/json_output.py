"""The output of `--json`: one JSON object on stdout, and nothing else there."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.terminal import print

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout; warnings go to stderr.")
]


def print_json(data: Mapping[str, Any]) -> None:
    """Print data as one JSON object in ASCII: numbers that are not finite become null, paths become text."""
    print(json.dumps(_plain(data), indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    """Return a value in JSON's own types."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
