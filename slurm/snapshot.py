"""A frozen copy of the code, which queued jobs run whatever becomes of the checkout."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import bench
from bench.core.commit import COMMIT_FILE, commit
from bench.core.files import whole_folder
from bench.core.made import made_once

PACKAGES = ("bench", "methods", "tasks", "results", "slurm")
PLUGINS = "plugins"
DISTRIBUTION = "distillation-bench"


def content_name(plugins: Sequence[Path]) -> str:
    """Name of the code as it is now: of our packages, of what is registered, of the plug-in files."""
    content = hashlib.sha256()
    for name, path in sorted(_files(plugins)):
        content.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()[:12]


def take_snapshot(target: Path, plugins: Sequence[Path]) -> None:
    """Copy the code into the folder `target`, if it is not there yet.

    With that folder first in PYTHONPATH, jobs run the copy, and find in it what is registered now.
    """
    with made_once(target) as missing:
        if missing:
            with whole_folder(target) as temporary:
                for name, path in _files(plugins):
                    (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, temporary / name)
                (temporary / COMMIT_FILE).write_text(json.dumps(commit()), encoding="utf-8")


def frozen_plugin(snapshot: Path, plugin: Path) -> Path:
    """Return the path of a plug-in file in a snapshot."""
    return snapshot / _plugin_name(plugin)


def _plugin_name(plugin: Path) -> str:
    return f"{PLUGINS}/{hashlib.sha256(plugin.read_bytes()).hexdigest()[:12]}/{plugin.name}"


def _files(plugins: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """All files of a snapshot, by their names in it."""
    root = Path(bench.__file__).parent.parent
    for package in PACKAGES:
        for path in (root / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield str(path.relative_to(root)), path
    for file in importlib.metadata.files(DISTRIBUTION) or ():
        path = Path(str(file.locate()))
        if path.parent.suffix == ".dist-info" and path.is_file():
            yield f"{path.parent.name}/{path.name}", path
    for plugin in plugins:
        yield _plugin_name(plugin), plugin
