"""The command line that the user typed, also where a job does the work."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

COMMAND_VARIABLE = "BENCH_COMMAND"
"""Environment variable in which a job finds its user's command line."""


def user_argv() -> list[str]:
    """Return the command line as it was typed, without the folder of the program."""
    given = os.environ.get(COMMAND_VARIABLE)
    return json.loads(given) if given else [Path(sys.argv[0]).name, *sys.argv[1:]]


def set_user_argv(argv: Sequence[str]) -> None:
    """Let `user_argv` return this from now on."""
    os.environ[COMMAND_VARIABLE] = json.dumps(list(argv))
