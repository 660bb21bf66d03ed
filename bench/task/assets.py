"""The files and folders that numbers depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.files import file_sha256, folder_size
from bench.features.references.store import ReferenceStatistics


@dataclass(frozen=True)
class PreparedAsset:
    """A file or folder that numbers depend on, with its hash."""

    role: str
    path: Path | None
    sha256: str
    bytes: int
    altered: Mapping[str, int] = field(default_factory=dict)
    """Of packed images: their numbers by what was changed in them beyond the crop (bench.data.altered)."""


def file_asset(role: str, path: Path) -> PreparedAsset:
    """Return the asset that a file is, with its hash and size."""
    return PreparedAsset(role, path, file_sha256(path), path.stat().st_size)


def reference_asset(role: str, store: Path, reference: ReferenceStatistics) -> PreparedAsset:
    """Return the asset that a stored reference is, with its hash and size."""
    folder = store / reference.description.name
    about = reference.description
    return PreparedAsset(role, folder, about.sha256, folder_size(folder), about.altered)
