"""Folders of packed data: a manifest beside memory-mapped arrays, checked when they are opened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from bench.core.errors import UserError, first_line, without_fix
from bench.core.escape import shell_path
from bench.core.files import file_sha256, regular_file
from bench.data.source import ItemSource, read_bytes

MANIFEST = "manifest.json"
MAX_MANIFEST = 1 << 26
"""Bytes of a manifest: ImageNet's has 30 KB."""

AnyManifest = TypeVar("AnyManifest", bound=BaseModel)


class SourceRecord(BaseModel):
    """The source that the items were packed from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str
    name: str
    """Name of the file or folder, without its path."""
    bytes: int | None
    """Size of the file; None for a folder."""
    index_sha256: str
    """Hash of the items' names, and of their sizes or checksums if the source lists them."""
    skipped: dict[str, int] = {}
    """Number of files that are not items, by kind; folders that were packed before this was counted have none."""

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
    if not path.exists():
        raise UserError(f"{folder} holds no {MANIFEST}, so it is not a folder of {what}; {fix_for(folder)}")
    try:
        return kind.model_validate_json(read_bytes(regular_file(path), MAX_MANIFEST))
    except ValueError as error:  # a ValidationError is a ValueError
        detail = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise UserError(f"{path} is damaged ({detail}); {fix_for(folder)}") from None


def open_array(path: Path, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """Map one .npy file read-only. Raises UserError if it is damaged or has another type or shape."""
    try:
        # Not np.load, which would open a zip as an .npz. A header that asks for more than the file has is refused.
        array: np.ndarray = np.lib.format.open_memmap(regular_file(path), mode="r")
    except UserError as error:
        raise UserError(f"{without_fix(error)}; {fix_for(path.parent)}") from None
    except Exception as error:  # numpy parses the header as Python: a hostile one can raise almost anything
        raise UserError(
            f"{path} is missing, cut short or damaged ({first_line(error)}); {fix_for(path.parent)}"
        ) from None
    if array.dtype != dtype or array.shape != shape:
        raise UserError(
            f"{path} is {array.shape} {array.dtype}, not {shape} {np.dtype(dtype)}; {fix_for(path.parent)}"
        )
    return array


def verify(folder: Path, sha256: Mapping[str, str]) -> None:
    """Hash the files of a folder. Raises UserError if one differs from its manifest."""
    for name, expected in sha256.items():
        found = file_sha256(regular_file(folder / name))
        if found != expected:
            raise UserError(
                f"{folder / name} has changed: its SHA-256 is {found}, its manifest says {expected}; "
                f"{fix_for(folder)}"
            )


def fix_for(folder: Path) -> str:
    """Return the fix for a damaged folder, for the end of a message."""
    return f"fix: rm -r {shell_path(folder)}, and prepare again"
