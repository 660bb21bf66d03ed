"""Putting a graph into the queue so that nothing is lost or done twice, wherever the process is killed.

All arrays are submitted on hold. If Slurm refuses one, they are taken back; else their numbers are written into
the file that describes the submission, and then all of them are released at once. The next submission cleans up
after one that was killed: jobs whose numbers are in no file are cancelled, the others are released. Where the
queue takes no more jobs of this user for now, those that have room are released, and the rest is kept for later.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import pwd
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from submitit.core.utils import FailedJobError, FailedSubmissionError

from bench.core.errors import UserError, without_fix
from bench.core.escape import shell_path
from bench.core.files import read_text, regular_file, write_text
from bench.core.locks import is_locked, locked
from bench.jobs.spec import JobSpec
from bench.runs.states.state import run_state
from slurm import SUBMISSIONS, queue
from slurm.environment import clean_environment
from slurm.graph import Batch, Unit, halves, units
from slurm.job import SlurmJob
from slurm.profile import Profile, anywhere
from slurm.refusal import is_full, refusal
from slurm.resources import Resources
from slurm.script import JOBS as JOBS
from slurm.script import LATER, Script, job_name

FILE, LOCK = "submission.json", ".lock"
"""Names of a submission's description, in its folder, and of the submission lock, in the parent folder."""

MOST_BYTES = 1 << 30
"""Largest description that is read: one run takes some kilobytes."""


@dataclass(frozen=True)
class Submission:
    """A graph in the queue, as its file has it."""

    id: str
    folder: Path
    profile: str
    """Name of the profile, or path of its file."""
    graph: tuple[Batch, ...]
    jobs: Mapping[str, str]
    """Number of the job or array of each batch. It has all batches, or none before the submission."""
    code: Path
    """The frozen code that its jobs run."""
    let_go: bool = False
    """Whether the hold on its jobs was released."""
    later: tuple[Batch, ...] = ()
    """Jobs that did not fit in the queue and are submitted when there is room."""
    full: int = 0
    """Number of our jobs in the queue when it refused more; 0 if unknown."""
    owner: int = field(default_factory=os.getuid)
    """User id of who submitted it: the owner of its file."""

    def job_name(self, batch: Batch) -> str:
        """Name of a batch's jobs in the queue."""
        return job_name(f"{queue.PREFIX}{self.id}-{batch.name}")

    def elements(self) -> Iterator[tuple[str, JobSpec]]:
        """Every job of the batches that have a number, by its id in the queue: of all batches, or of none yet."""
        for batch in self.graph:
            main = self.jobs.get(batch.name)
            if main is not None:
                many = len(batch.specs) > 1
                yield from ((f"{main}_{k}" if many else main, work) for k, work in enumerate(batch.specs))

    def write(self) -> None:
        """Write its file."""
        if self.later:
            mark(self.folder.parent.parent, waits=True)
        content = {**vars(self), "folder": None, "owner": None}
        write_text(self.folder / FILE, json.dumps(content, indent=1, default=_plain) + "\n")


def _plain(part: object) -> object:
    """A part of a submission as JSON has it; `asdict` copies it all, which takes longest."""
    if isinstance(part, JobSpec):
        return {key: value for key, value in vars(part).items() if key != "content"}  # it is in the job's folder
    return vars(part) if isinstance(part, Batch | Resources) else str(part)


def new_submission(runs: Path, profile: str) -> Submission:
    """An empty submission with a folder of its own."""
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S-%f")  # in the order of their names
    name = f"{now}{secrets.token_hex(2)}"
    return Submission(name, (runs / SUBMISSIONS / name).absolute(), anywhere(profile), (), {}, Path())


def submissions(runs: Path) -> list[Submission]:
    """All submissions of a folder of runs, oldest first. Raises UserError if one is damaged."""
    return [read_submission(path) for path in sorted((runs / SUBMISSIONS).glob(f"*/{FILE}"))]


def read_submission(path: Path) -> Submission:
    """Read a submission's file. Raises UserError if it is damaged."""
    try:
        data = json.loads(read_text(path, MOST_BYTES))
        graph = tuple(_batch(entry) for entry in data["graph"])
        later = tuple(_batch(entry) for entry in data.get("later", ()))
        own = {key: data[key] for key in ("id", "profile", "jobs", "let_go")}
        full = data.get("full", 0)
        texts = [own["id"], own["profile"], *own["jobs"].keys(), *own["jobs"].values()]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a name or a number of a job is no text")
        if not isinstance(own["let_go"], bool) or not isinstance(full, int):
            raise TypeError("let_go or full is of another type")
        if foreign := {batch.after for batch in graph} - {None, *(batch.name for batch in graph)}:
            raise KeyError(*foreign)
        code, owner = Path(data["code"]), path.stat().st_uid
        return Submission(**own, folder=path.parent, graph=graph, code=code, owner=owner, later=later, full=full)
    except UserError as error:
        problem = without_fix(error)
        if not os.access(path, os.R_OK):
            raise UserError(f"{problem}; fix: ask its owner to let you read it") from None
        raise _damaged(path, problem) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from None


def _damaged(path: Path, problem: str) -> UserError:
    return UserError(
        f"{path} is damaged ({problem}), and without it bench does not know the jobs of this submission; "
        f"fix: look for them in squeue --me, scancel what still runs, then rm {shell_path(path)}"
    )


def _batch(entry: dict[str, Any]) -> Batch:
    batch = Batch(
        **{**entry, "specs": tuple(map(_spec, entry["specs"])), "resources": Resources(**entry["resources"])}
    )
    if not batch.specs or not all(isinstance(text, str) for text in (batch.name, batch.stage, batch.after or "")):
        raise TypeError("a batch has no jobs, or its name is no text")
    return batch


def _spec(entry: dict[str, Any]) -> JobSpec:
    argv = tuple(entry["argv"])
    if not all(isinstance(text, str) for text in (*argv, entry["stage"], entry["label"])):
        raise TypeError("a part of a job is no text")
    return JobSpec(**{**entry, "folder": Path(entry["folder"]), "argv": argv})


@contextlib.contextmanager
def submitting(runs: Path) -> Iterator[None]:
    """While no other process submits from a folder of runs: what is found in the queue stays there.

    Raises UserError where this user may not write, or another one has submitted work that has no result yet: two
    users could do it twice.
    """
    _refuse_other_users(runs)
    lock = runs / SUBMISSIONS / LOCK
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        if lock.exists():
            regular_file(lock)
        lock.open("a").close()
    except OSError as error:
        raise UserError(f"{runs} is not yours to submit from ({error}); fix: --runs DIR") from None
    with locked(lock):
        yield


def is_marked(runs: Path) -> bool:
    """Return whether jobs may be waiting for room in the queue, without reading all submissions."""
    return (runs / SUBMISSIONS / LATER).exists()


def mark(runs: Path, waits: bool) -> None:
    """Note whether something waits for room in the queue."""
    path = runs / SUBMISSIONS / LATER
    if waits:
        path.touch()
    else:
        path.unlink(missing_ok=True)


def being_submitted(runs: Path) -> bool:
    """Return whether a process is submitting from a folder of runs; False if that cannot be read."""
    return is_locked(runs / SUBMISSIONS / LOCK)


def _refuse_other_users(runs: Path) -> None:
    for submission in submissions(runs):
        if submission.owner == os.getuid():
            continue
        specs = [work for batch in submission.graph for work in batch.specs if work.stage != "prepare"]
        if any(run_state(work.folder).state != "done" for work in specs):
            raise UserError(
                f"user {user_name(submission.owner)} has submitted runs from {runs} that have no result yet "
                f"({submission.folder}), and two users could do them twice; fix: name a folder of your own: "
                "--runs DIR"
            )


def user_name(number: int) -> str:
    """Name of a user by its number; the number itself where it has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def submit(planned: Submission, profile: Profile, room: int | None = None) -> Submission:
    """Put a submission's batches into the queue, in their order; return it with the numbers of their jobs.

    `room` is about how many jobs the queue may still take; None: not known. What finds no room is `later` in it.
    Raises UserError with what Slurm says if it refuses one for another reason, or takes none but preparations:
    then nothing of it is in the queue.
    """
    queue.require_commands("sbatch", "srun")  # submitit looks for srun where it submits arrays
    submission = planned
    submission.write()
    try:
        for batch in submission.graph:
            require_fit(submission, batch, profile)
        submission = _fill(planned, profile, room)
        if submission.later:
            submission = replace(submission, full=len(queue.queued_jobs()))
    except BaseException:
        with contextlib.suppress(UserError):  # no answer: the next submission takes out what is left on hold
            _take_back(submission, queue.queued_jobs())
        raise
    _describe_jobs((*submission.graph, *submission.later))
    submission.write()
    return _let_go(submission, list(submission.jobs.values()))


def _describe_jobs(graph: Sequence[Batch]) -> None:
    """Write into the folder of each job what it does; of a graph that was submitted before, all is there."""
    written: set[Path] = set()
    for spec in (spec for batch in graph for spec in batch.specs):
        if spec.content and spec.folder not in written:
            spec.write()
            written.add(spec.folder)


def _fill(planned: Submission, profile: Profile, room: int | None) -> Submission:
    """Submit a graph on hold, unit after unit, smaller ones where one finds no room, until the queue is full."""
    submission, waiting = replace(planned, graph=(), jobs={}), units(planned.graph)
    while waiting:
        unit = waiting.pop(0)
        jobs = sum(len(batch.specs) for batch in unit)
        if room is not None and jobs > 2 * max(room, 1) and (parts := halves(unit)):
            waiting[:0] = parts
            continue
        try:
            submission = _with(submission, unit, profile)
        except queue.QueueFullError:
            if parts := halves(unit):
                waiting[:0] = parts
            elif any(batch.stage != "prepare" for batch in submission.graph):
                return replace(submission, later=tuple(batch for one in (unit, *waiting) for batch in one))
            else:
                raise
    return submission


def _with(submission: Submission, unit: Unit, profile: Profile) -> Submission:
    """Add all batches of a unit on hold, or none."""
    added: dict[str, str] = {}
    try:
        for batch in unit:
            found = replace(submission, jobs={**submission.jobs, **added})
            added[batch.name] = _on_hold(found, batch, profile)
    except queue.QueueFullError:
        queue.cancel(list(added.values()))
        raise
    return replace(submission, graph=(*submission.graph, *unit), jobs={**submission.jobs, **added})


def _let_go(submission: Submission, jobs: Sequence[str]) -> Submission:
    queue.release(jobs)
    submission = replace(submission, let_go=True)
    submission.write()
    return submission


def _take_back(submission: Submission, queued: Mapping[str, queue.QueuedJob]) -> None:
    """Remove a submission and cancel its jobs, by name: sbatch may not have returned the last one's number."""
    queue.cancel(_numbers(submission, queued))
    shutil.rmtree(submission.folder)


def _numbers(submission: Submission, queued: Mapping[str, queue.QueuedJob]) -> list[str]:
    prefix = f"{queue.PREFIX}{submission.id}-"
    return sorted({job.id.partition("_")[0] for job in queued.values() if job.name.startswith(prefix)})


def repair(runs: Path) -> list[str]:
    """Put right what killed submissions left on hold; return a line for each. To be called while `submitting`.

    Raises UserError.
    """
    held = {number: job for number, job in queue.queued_jobs().items() if "Held" in job.reason}
    lines = []
    for submission in submissions(runs) if held else ():
        jobs = _numbers(submission, held)
        if submission.let_go or submission.owner != os.getuid():
            continue
        if submission.jobs:
            _let_go(submission, jobs)
            lines.append(f"a submission was killed before it let its jobs go, which go on now: {', '.join(jobs)}")
        else:
            _take_back(submission, held)
            lines.append(f"a submission was killed half-way; its jobs are taken out: {', '.join(jobs) or 'none'}")
    return lines


def sbatch_text(submission: Submission, batch: Batch, profile: Profile, hold: bool = True) -> str:
    """Return what would be given to sbatch. Raises UserError for a folder that a script can't name."""
    return _script(submission, batch, profile, hold).text()


def _script(submission: Submission, batch: Batch, profile: Profile, hold: bool) -> Script:
    before = None if batch.after is None else submission.jobs.get(batch.after, f"<{batch.after}>")
    name = submission.job_name(batch)
    return Script(batch, profile, name, submission.folder, submission.code, before, hold)


def require_fit(submission: Submission, batch: Batch, profile: Profile) -> None:
    """Raise UserError if no node could ever take a batch's jobs, which sbatch does not check for jobs on hold.

    The check uses the script that will be submitted, or that of one job if the queue has no room for all of them.
    Submitting then shows how many fit in the queue.
    """
    for specs in (batch.specs, batch.specs[:1]):
        asked = replace(batch, after=None, specs=specs)
        try:
            _test(submission, asked, profile)
        except queue.QueueFullError:
            continue
        return


def _test(submission: Submission, batch: Batch, profile: Profile) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
        script.write(sbatch_text(submission, batch, profile, hold=False))
        script.flush()
        try:
            queue.slurm("sbatch", "--test-only", script.name)
        except UserError as error:
            raise _refused(f"error: {error}", batch, submission) from None


def _on_hold(submission: Submission, batch: Batch, profile: Profile) -> str:
    executor = _script(submission, batch, profile, hold=True).executor()
    try:
        # What sbatch says is in the error; a full queue is no news for the terminal.
        with contextlib.redirect_stderr(io.StringIO()), clean_environment(), executor.batch():
            jobs = [executor.submit(SlurmJob(spec)) for spec in batch.specs]
    except (FailedJobError, FailedSubmissionError) as error:
        raise _refused(str(error), batch, submission) from None
    return str(jobs[0].job_id).partition("_")[0]


def _refused(said: str, batch: Batch, submission: Submission) -> UserError:
    kind = queue.QueueFullError if is_full(said) else UserError
    return kind(refusal(said, f"{batch.name} (jobs: {len(batch.specs)})", submission.profile))
