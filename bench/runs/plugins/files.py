"""Plug-in files: Python files that define things of the registered kinds."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.core.errors import UserError, hint
from bench.core.escape import is_file_name, shell_path
from bench.core.files import file_sha256, regular_file
from bench.core.imports import PLUGIN_MODULE
from bench.metrics.info import MetricInfo
from bench.runs.plugins.checks import importing
from bench.runs.plugins.kinds import ROWS, Kind
from bench.runs.plugins.process_state import unchanged_process

FROM_FILE = "plug-in "
"""How the origin of what a plug-in file defines begins; the file's name follows."""


@dataclass(frozen=True)
class Defined:
    """One thing that a plug-in file defines, for the registry."""

    kind: Kind
    thing: Any
    origin: str
    sha256: str
    """Hash of the file."""


def definitions(path: Path) -> Iterator[Defined]:
    """Run one plug-in file and yield the values of its variables that are of a registered kind.

    Classes that the file only imports are left out. Objects that it imports are yielded too; the registry knows
    them. Raises UserError if the file fails, or if something that it defines is malformed.
    """
    sha256, module = _run(path)
    for thing in list(vars(module).values()):
        if inspect.isclass(thing) and thing.__module__ != module.__name__:
            continue
        for kind in ROWS:
            taken = kind.taken(thing, "", f"plug-in {path}")
            if taken is not None:
                if isinstance(taken, MetricInfo):  # it names its class, where all other things hold theirs
                    taken = replace(taken, implementation=_in_this_file(taken.implementation, module))
                yield Defined(kind, taken, f"{FROM_FILE}{path.name}", sha256)
                break


def _in_this_file(implementation: str, module: ModuleType) -> str:
    """Return the import path of a class of a plug-in file that stays its own when another file has its name."""
    name, _, attribute = implementation.partition(":")
    if name != module.__name__:
        return implementation
    own = f"{name}@{id(module):x}"
    sys.modules[own] = module
    return f"{own}:{attribute}"


def function_in(path: Path, name: str) -> tuple[Callable[..., Any], str]:
    """Run a file and return its function of this name, with the hash of the file. Raises UserError."""
    sha256, module = _run(path)
    found = getattr(module, name, None)
    if not callable(found):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise UserError(
            f"{path} has no function {name!r}; {hint(name, functions)}; "
            f"fix: --sampler {shell_path(f'{path}:FUNCTION')}"
        )
    return found, sha256


def _run(path: Path) -> tuple[str, ModuleType]:
    """Run a file as a module; return the hash of the file, and the module."""
    sha256 = file_sha256(existing(path))  # before the file runs, since it may change itself
    name = f"{PLUGIN_MODULE}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file; fix: name one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pickle and dataclasses find a class's module here
    who = f"plug-in {path}"
    with unchanged_process(who), importing(lambda error: f"{who}{_line_in(path, error)} failed"):
        spec.loader.exec_module(module)
    return sha256, module


def existing(path: Path) -> Path:
    """Return the path of a plug-in file.

    Raises UserError if no regular file is there, or if it has a name that could not be packed with results.
    """
    if not path.exists():
        raise UserError(f"there is no plug-in file {path}; fix: give the path of an existing file")
    if not is_file_name(path.name):
        new = path.with_name(re.sub(r"\W+", "_", path.stem).strip("_") + path.suffix)
        raise UserError(
            f"the plug-in file {path} has a name that other systems refuse, so that results could not be packed "
            f"with it; fix: mv {shell_path(path)} {shell_path(new)}"
        )
    return regular_file(path)


def _line_in(path: Path, error: BaseException) -> str:
    """Return the line of the file that raised the error as `:12`, or an empty text if it was another file."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f":{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f":{lines[-1]}" if lines else ""
