"""Where each run is: from its folder, its attempts, and the queue if there is one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from bench.core.errors import UserError
from bench.core.files import read_object
from bench.core.numbers import is_finite
from bench.core.run_folder import PLAN, RECORD, STATUS
from bench.core.status import TRAINING, read_status
from bench.core.stopping import DivergedError
from bench.runs.attempts import Attempt, read_attempts
from bench.runs.run_lock import is_locked

State = Literal["done", "running", "queued", "waiting", "stopped", "cancelled", "failed", "died", "new"]

UNDER_WAY: tuple[State, ...] = ("running", "queued", "waiting")
"""States of what goes on by itself."""

CANCELLED = "cancelled by the user"
"""What an attempt is told that `bench cancel` ends."""

DAMAGED = f"{RECORD} is damaged; bench report says what is wrong with it"


class SilentQueueError(UserError):
    """The queue gives no answer, or there is none on this machine."""


class InQueue(Protocol):
    """A job as its queue shows it."""

    @property
    def id(self) -> str:
        """Its number."""

    @property
    def state(self) -> str:
        """PENDING, RUNNING, and so on."""

    @property
    def reason(self) -> str:
        """Why it is pending."""

    @property
    def node(self) -> str:
        """Where it runs."""


@dataclass(frozen=True)
class RunState:
    """One run, as a line of `bench status`."""

    folder: Path
    state: State
    stage: str = ""
    """What its job is for, as Work has it; once that shows progress, the title of its bar."""
    job: str = ""
    node: str = ""
    completed: int | None = None
    """Of the steps of its stage: iterations, or images."""
    total: int | None = None
    images_per_second: float | None = None
    seconds_left: float | None = None
    """Of its stage."""
    fd: float | None = None
    """The result, or the latest look on the way."""
    requeues: int = 0
    told: str = ""
    """Why it stands where it stands."""
    fix: str = ""
    """The command that helps, where its state alone does not say which."""
    submitted: bool = False
    """Whether it was ever sent to a queue, from which `bench resume` goes on."""
    handles: frozenset[str] = frozenset()
    """What else it is called: the numbers of its jobs and arrays, and its submissions."""
    problems: tuple[str, ...] = ()
    """What of its files could not be read, each with the file's name."""

    @property
    def run(self) -> str:
        """Its name."""
        return self.folder.name

    @property
    def task(self) -> str:
        """The task's name; of what a task's runs share, what it is."""
        return self.folder.parent.name

    @property
    def under_way(self) -> bool:
        """Whether it goes on by itself; what does not, and is not done, wants somebody to look."""
        return self.state in UNDER_WAY

    @property
    def resumable(self) -> bool:
        """Whether it ended without a result; a divergence is one, since it would repeat."""
        return not self.under_way and self.state != "done" and not self.told.startswith(DivergedError.__name__)

    @property
    def is_preparation(self) -> bool:
        """Whether it is what runs share, and none itself: nobody asks for it once it is done."""
        return self.stage == "prepare" and not (self.folder / PLAN).exists()


def run_state(folder: Path, queued: Sequence[InQueue] = (), said: str = "") -> RunState:
    """Say where a run is. `queued` are its jobs in the queue; `said` is how the queue says that they ended.

    Works from the run's folder alone where there is no queue.
    """
    tried, problems = read_attempts(folder)
    last = tried[-1] if tried else None
    requeues = sum(one.restart > 0 for one in tried)
    found = RunState(folder, "new", told=said, requeues=requeues, problems=tuple(problems))
    if last is not None:
        found = replace(found, stage=last.stage, job=last.job, node=last.node)
    if last is not None and last.told == CANCELLED:
        queued = [job for job in queued if job.state != "COMPLETING"]  # on its way out
    record = read_object(folder / RECORD)
    if record is not None and (record.get("error") is None or not (queued or is_locked(folder))):
        return _recorded(found, record)
    if record is None and (folder / RECORD).exists():
        return replace(found, state="failed", told=DAMAGED)
    if queued:
        return _in_queue(found, queued, last)
    return _without_attempts(found, said) if last is None else _ended(found, last, said)


def _recorded(found: RunState, record: dict[str, Any]) -> RunState:
    try:
        if record.get("error") is not None:
            told = f"{record['error']['type']}: {record['error']['message']}".partition("\n")[0]
            return replace(found, state="failed", told=told)
        fd = next((metric["value"] for metric in record.get("metrics", ()) if metric["name"] == "fd"), None)
    except (KeyError, TypeError):
        return replace(found, state="failed", told=DAMAGED)
    if fd is not None and not is_finite(fd):
        return replace(found, state="failed", told=DAMAGED)
    return replace(found, state="done", fd=fd)


def _in_queue(found: RunState, queued: Sequence[InQueue], last: Attempt | None) -> RunState:
    """Of several jobs, one that runs; else the one that waits for no other."""
    running = [job for job in queued if job.state in ("RUNNING", "COMPLETING")]
    job = (running or sorted(queued, key=lambda job: "Dependency" in job.reason))[0]
    found = replace(found, job=job.id, node=job.node)
    if running:
        return _progress(replace(found, state="running"), last)
    told = "" if job.reason == "None" else job.reason  # so it is called right after a job is let go
    return replace(found, state="waiting" if "Dependency" in job.reason else "queued", told=told)


def _without_attempts(found: RunState, said: str) -> RunState:
    """A run that no job has begun, and none will; or one that the user's own command works on, or did."""
    if is_locked(found.folder):
        return _progress(replace(found, state="running"), None)
    if said.startswith("CANCELLED"):
        return replace(found, state="cancelled")
    if said:
        return replace(found, state="died")
    begun = (found.folder / PLAN).exists()
    return _stood(replace(found, state="stopped"), None) if begun else found


def _ended(found: RunState, last: Attempt, said: str) -> RunState:
    """A run that has no record and no job: how its last attempt ended."""
    if last.end == "done" and last.stage != "train" and not (found.folder / PLAN).exists():
        # A preparation, or a saved student's evaluation, which leave no record here.
        return replace(found, state="done", told="")
    if last.end == "failed":
        return _stood(replace(found, state="failed", told=last.told), last)
    if last.told == CANCELLED or said.startswith("CANCELLED"):
        told = last.told if last.told == CANCELLED else said
        return _stood(replace(found, state="cancelled", told=told), last)
    if last.end == "requeued" and said:
        return _stood(replace(found, state="died", told=f"{said}, after {last.told}"), last)
    if last.end is None and is_locked(found.folder):
        return _progress(replace(found, state="running", told=""), last)
    if last.end is None:
        told = said or "ended without a word: killed, out of memory, or its node failed"
        return _stood(replace(found, state="died", told=told), last)
    told = last.told
    if last.end == "done":
        told = f"{last.stage} is done, and what follows has no job"
        told = told if last.stage == "train" else f"its job ended, but there is no {RECORD}"
    return _stood(replace(found, state="stopped", told=told), last)


def _progress(found: RunState, last: Attempt | None) -> RunState:
    """Add what the run's status file says; right after the start there is none, or that of the attempt before."""
    status = read_status(found.folder)
    if status is None and (found.folder / STATUS).exists():
        odd = f"{found.folder / STATUS}: not a status file; skipped"
        return replace(found, problems=(*found.problems, odd))
    if status is None or (last is not None and status.time < last.began):
        return found
    rate, batch = status.rate, 1
    if status.stage == TRAINING:
        batch = _batch_size(found.folder)
    return replace(
        found,
        stage=status.stage,
        completed=status.completed,
        total=status.total,
        images_per_second=rate and rate * batch,
        seconds_left=rate and (status.total - status.completed) / rate,
        fd=status.figures.get("fd"),
    )


def _batch_size(folder: Path) -> int:
    """The batch size of a run's recipe; 1 if its plan says nothing of it."""
    recipe = (read_object(folder / PLAN) or {}).get("recipe")
    size = recipe.get("batch_size") if isinstance(recipe, dict) else None
    return size if isinstance(size, int) and is_finite(size) else 1


def _stood(found: RunState, last: Attempt | None) -> RunState:
    """Add how far work came that has ended."""
    return replace(_progress(found, last), images_per_second=None, seconds_left=None)


def run_folders(runs: Path) -> Iterable[Path]:
    """Folders of all runs that were ever begun."""
    for task in sorted(runs.iterdir()) if runs.is_dir() else ():
        if task.is_dir() and not task.name.startswith("."):
            yield from (one for one in sorted(task.iterdir()) if (one / PLAN).exists())
