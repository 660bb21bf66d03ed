"""Import packages that only some tasks use, and name the extra that installs a missing one."""

from __future__ import annotations

import importlib
from typing import Any

from bench.core.errors import UserError


def optional_module(name: str, purpose: str, extra: str) -> Any:
    """Import a module of an extra. Raises UserError with the command that installs it if it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"{purpose} needs {name.partition('.')[0]}, which cannot be imported ({error}); "
            f"fix: pip install 'distillation-bench[{extra}]'"
        ) from error
