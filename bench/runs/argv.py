"""The user's command line (argv), which is also known in a job, and options of commands that messages propose."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from bench.core.escape import shell_path
from bench.core.run_folder import BEST
from bench.task.declaration import default_cache

COMMAND_VARIABLE = "BENCH_COMMAND"
"""Environment variable in which a job finds its user's command line."""

_BEGINNING = r"(?:^|(?<=[\s'\"=,;(\[{<|]))"
"""Where a word begins."""
MACHINE_PATH = re.compile(
    rf"{_BEGINNING}(?:/(?=[\w.~-])[^\s'\",;)\]}}>|]*|~[\w-]*/[^\s'\",;)\]}}>|]*|[A-Za-z]:[\\/][^\s'\",;)]*"
    r"|\\\\[\w.-]+\\[^\s'\",;)]*|file://[^\s'\",;)]*)|(?<=:)/(?=\w)[^\s'\",;)\]}>|]*"
)
"""A path from the root or a home folder, a path of Windows, or a file: address; not that of a web address."""


def plugin_options(paths: Iterable[Path]) -> str:
    """Return the options of a command that name plug-in files, each after a blank."""
    return "".join(f" --plugin {shell_path(path)}" for path in paths)


def set_options(values: Mapping[str, Any]) -> str:
    """Return the options of a command that set recipe values, each after a blank."""
    pairs = (f"{key}={json.dumps(value)}" for key, value in values.items())
    return "".join(f" --set {shlex.quote(pair)}" for pair in pairs)


def cache_option(cache: Path) -> str:
    """Return the option of a command that names the cache, after a blank; empty if it is the usual one."""
    return f" --cache {shell_path(cache)}" if cache != default_cache() else ""


def user_argv() -> list[str]:
    """Return the user's command line, without the folder of the program."""
    given = os.environ.get(COMMAND_VARIABLE)
    return json.loads(given) if given else [Path(sys.argv[0]).name, *sys.argv[1:]]


def set_user_argv(argv: Sequence[str]) -> None:
    """Set the command line that `user_argv` returns from now on."""
    os.environ[COMMAND_VARIABLE] = json.dumps(list(argv))


def published_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return recipe values as a record keeps them: paths of one machine are shortened to their last name.

    Of a run's `best` student the name of the run stays in front, since recipes name the run from which one starts.
    """
    return {key: _published_path(value) if isinstance(value, str) else value for key, value in values.items()}


def _published_path(value: str) -> str:
    if MACHINE_PATH.match(value) is None:
        return value
    path = PureWindowsPath(value)
    return f"{path.parent.name}/{BEST}" if path.name == BEST else path.name


def published_argv(argv: Sequence[str]) -> list[str]:
    """Return a command line as a record keeps it: paths of one machine are shortened to their last name."""
    # A path of Windows has both kinds of separators, so its rule finds the last name of every path.
    return [MACHINE_PATH.sub(lambda found: PureWindowsPath(found[0]).name, one) for one in argv]
