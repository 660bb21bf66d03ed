"""The command that the user typed, also where a worker process does the work."""

import json
import os
import sys
from pathlib import Path

COMMAND_VARIABLE = "BENCH_COMMAND"
"""Environment variable in which a worker finds its user's command."""


def typed_command() -> list[str]:
    """Return the command line as it was typed, without the folder of the program."""
    given = os.environ.get(COMMAND_VARIABLE)
    return json.loads(given) if given else [Path(sys.argv[0]).name, *sys.argv[1:]]
