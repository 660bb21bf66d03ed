"""What a task runs on, where `bench prepare` chooses it once: assets by role, in one file of the cache."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.errors import UserError
from tasks.files import write_text


@dataclass(frozen=True)
class ChosenAsset:
    """One thing that was chosen for a task: where it is, its hash, and the name that tables show."""

    path: str
    sha256: str
    name: str
    rows: int = 0
    """Of a reference: real images whose features are kept, one by one."""


def choice_path(cache: Path, task: str) -> Path:
    """File that says what a task runs on."""
    return cache / "chosen" / f"{task}.json"


def read_choice(path: Path) -> dict[str, ChosenAsset]:
    """Read the file that `write_choice` made, or nothing chosen. Raises UserError if it is damaged."""
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {role: ChosenAsset(**asset) for role, asset in found.items() if asset is not None}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and run bench prepare again") from None


def write_choice(path: Path, assets: Mapping[str, ChosenAsset | None]) -> None:
    """Write the choice, with paths that hold from every folder; the file appears whole."""
    found = {
        role: None if asset is None else {**asdict(asset), "path": str(Path(asset.path).absolute())}
        for role, asset in assets.items()
    }
    write_text(path, json.dumps(found, indent=2) + "\n")
