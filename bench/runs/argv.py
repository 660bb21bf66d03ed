"""The user's command line (argv), which is also known in a job."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

COMMAND_VARIABLE = "BENCH_COMMAND"
"""Environment variable in which a job finds its user's command line."""


def user_argv() -> list[str]:
    """Return the user's command line, without the folder of the program."""
    given = os.environ.get(COMMAND_VARIABLE)
    return json.loads(given) if given else [Path(sys.argv[0]).name, *sys.argv[1:]]


def set_user_argv(argv: Sequence[str]) -> None:
    """Set the command line that `user_argv` returns from now on."""
    os.environ[COMMAND_VARIABLE] = json.dumps(list(argv))
