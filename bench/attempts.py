"""What was tried on a run and how it ended: a line when a job begins, another when it ends."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bench.run_folder import ATTEMPTS
from bench.training_log import append_line

End = Literal["done", "failed", "requeued", "stopped"]


@dataclass(frozen=True)
class Attempt:
    """One job's work on a run."""

    job: str
    """Of the queue; on this machine alone, the process."""
    restart: int
    """How often the queue had started this job before."""
    node: str
    stage: str
    began: float
    """Seconds since 1970."""
    ended: float | None = None
    end: End | None = None
    """None: still at work, or dead without a word."""
    told: str = ""
    """Why it ended so."""


def begin(folder: Path, job: str, restart: int, node: str, stage: str) -> Attempt:
    """Note in a run's folder that a job begins."""
    attempt = Attempt(job, restart, node, stage, time.time())
    folder.mkdir(parents=True, exist_ok=True)
    append_line(folder / ATTEMPTS, vars(attempt))
    return attempt


def finish(folder: Path, attempt: Attempt, end: End, told: str = "") -> None:
    """Note in a run's folder how a job ended."""
    append_line(folder / ATTEMPTS, vars(replace(attempt, ended=time.time(), end=end, told=told)))


def attempts(folder: Path) -> list[Attempt]:
    """All attempts on a run, in the order in which they began."""
    found: dict[tuple[str, int, float], Attempt] = {}
    path = folder / ATTEMPTS
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            attempt = Attempt(**json.loads(line))
        except (ValueError, TypeError):
            continue  # cut short by a kill: what it would have said is known from what is missing
        found[attempt.job, attempt.restart, attempt.began] = attempt
    return list(found.values())
