"""Whose an error is that no command expects: a plug-in's, whose author's line it names, or ours."""

from __future__ import annotations

import traceback
from pathlib import Path

from bench.core.errors import first_line
from bench.core.stopping import Interrupted, Stopped
from bench.runs.plugins.places import module_of, plugin_place

TRACEBACK_VARIABLE = "BENCH_TRACEBACK"
"""Environment variable that shows the traceback of an unexpected error."""
COMMAND_LINE = frozenset({"__main__", "bench", "typer", "click"})
"""The top modules of a command that ends as it should."""


def unexpected(error: BaseException) -> str:
    """Describe an unexpected error in one line, with the way to see its traceback."""
    return of_plugin(error) or f"unexpected {_described(error)}, and please report it"


def of_plugin(error: BaseException) -> str:
    """Describe an error of a plug-in's code, or of what that calls; empty if no plug-in took part."""
    modules = {module_of(frame) for frame, _ in traceback.walk_tb(error.__traceback__)}
    own = {module.partition(".")[0] for module in modules} <= COMMAND_LINE
    if (own and not isinstance(error, AttributeError)) or isinstance(error, Interrupted | Stopped):
        return ""
    if (place := plugin_place(error)) is None:
        return ""
    return f"plug-in {place.plugin} failed{f' in line {place.line}' if place.line else ''}: {_described(error)}"


def _described(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return (
        f"{type(error).__name__}: {first_line(error)}{where}; fix: set {TRACEBACK_VARIABLE}=1 to see the traceback"
    )
