"""The file of one pass over a protocol's images, from which a killed evaluation goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.errors import UserError
from bench.core.escape import shell_path
from bench.core.files import write_text
from bench.metrics.base import Measured


@dataclass(frozen=True)
class Repetition:
    """The content of the file of one pass over a protocol's images."""

    made_of: Mapping[str, Any]
    """The hashes that decide it: of the subject, the protocol and the references."""
    metrics: Mapping[str, Measured]
    seconds: float

    def write(self, path: Path) -> None:
        """Write the file, which appears whole."""
        content = {**vars(self), "metrics": {name: vars(measured) for name, measured in self.metrics.items()}}
        write_text(path, json.dumps(content, indent=2) + "\n")


def read_repetition(path: Path) -> Repetition:
    """Read a repetition's file. Raises UserError if it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        metrics = {name: Measured(**measured) for name, measured in found["metrics"].items()}
        return Repetition(found["made_of"], metrics, float(found["seconds"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is damaged; fix: rm {shell_path(path)}, and run again") from None
