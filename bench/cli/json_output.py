"""The output of `--json`: one JSON object on stdout, and nothing else there."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from bench.cli.terminal import print

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout; warnings go to stderr.")
]


_reserved: list[TextIO] = []
"""Stdout, while all but the JSON object goes to stderr."""


@contextlib.contextmanager
def only_json_on_stdout(asked: bool) -> Iterator[None]:
    """Let all but `print_json` print to stderr inside, if JSON is asked for: plug-ins and libraries print, too."""
    if not asked:
        yield
        return
    _reserved.append(sys.stdout)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _reserved.pop()


def print_json(data: Mapping[str, Any]) -> None:
    """Print data as one JSON object in ASCII: numbers that are not finite become null, paths become text."""
    text = json.dumps(_plain(data), indent=2, allow_nan=False)
    print(text, file=_reserved[-1] if _reserved else sys.stdout)


def _plain(value: Any) -> Any:
    """Return a value in JSON's own types."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
