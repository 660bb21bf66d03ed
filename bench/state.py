"""What the folders of runs tell of work that has no result: it runs, was interrupted, or stopped with an error."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

DESCRIPTION, STATUS, LOG, LOCK = "run.json", "status.json", "log.txt", ".lock"


@dataclass(frozen=True)
class Unfinished:
    """A run or an evaluation without a result."""

    folder: Path
    kind: Literal["method", "baseline"]
    method: str
    """Of the method, or of the sampler."""
    task: str
    protocol: str
    """Name of the protocol."""
    recipe: dict[str, Any]
    seed: int | None
    state: Literal["running", "interrupted", "stopped"]
    """stopped: by an error that left no record."""
    where: str
    """How far it came, or what the error was; empty if nobody knows."""

    def __str__(self) -> str:
        between = ": " if self.state == "stopped" else " at "
        return f"{self.state}{between}{self.where}" if self.where else self.state


def unfinished(root: Path, task: str) -> list[Unfinished]:
    """Return what was begun on a task and has no record, or is being made again, by name of its folder."""
    folders = sorted(path.parent for path in (root / task).glob(f"*/{DESCRIPTION}"))
    return [work for folder in folders if (work := read_unfinished(folder)) is not None]


def read_unfinished(folder: Path) -> Unfinished | None:
    """What a run's folder tells of work without a result; None if there is a record, or nothing was begun."""
    running = is_held(folder)
    about = _read(folder / DESCRIPTION)
    over = (folder / "record.json").exists() and not running
    if over or not about.keys() >= {"name", "task", "protocol", "seed"}:
        return None
    state, where = _state(folder, running)
    return Unfinished(
        folder,
        about.get("kind", "baseline" if about["seed"] is None else "method"),
        about["name"],
        about["task"],
        about["protocol"].get("name", ""),
        about.get("recipe", {}),
        about["seed"],
        state,
        where,
    )


def is_held(folder: Path) -> bool:
    """Whether a process works on a run's folder, as far as this machine knows of its lock."""
    try:
        with (folder / LOCK).open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _state(folder: Path, running: bool) -> tuple[Literal["running", "interrupted", "stopped"], str]:
    status = _read(folder / STATUS)
    where = ""
    if status.keys() >= {"stage", "completed", "total"}:
        where = f"{status['stage']} {status['completed']}/{status['total']}"
    if running:
        return "running", where
    error = last_error(folder / LOG)
    return ("stopped", error) if error else ("interrupted", where)


def last_error(log: Path) -> str:
    """The error on the last lines of a log; empty if it does not end with one."""
    return next((line.removeprefix("error: ") for line in _last_lines(log) if line.startswith("error: ")), "")


def _last_lines(log: Path, count: int = 3) -> Iterator[str]:
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    yield from reversed([line for line in text.splitlines() if line.strip()][-count:])


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; empty if there is none, or somebody is writing it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
