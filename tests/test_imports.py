"""Imports follow the design: plug-ins import the framework, and a room of it only the rooms above it.

Every import statement counts, wherever it stands: at the top, in a function, or under `TYPE_CHECKING`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLUGINS = ("methods", "tasks", "slurm")
"""Packages that ship with the framework, and use no door that a stranger's package does not have."""
ROOMS = (
    *("core", "models", "data", "features", "task", "metrics"),
    *("training", "evaluation", "runs", "jobs", "report", "cli"),
)
"""The rooms of `bench`, in their order: each imports only itself and those before it."""


def modules_of(package: str) -> dict[str, Path]:
    """Return the files of a package by their module names."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = {name: path for package in ("bench", *PLUGINS) for name, path in modules_of(package).items()}


def imports_of(path: Path) -> Iterator[str]:
    """Yield the modules of ours that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} has a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full in MODULES or node.module in MODULES:
                    yield full if full in MODULES else str(node.module)


IMPORTS = {name: sorted(set(imports_of(path)) - {name}) for name, path in MODULES.items()}


def top(module: str) -> str:
    """Return the top-level package of a module."""
    return module.partition(".")[0]


def room(module: str) -> str | None:
    """Return the room of `bench` that a module is in; None for `bench` itself and its `__main__`."""
    parts = module.split(".")
    return parts[1] if parts[0] == "bench" and len(parts) > 1 and parts[1] != "__main__" else None


def test_every_module_of_the_framework_is_in_a_room() -> None:
    rooms = {room(name) for name in MODULES if top(name) == "bench"} - {None}
    assert rooms == set(ROOMS)


def test_the_framework_never_imports_a_plugin() -> None:
    found = [f"{name} -> {one}" for name in IMPORTS if top(name) == "bench" for one in IMPORTS[name]]
    assert [line for line in found if not line.partition(" -> ")[2].startswith("bench")] == []


def test_plugins_import_only_themselves_and_the_framework() -> None:
    assert [
        f"{name} -> {one}"
        for name, imported in IMPORTS.items()
        for one in imported
        if top(name) in PLUGINS and top(one) not in (top(name), "bench")
    ] == []


def test_plugins_do_not_import_the_command_line() -> None:
    """What a command prints or parses is nobody's business but the command's."""
    assert [
        f"{name} -> {one}"
        for name, imported in IMPORTS.items()
        for one in imported
        if top(name) in ("methods", "tasks") and room(one) == "cli"
    ] == []


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_only_itself_and_the_rooms_above_it(name: str) -> None:
    allowed = set(ROOMS[: ROOMS.index(name) + 1]) | {None}
    assert [
        f"{module} -> {one}"
        for module, imported in IMPORTS.items()
        for one in imported
        if room(module) == name and room(one) not in allowed
    ] == []


def test_there_are_no_import_cycles() -> None:
    done: set[str] = set()
    for start in IMPORTS:
        _refuse_cycle(start, [], done)


def _refuse_cycle(module: str, way: list[str], done: set[str]) -> None:
    if module in done:
        return
    assert module not in way, " -> ".join([*way[way.index(module) :], module])
    for one in IMPORTS[module]:
        _refuse_cycle(one, [*way, module], done)
    done.add(module)
