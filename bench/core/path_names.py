"""The names by which people know the files and folders that they gave."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = "models--"
"""The beginning of a model's folder in the hub's cache, `models--OWNER--NAME`."""
VERSIONS = "snapshots"
"""The folder in it that holds each version, named by its hash, whose files are links to others named by theirs."""


def path_name(path: Path) -> str:
    """Return the last part of a path as the user knows it.

    Of a link it is the link's own, and of a version of a model in the hub's cache the model's, without its owner.
    """
    named = path.resolve() if path.name in ("", "..") else path.absolute()
    repository = named.parent.parent.name
    if named.parent.name == VERSIONS and repository.startswith(REPOSITORY):
        return repository.rpartition("--")[2]
    return named.name
