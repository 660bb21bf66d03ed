"""Models by name: a local path, or a model in the hub's cache, which is filled only when the user asks for it."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import snapshot_download

from bench.core.errors import UserError, first_line
from bench.models.weights.state_dicts import require

HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def local_path(named: Path) -> Path | None:
    """Return the path that a user named, if it is a local folder or file, and none if it is a hub's model.

    Raises UserError if it is neither, with the nearest names.
    """
    path = named.expanduser()
    if path.exists():
        return path.resolve()
    if not HUB_NAME.fullmatch(str(named)) or path.parent.is_dir():
        require(path)
    return None


def named_folder(named: Path, download: bool, files: list[str]) -> Path:
    """Return the path that a user named: a local folder or file, or a hub's model ("owner/name") by `from_hub`.

    Raises UserError if it is neither, with the nearest names.
    """
    return local_path(named) or from_hub(str(named), download, files)


def from_hub(name: str, download: bool, files: list[str]) -> Path:
    """Return the folder of a hub's model in the cache; with `download`, download its `files` (patterns) first.

    Raises UserError that says how to get the model.
    """
    try:
        return Path(snapshot_download(name, local_files_only=not download, allow_patterns=files))
    except Exception as error:  # huggingface_hub, requests and httpx each raise their own
        if download:
            raise UserError(
                f"cannot download {name}: {first_line(error)}; fix: check the name and the connection, "
                "log in by hf auth login where its licence asks for that, or name a folder that has it"
            ) from None
        raise UserError(
            f"{name} is not in the hub's cache, and nothing is downloaded without --download; fix: run the same "
            "command with --download, or fill the cache ($HF_HOME) from a machine that has it"
        ) from None
