"""The records that a command reads: those of this machine, and those that come with the package."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.terminal import print

if TYPE_CHECKING:
    from bench.runs.records import Loaded


def known_records(runs: Path, committed: bool) -> Loaded:
    """Read the records of this machine before the committed ones; broken files are warned of."""
    from bench.runs.records import load_records
    from bench.runs.result_files import RESULTS

    folders = [runs, RESULTS / "records"] if committed else [runs]
    found = load_records(folder for folder in folders if folder.is_dir())
    for problem in found.problems:
        print(f"warning: {problem}", file=sys.stderr)
    return found
