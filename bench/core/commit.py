"""Find the commit of this package's code, without importing torch, so that it is quick on a login node."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import bench

COMMIT_FILE = "commit.json"
"""Name of the file that holds the commit of a snapshot; it lies beside the packages."""


def commit() -> dict[str, Any]:
    """Return the commit of this package's source as a record stores it; a snapshot has its origin's."""
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
    """Run git in a folder and return its output; None if the folder is in no git checkout.

    It locks nothing: `git status` locks the index to refresh it, and one that is killed leaves that lock for ever.
    """
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(source), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
