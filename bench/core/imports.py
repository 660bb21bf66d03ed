"""Importing what an entry point or a description names, and what is installed."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PLUGIN_MODULE = "bench_plugin_"
"""How the name of a plug-in file's module begins; the file's own name follows."""


def load_class(path: str) -> Any:
    """Import `module:name` and return the class or function of that name."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def installed_version(package: str) -> str | None:
    """Return the version of a distribution; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
