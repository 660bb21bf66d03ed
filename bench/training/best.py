"""The student that had the lowest FD during training. Its records say that the test metric selected it.

The folder `best/` in a run's folder has the layout of a run's folder: checkpoints/ to start a training from, and
student/ to evaluate.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.core.errors import UserError
from bench.core.escape import shell_path
from bench.core.files import write_text

DESCRIPTION = "best.json"


@dataclass(frozen=True)
class Best:
    """The description of a `best` folder: the student in it, and the FD that selected it."""

    iteration: int
    fd: float
    """Measured on the samples of a validation during training; it is not a result of the run."""
    sha256: str
    """Hash of the student's folder."""
    fd_samples: int | None = None
    """Number of generated images that `fd` was measured on; None in older files, which do not record it."""

    def write(self, folder: Path) -> None:
        """Write the description into a `best` folder."""
        write_text(folder / DESCRIPTION, json.dumps(asdict(self), indent=2) + "\n")


def read_best(folder: Path) -> Best | None:
    """Read the description in a `best` folder, or None if there is none. Raises UserError if it is damaged."""
    path = folder / DESCRIPTION
    if not path.is_file():
        return None
    try:
        return Best(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({error}); without it the best student so far is lost, "
            f"and training continues; fix: rm -r {shell_path(folder)}"
        ) from None
