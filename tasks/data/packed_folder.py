"""Folders of packed data: a manifest beside memory-mapped arrays, checked when they are opened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.data.source import ItemSource
from tasks.errors import UserError
from tasks.files import file_sha256

MANIFEST = "manifest.json"

AnyManifest = TypeVar("AnyManifest", bound=BaseModel)


class SourceRecord(BaseModel):
    """What the items were packed from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str
    name: str
    """Of the file or folder, without where it was."""
    bytes: int | None
    """Size of the file; None for a folder."""
    index_sha256: str
    """Hash of the items' names (and sizes or checksums, where the source has them at hand)."""
    skipped: dict[str, int] = {}
    """How many files were no items, by kind; folders packed before this was counted do not say."""

    @classmethod
    def of(cls, source: ItemSource[Any]) -> Self:
        """Record an open source."""
        return cls(
            format=source.format,
            name=source.path.name,
            bytes=source.path.stat().st_size if source.path.is_file() else None,
            index_sha256=source.index_sha256,
            skipped=source.skipped,
        )


def read_manifest(folder: Path, kind: type[AnyManifest], what: str) -> AnyManifest:
    """Read the manifest of a folder of `what`. Raises UserError if it is missing or damaged."""
    path = folder / MANIFEST
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder} holds no {MANIFEST}: not a folder of {what}; {mend(folder)}") from None
    except (OSError, ValueError) as error:  # a ValidationError is a ValueError
        detail = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise UserError(f"{path} is damaged ({detail}); {mend(folder)}") from None


def open_array(path: Path, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """Map one .npy file read-only. Raises UserError if it is damaged, or its header says something else."""
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is missing, cut short or damaged ({error}); {mend(path.parent)}") from None
    if array.dtype != dtype or array.shape != shape:
        raise UserError(
            f"{path} is {array.shape} {array.dtype}, not {shape} {np.dtype(dtype)}; {mend(path.parent)}"
        )
    return array


def verify(folder: Path, sha256: Mapping[str, str]) -> None:
    """Hash files. Raises UserError if one is not what its manifest says."""
    for name, expected in sha256.items():
        found = file_sha256(folder / name)
        if found != expected:
            raise UserError(
                f"{folder / name} has changed: its SHA-256 is {found}, its manifest says {expected}; "
                f"{mend(folder)}"
            )


def mend(folder: Path) -> str:
    """What mends a damaged folder."""
    return f"fix: delete {folder} and prepare again"
