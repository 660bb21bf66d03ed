"""The state of each run, from its folder, its attempts, and the queue if there is one."""

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
from bench.runs.states.attempts import Attempt, read_attempts
from bench.runs.states.lock import is_locked

State = Literal["done", "running", "queued", "waiting", "stopped", "cancelled", "failed", "died", "new"]

UNDER_WAY: tuple[State, ...] = ("running", "queued", "waiting")
"""States of runs that continue without the user."""

CANCELLED = "cancelled by the user"
"""The reason of an attempt that `bench cancel` ended."""

DAMAGED = f"{RECORD} is damaged; fix: bench report, which shows the problem"


class SilentQueueError(UserError):
    """The queue does not answer, or this machine has no queue."""


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
    """The stage of its job; once there is progress, the title of the progress bar."""
    job: str = ""
    node: str = ""
    completed: int | None = None
    """Completed steps of its stage, which are iterations or images."""
    total: int | None = None
    images_per_second: float | None = None
    seconds_left: float | None = None
    """Remaining time of its stage."""
    fd: float | None = None
    """The result, or the latest validation."""
    requeues: int = 0
    reason: str = ""
    """The reason of its state."""
    fix: str = ""
    """The next command, if it does not follow from the state alone."""
    submitted: bool = False
    """Whether it was ever submitted to a queue; `bench resume` submits it again."""
    handles: frozenset[str] = frozenset()
    """Other names of the run: the numbers of its jobs and arrays, and its submissions."""
    problems: tuple[str, ...] = ()
    """Problems with its files, each with the file's name."""

    @property
    def run(self) -> str:
        """Its name."""
        return self.folder.name

    @property
    def task(self) -> str:
        """The task's name; for a job that runs share, its kind."""
        return self.folder.parent.name

    @property
    def under_way(self) -> bool:
        """Whether it continues without the user; a run that neither continues nor is done needs attention."""
        return self.state in UNDER_WAY

    @property
    def resumable(self) -> bool:
        """Whether it can be resumed; a diverged run cannot, since it would diverge again."""
        return not self.under_way and self.state != "done" and not self.reason.startswith(DivergedError.__name__)

    @property
    def is_preparation(self) -> bool:
        """Whether it is a preparation that runs share, which is hidden once it is done."""
        return self.stage == "prepare" and not (self.folder / PLAN).exists()


def run_state(folder: Path, queued: Sequence[InQueue] = (), said: str = "") -> RunState:
    """Return the state of a run. `queued` are its jobs in the queue; `said` is the queue's word on ended jobs.

    Without a queue, the state follows from the run's folder alone.
    """
    tried, problems = read_attempts(folder)
    last = next((one for one in reversed(tried) if one.end != "refused"), tried[-1] if tried else None)
    requeues = sum(one.restart > 0 for one in tried)
    found = RunState(folder, "new", reason=said, requeues=requeues, problems=tuple(problems))
    if last is not None:
        found = replace(found, stage=last.stage, job=last.job, node=last.node)
    ending = last is not None and last.reason == CANCELLED and any(job.state == "COMPLETING" for job in queued)
    if ending:
        queued = [job for job in queued if job.state != "COMPLETING"]
    record = read_object(folder / RECORD)
    if record is not None and (record.get("error") is None or not (queued or is_locked(folder))):
        return _recorded(found, record)
    if record is None and (folder / RECORD).exists():
        return replace(found, state="failed", reason=DAMAGED)
    if queued:
        return _in_queue(found, queued, last)
    if ending and last is not None:  # it may still write a checkpoint, and lock its folder
        return _stood(replace(found, state="cancelled", reason=CANCELLED), last)
    return _without_attempts(found, said) if last is None else _ended(found, last, said)


def _recorded(found: RunState, record: dict[str, Any]) -> RunState:
    try:
        if record.get("error") is not None:
            reason = f"{record['error']['type']}: {record['error']['message']}".partition("\n")[0]
            return replace(found, state="failed", reason=reason)
        values = {metric["name"]: metric["value"] for metric in record.get("metrics", ())}
        fd = values.get("fd", values.get("fd-teacher"))
    except (KeyError, TypeError):
        return replace(found, state="failed", reason=DAMAGED)
    if fd is not None and not is_finite(fd):
        return replace(found, state="failed", reason=DAMAGED)
    return replace(found, state="done", fd=fd)


def _in_queue(found: RunState, queued: Sequence[InQueue], last: Attempt | None) -> RunState:
    """Return the state of a queued run: of several jobs, a running one counts, then one without a dependency."""
    running = [job for job in queued if job.state in ("RUNNING", "COMPLETING")]
    job = (running or sorted(queued, key=lambda job: "Dependency" in job.reason))[0]
    found = replace(found, job=job.id, node=job.node)
    if running:
        return _progress(replace(found, state="running"), last)
    reason = "" if job.reason == "None" else job.reason  # the queue's word right after a job is released
    return replace(found, state="waiting" if "Dependency" in job.reason else "queued", reason=reason)


def _without_attempts(found: RunState, said: str) -> RunState:
    """Return the state of a run without attempts or jobs; a command of the user may be or have been at work."""
    if is_locked(found.folder):
        return _progress(replace(found, state="running"), None)
    if said.startswith("CANCELLED"):
        return replace(found, state="cancelled")
    if said:
        return replace(found, state="died")
    begun = (found.folder / PLAN).exists()
    return _stood(replace(found, state="stopped"), None) if begun else found


def _ended(found: RunState, last: Attempt, said: str) -> RunState:
    """Return the state of a run without a record and a job, from the end of its last attempt."""
    if last.end == "done" and last.stage != "train" and not (found.folder / PLAN).exists():
        # Preparations and evaluations of saved students leave no record here.
        return replace(found, state="done", reason="")
    if is_locked(found.folder):
        return _progress(replace(found, state="running", reason=""), last)
    if last.end in ("failed", "refused"):
        return _stood(replace(found, state="failed", reason=last.reason), last)
    if last.reason == CANCELLED or said.startswith("CANCELLED"):
        reason = last.reason if last.reason == CANCELLED else said
        return _stood(replace(found, state="cancelled", reason=reason), last)
    if last.end == "requeued" and said:
        return _stood(replace(found, state="died", reason=f"{said}, after {last.reason}"), last)
    if last.end is None:
        reason = said or "its job ended without a message: killed, out of memory, or its node failed"
        return _stood(replace(found, state="died", reason=reason), last)
    reason = last.reason
    if last.end == "done":
        reason = f"{last.stage} is done, and the next stage has no job"
        reason = reason if last.stage == "train" else f"its job ended, but there is no {RECORD}"
    return _stood(replace(found, state="stopped", reason=reason), last)


def _progress(found: RunState, last: Attempt | None) -> RunState:
    """Add the run's progress from its status file, unless that is missing or from an earlier attempt."""
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
    """Return the batch size of a run's recipe; 1 if its plan has none."""
    recipe = (read_object(folder / PLAN) or {}).get("recipe")
    size = recipe.get("batch_size") if isinstance(recipe, dict) else None
    return size if isinstance(size, int) and is_finite(size) else 1


def _stood(found: RunState, last: Attempt | None) -> RunState:
    """Add the progress that an ended run had made."""
    return replace(_progress(found, last), images_per_second=None, seconds_left=None)


def run_folders(runs: Path) -> Iterable[Path]:
    """Return the folders of all runs that were ever started."""
    for task in sorted(runs.iterdir()) if runs.is_dir() else ():
        if task.is_dir() and not task.name.startswith("."):
            yield from (one for one in sorted(task.iterdir()) if (one / PLAN).exists())
