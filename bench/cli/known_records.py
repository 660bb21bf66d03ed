"""The records that a command reads, of this machine and of the package, and the options that choose among them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.completion import task_names
from bench.cli.terminal import print

if TYPE_CHECKING:
    from bench.runs.records import Loaded

CommittedOption = Annotated[bool, typer.Option(help="Also read the records that are part of the package.")]
ResultsTaskOption = Annotated[
    str | None, typer.Option("--task", help="The task of methods and samplers.", autocompletion=task_names)
]
ResultsProtocolOption = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        help="Only results under this protocol, by name or the beginning of its digest.",
        show_default="all",
    ),
]


def known_records(runs: Path, committed: bool) -> Loaded:
    """Read the records of this machine before the committed ones; broken files are warned of."""
    from bench.runs.records import load_records
    from bench.runs.result_files import RESULTS

    folders = [runs, RESULTS / "records"] if committed else [runs]
    found = load_records(folder for folder in folders if folder.is_dir())
    for problem in found.problems:
        print(f"warning: {problem}", file=sys.stderr)
    return found
