"""The commands by their names, which are imported when they are called."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer

from bench.cli.once import OnceCommand, with_once
from bench.core.errors import UserError
from bench.core.imports import load_class

COMMANDS = {
    "list": "browse:list_",
    "describe": "describe:describe",
    "doctor": "doctor:doctor",
    "prepare": "prepare:prepare",
    "run": "run:run",
    "reproduce": "reproduce:reproduce",
    "tune": "tune:tune",
    "eval": "evaluate:evaluate",
    "sweep": "sweep:sweep",
    "latency": "latency:latency",
    "report": "report:report",
    "site": "site:site",
    "compare": "compare:compare",
    "scores": "scores:scores",
    "status": "cluster:status",
    "logs": "cluster:logs",
    "wait": "cluster:wait",
    "cancel": "cluster:cancel",
    "resume": "cluster:resume",
    "refs": "refs:app",
    "metrics": "metrics:app",
    "weights": "weights:app",
    "study": "study:app",
    "records": "records:app",
}
"""Every command of ours, with its module in this package and its function or Typer app.

Packages add commands by entry points in the group `bench.commands`.
"""


def add_commands(app: typer.Typer, called: str | None) -> None:
    """Add the command that is called to an app; if it is none of ours, every command, those of packages too."""
    for name in [called] if called in COMMANDS else COMMANDS:
        _add(app, name, load_class(f"bench.cli.{COMMANDS[name]}"))
    if called not in COMMANDS:
        for point in entry_points(group="bench.commands"):
            _add(app, point.name, _of_package(point))


def _of_package(point: EntryPoint) -> Any:
    """Import a package's command; one that cannot be imported says so where it is called, and in the help."""
    from bench.runs.plugins.checks import importing

    package = point.dist.name if point.dist is not None else point.module
    fix = f"install what is missing, or pip uninstall {package}"
    try:
        with importing(lambda _: f"command {point.name!r} of {package} cannot be loaded", fix):
            return point.load()
    except UserError as error:
        return _broken(error)


def _broken(error: UserError) -> Callable[[], None]:
    def command() -> None:
        raise error

    command.__doc__ = str(error)
    return command


def _add(app: typer.Typer, name: str, command: Any) -> None:
    if isinstance(command, typer.Typer):
        app.add_typer(with_once(command), name=name)
    else:
        app.command(name, cls=OnceCommand)(command)
