"""Whose an error is that no command expects: a plug-in's, whose author's line it names, or ours."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import FrameType

from bench.core.errors import first_line
from bench.core.imports import PLUGIN_MODULE
from bench.core.stopping import Interrupted, Stopped

TRACEBACK_VARIABLE = "BENCH_TRACEBACK"
"""Environment variable that shows the traceback of an unexpected error."""
DISTRIBUTION = "distillation-bench"
COMMAND_LINE = frozenset({"__main__", "bench", "typer", "click"})
"""The top modules of a command that ends as it should."""


def unexpected(error: BaseException) -> str:
    """Describe an unexpected error in one line, with the way to see its traceback."""
    return of_plugin(error) or f"unexpected {_described(error)}, and please report it"


def of_plugin(error: BaseException) -> str:
    """Describe an error of a plug-in's code, or of what that calls; empty if no plug-in took part.

    What an object of a plug-in's class lacks is the plug-in's error, too.
    """
    if isinstance(error, Interrupted | Stopped):
        return ""
    places: list[tuple[str, FrameType | None, int]] = [
        (str(frame.f_globals.get("__name__")), frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    if isinstance(error, AttributeError):
        kind = error.obj if isinstance(error.obj, type) else type(error.obj)
        places.insert(0, (kind.__module__, None, 0))
    if {module.partition(".")[0] for module, _, _ in places} <= COMMAND_LINE:
        return ""
    packages = _packages()
    for module, frame, line in reversed(places):  # the author's last line is the nearest to the error
        if name := _plugin(module, frame, packages):
            return f"plug-in {name} failed{f' in line {line}' if line else ''}: {_described(error)}"
    return ""


def _described(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return (
        f"{type(error).__name__}: {first_line(error)}{where}; fix: set {TRACEBACK_VARIABLE}=1 to see the traceback"
    )


def _plugin(module: str, frame: FrameType | None, packages: dict[str, str]) -> str:
    """Return the plug-in that a module belongs to: its file's name, or its package and its module."""
    if module.startswith(PLUGIN_MODULE):
        return Path(frame.f_code.co_filename).name if frame else f"{module.removeprefix(PLUGIN_MODULE)}.py"
    package = packages.get(module.partition(".")[0])
    return f"{package} ({module})" if package else ""


def _packages() -> dict[str, str]:
    """Return the top modules of installed plug-ins, each with its distribution."""
    from importlib.metadata import entry_points

    from bench.runs.plugins.kinds import KINDS

    found = {}
    for kind in KINDS:
        for point in entry_points(group=f"bench.{kind}s"):
            if point.dist is not None and point.dist.name != DISTRIBUTION:
                found[point.module.partition(".")[0]] = f"{point.dist.name} {point.dist.version}"
    return found
