"""Calling `bench ...` in the test's own process."""

from __future__ import annotations

import re
from typing import NamedTuple

from typer.testing import CliRunner

from bench.cli import command_line
from bench.core.errors import UserError


def bare(text: object) -> str:
    """A message whose commands name no plug-in file and no cache, which are the test's own."""
    return re.sub(r" --(plugin|cache) \S+", "", str(text))


class Printed(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    text: str


def invoke(*arguments: object) -> tuple[Printed, BaseException | None]:
    """Call a command; return what it printed, and what it raised but for an exit."""
    done = CliRunner().invoke(command_line(), [str(argument) for argument in arguments])
    error = None if isinstance(done.exception, SystemExit) else done.exception
    return Printed(done.exit_code, done.output), error


def bench(*arguments: object) -> Printed:
    """Call a command; a user's mistake is printed, as users see it."""
    printed, error = invoke(*arguments)
    if isinstance(error, UserError):
        return Printed(2, f"{printed.text}error: {error}")
    if error is not None:
        raise error
    return printed


def output(*arguments: object) -> str:
    """What a command prints that is to succeed; a user's mistake is raised."""
    printed, error = invoke(*arguments)
    if error is not None:
        raise error
    assert printed.code == 0, printed.text
    return printed.text
