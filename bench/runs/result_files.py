"""The files of `results`, which are part of the package: where they are, and how those in TOML are read."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import results
from bench.core.errors import UserError, unknown
from bench.core.files import read_text

RESULTS = Path(results.__file__).parent
"""Folder of the paper's tables, the suites and our records."""


def file_names(folder: str) -> list[str]:
    """Return the names of all TOML files in a folder of `results`, sorted."""
    return sorted(path.stem for path in (RESULTS / folder).glob("*.toml"))


def file_named(kind: str, folder: str, name: str) -> Path:
    """Return the path of a file of `results`. Raises UserError with the nearest names of this kind."""
    if name not in file_names(folder):
        raise unknown(kind, name, file_names(folder))
    return RESULTS / folder / f"{name}.toml"


def read_toml(kind: str, path: Path) -> dict[str, Any]:
    """Read a TOML file. Raises UserError that names it if it is no TOML."""
    try:
        return tomllib.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise unreadable(kind, path, error) from None


def unreadable(kind: str, path: Path, error: Exception) -> UserError:
    """Return the error for a file with this problem."""
    if isinstance(error, KeyError):
        problem = f"it has no {error}; fix: add it"
    elif isinstance(error, tomllib.TOMLDecodeError):
        problem = f"it is no TOML: {error}; fix: correct this place"
    else:
        problem = str(error) if "fix:" in str(error) else f"{error}; fix: correct it in the file"
    return UserError(f"{kind} {path.stem!r} cannot be read: {path}: {problem}")
