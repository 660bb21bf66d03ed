"""The attempts on a run: a job writes one line when it begins and another when it ends."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from bench.core.errors import UserError
from bench.core.files import append_line, read_text
from bench.core.numbers import is_finite
from bench.core.run_folder import ATTEMPTS

End = Literal["done", "failed", "requeued", "stopped", "refused"]
"""Refused: another process works on the run. It says nothing about the run, only about the job."""


@dataclass(frozen=True)
class Attempt:
    """One job's work on a run."""

    job: str
    """The number of the job in the queue; without a queue, the process."""
    restart: int
    """Number of earlier starts of this job by the queue."""
    node: str
    stage: str
    began: float
    """Seconds since 1970."""
    ended: float | None = None
    end: End | None = None
    """None: it is still running, or it died without a message."""
    reason: str = ""
    """The reason of its end."""


def begin(folder: Path, job: str, restart: int, node: str, stage: str) -> Attempt:
    """Write to a run's folder that a job begins."""
    attempt = Attempt(job, restart, node, stage, time.time())
    append_line(folder / ATTEMPTS, json.dumps(vars(attempt)))
    return attempt


def finish(folder: Path, attempt: Attempt, end: End, reason: str = "") -> None:
    """Write to a run's folder how a job ended."""
    append_line(folder / ATTEMPTS, json.dumps(vars(replace(attempt, ended=time.time(), end=end, reason=reason))))


def attempts(folder: Path) -> list[Attempt]:
    """Return all attempts on a run, in the order in which they began."""
    return read_attempts(folder)[0]


def read_attempts(folder: Path) -> tuple[list[Attempt], list[str]]:
    """Return all attempts on a run, in the order in which they began, and a line for each unreadable part.

    A last line that a kill cut short is not a problem, since the missing end shows that the job died.
    """
    path = folder / ATTEMPTS
    if not path.exists():
        return [], []
    try:
        lines = read_text(path).split("\n")
    except UserError as error:
        return [], [str(error)]
    found: dict[tuple[str, int, float], Attempt] = {}
    odd = []
    for number, line in enumerate(lines, start=1):
        attempt = _attempt(line)
        if attempt is not None:
            found[attempt.job, attempt.restart, attempt.began] = attempt
        elif line and number < len(lines):
            odd.append(number)
    several = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
    return list(found.values()), [f"{path}:{odd[0]}: not an attempt{several}; skipped"] if odd else []


def _attempt(line: str) -> Attempt | None:
    """Read a line; None if it is not an attempt."""
    try:
        found = Attempt(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    texts = (found.job, found.node, found.stage, found.reason)
    whole = all(isinstance(text, str) for text in texts) and isinstance(found.restart, int)
    times = is_finite(found.began) and (found.ended is None or is_finite(found.ended))
    return found if whole and times and found.end in (None, *get_args(End)) else None
