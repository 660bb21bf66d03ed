"""The student with the lowest FD on the way, kept apart: its records say that the test metric chose it.

`best/` in a run's folder looks like a run's folder: checkpoints/ to start from, student/ to evaluate.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.core.errors import UserError
from bench.core.files import write_text

DESCRIPTION = "best.json"


@dataclass(frozen=True)
class Best:
    """Which student it is."""

    iteration: int
    fd: float
    """On the samples of a look on the way: no result."""
    sha256: str
    """Of the student's folder."""
    fd_samples: int | None = None
    """Generated images behind `fd`; None in files from before it was written down."""

    def write(self, folder: Path) -> None:
        """Write it into a `best` folder."""
        write_text(folder / DESCRIPTION, json.dumps(asdict(self), indent=2) + "\n")


def read_best(folder: Path) -> Best | None:
    """Read what a `best` folder holds; None if it is no such folder. Raises UserError if it is damaged."""
    path = folder / DESCRIPTION
    if not path.is_file():
        return None
    try:
        return Best(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); fix: rm -r {shlex.quote(str(folder))}") from None
