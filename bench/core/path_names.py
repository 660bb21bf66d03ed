"""The names by which people know the files and folders that they gave."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = "models--"
"""The beginning of a model's folder in the hub's cache, `models--OWNER--NAME`."""
VERSIONS = "snapshots"
"""The folder in it that holds each version, named by its hash, whose files are links to others named by theirs."""
SAME_EVERYWHERE = (
    *("unet", "transformer", "vae", "student"),
    *("diffusion_pytorch_model", "pytorch_lora_weights", "adapter_model", "pytorch_model", "model"),
)
"""Folders and files, without their ends, that are called so in every model, and so do not tell it from others."""
HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
HASH_DIGITS = 12


def path_name(path: Path) -> str:
    """Return the last part of a path as the user knows it.

    Of a link it is the link's own, and of a version of a model in the hub's cache the model's, without its owner.
    What is called so in every model has the name of the folder above in front: `fast-unet`.
    """
    named = path.resolve() if path.name in ("", "..") else path.absolute()
    if not _says_nothing(named):
        return _own_name(named)
    above = next((folder for folder in named.parents if folder.name and not _says_nothing(folder)), None)
    return named.name if above is None else f"{_own_name(above)}-{named.name}"


def _says_nothing(path: Path) -> bool:
    return path.name.partition(".")[0] in SAME_EVERYWHERE


def _own_name(path: Path) -> str:
    """Return a file's or folder's name, that of the model for a version of it, and the first digits of a hash."""
    repository = path.parent.parent.name
    if path.parent.name == VERSIONS and repository.startswith(REPOSITORY):
        return repository.rpartition("--")[2]
    return path.name[:HASH_DIGITS] if HASH.fullmatch(path.name) else path.name
