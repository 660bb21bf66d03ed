"""Importing what an entry point or a description names."""

from __future__ import annotations

import importlib
from typing import Any


def load_class(path: str) -> Any:
    """Import `module:Class` and return the class."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
