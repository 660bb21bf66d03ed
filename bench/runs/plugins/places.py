"""The place in a plug-in's code that an exception went through: its author's line."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from bench.core.imports import PLUGIN_MODULE

DISTRIBUTION = "distillation-bench"


class Place(NamedTuple):
    """A line of a plug-in."""

    plugin: str
    """The name of its file, or its package and its module."""
    line: int
    """0 if it is not known."""

    def __str__(self) -> str:
        return f"in line {self.line} of plug-in {self.plugin}" if self.line else f"in plug-in {self.plugin}"


def is_ours(origin: str) -> bool:
    """Return whether a distribution, by its name and version, is this package and no plug-in."""
    return origin.partition(" ")[0] == DISTRIBUTION


def plugin_place(error: BaseException) -> Place | None:
    """Return the last line of a plug-in that an exception went through; None if no plug-in took part.

    What an object of a plug-in's class lacks is the plug-in's error, too.
    """
    places: list[tuple[str, FrameType | None, int]] = [
        (module_of(frame), frame, line) for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    if isinstance(error, AttributeError):
        kind = error.obj if isinstance(error.obj, type) else type(error.obj)
        places.insert(0, (kind.__module__, None, 0))
    packages = _packages()
    for module, frame, line in reversed(places):  # the author's last line is the nearest to the error
        if name := _plugin(module, frame, packages):
            return Place(name, line)
    return None


def placed(error: BaseException) -> str:
    """Return an exception's text; its first line ends with the line of a plug-in that it went through, if any."""
    place = plugin_place(error)
    first, line, rest = str(error).strip().partition("\n")
    return f"{first or type(error).__name__} ({place}){line}{rest}" if place else str(error)


def module_of(frame: FrameType) -> str:
    """Return the name of the module that a frame runs."""
    return str(frame.f_globals.get("__name__"))


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
