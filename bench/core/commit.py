"""The commit that this package's code is of; imports no torch, so that a login node can ask."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import bench

COMMIT_FILE = "commit.json"
"""Beside the packages of a snapshot."""


def commit() -> dict[str, Any]:
    """The commit of this package's own source, as a record has it; of a snapshot, the one it was taken of."""
    source = Path(bench.__file__).parent.parent
    taken = source / COMMIT_FILE
    if taken.is_file():
        found: dict[str, Any] = json.loads(taken.read_text(encoding="utf-8"))
        return found
    changed = _git(source, "status", "--porcelain", "--untracked-files=no")
    return {
        "git_commit": _git(source, "rev-parse", "HEAD"),
        "git_dirty": None if changed is None else bool(changed),
    }


def _git(source: Path, *arguments: str) -> str | None:
    """Ask git about a folder; None if it is not in a git checkout."""
    try:
        done = subprocess.run(
            ["git", "-C", str(source), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
