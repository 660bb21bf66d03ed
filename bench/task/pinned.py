"""Tasks that run on pinned assets: `bench prepare` writes them, by role, into one file of the cache."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Self

from bench.core.errors import UserError, unknown
from bench.core.escape import shell_path
from bench.core.files import write_text
from bench.core.locks import lock_of, locked
from bench.task.base import Task
from bench.task.declaration import Requirement
from bench.task.protocol import Protocol


@dataclass(frozen=True)
class PinnedAsset:
    """An asset that is pinned for a task: its path, its hash, and the name that tables show."""

    path: str
    sha256: str
    name: str
    rows: int = 0
    """Number of real images whose features a reference keeps individually."""


@dataclass(frozen=True)
class PinnedTask(Task):
    """A task with several protocols; the user names its teacher, data and networks to `bench prepare`."""

    protocols: Mapping[str, Protocol]
    """The task's protocols by name; `protocol` is the one in use."""
    has_teacher: bool = field(default=True, kw_only=True)
    """False: for images from outside alone, without a teacher and training data."""

    pinned_by_prepare: ClassVar[bool] = True

    def pinned_path(self, cache: Path) -> Path:
        """Return the file that lists the assets pinned for this task."""
        return cache / "chosen" / f"{self.name}.json"

    def for_images(self) -> Self:
        """Return the task without its teacher, unless the protocol compares with the teacher's images."""
        return self if self.protocol.teacher_reference else replace(self, has_teacher=False)

    def under(self, protocol: str) -> Self:
        if protocol not in self.protocols:
            raise unknown(f"protocol of task {self.name!r}:", protocol, self.protocols)
        return replace(self, protocol=self.protocols[protocol])


def requirement_of(
    role: str, what: str, asset: PinnedAsset | None, fix: str, for_training: bool = False
) -> Requirement:
    """Build a requirement of a role, with the path of its pinned asset if that exists."""
    here = Path(asset.path) if asset and Path(asset.path).exists() else None
    return Requirement(role, f"{what} ({asset.name})" if asset else what, here, fix, for_training)


def read_pinned(path: Path) -> dict[str, PinnedAsset]:
    """Read the file of `pin_assets`; empty if nothing is pinned. Raises UserError if it is damaged."""
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {role: PinnedAsset(**asset) for role, asset in found.items() if asset is not None}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged ({error}); fix: rm {shell_path(path)}, and name its files to bench prepare again"
        ) from None


def pin_assets(path: Path, assets: Mapping[str, PinnedAsset]) -> dict[str, PinnedAsset]:
    """Write assets with absolute paths beside those that are pinned in the file, and return all of them, by role.

    What another command pins at the same moment is kept, too. Raises UserError if the file is damaged.
    """
    with locked(lock_of(path)):
        pinned = read_pinned(path) | {
            role: replace(asset, path=str(Path(asset.path).absolute())) for role, asset in assets.items()
        }
        write_text(path, json.dumps({role: asdict(asset) for role, asset in pinned.items()}, indent=2) + "\n")
    return pinned
