"""Importing what an entry point or a description names."""

from __future__ import annotations

import importlib
from typing import Any

PLUGIN_MODULE = "bench_plugin_"
"""How the name of a plug-in file's module begins; the file's own name follows."""


def load_class(path: str) -> Any:
    """Import `module:name` and return the class or function of that name."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
