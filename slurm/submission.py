"""Putting a graph into the queue so that nothing is lost or done twice, wherever the submitting is cut short.

All arrays are submitted on hold. If Slurm refuses one, they are taken back; else their numbers are written into
the file that describes the submission, and then they are let go, all at once. What a killed submission left on
hold is mended by the next one: jobs that no file has the numbers of are taken out, the others are let go.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import pwd
import re
import secrets
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from submitit import AutoExecutor
from submitit.core.utils import FailedJobError
from submitit.slurm.slurm import SlurmExecutor

from bench.states import run_state
from bench.work import Work
from methods.resources import Resources
from slurm import SUBMISSIONS, queue
from slurm.graph import Batch
from slurm.profile import Profile, anywhere
from tasks.errors import UserError
from tasks.files import write_text

FILE, JOBS = "submission.json", "jobs"
"""In the folder of a submission: its description, and what submitit writes."""


@dataclass(frozen=True)
class Submission:
    """A graph in the queue, as its file has it."""

    id: str
    folder: Path
    profile: str
    """Name of the profile, or path of its file."""
    graph: tuple[Batch, ...]
    jobs: Mapping[str, str]
    """By batch, the number of its job or array; of all batches, or of none yet."""
    code: Path
    """The frozen code that its jobs run."""
    let_go: bool = False
    """Whether its jobs are on hold no more."""

    def job_name(self, batch: Batch) -> str:
        """Name of a batch's jobs in the queue."""
        return f"{queue.PREFIX}{self.id}-{batch.name}"

    def elements(self) -> Iterator[tuple[str, Work]]:
        """Every job of the batches that have a number, by its id in the queue: of all batches, or of none yet."""
        for batch in self.graph:
            main = self.jobs.get(batch.name)
            if main is not None:
                many = len(batch.works) > 1
                yield from ((f"{main}_{k}" if many else main, work) for k, work in enumerate(batch.works))

    def write(self) -> None:
        """Write its file."""
        content = {**vars(self), "folder": None}
        write_text(self.folder / FILE, json.dumps(content, indent=1, default=_plain) + "\n")


def _plain(part: object) -> object:
    """A part of a submission as JSON has it; `asdict` copies it all, which takes longest."""
    return vars(part) if isinstance(part, Batch | Work | Resources) else str(part)


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
        data = json.loads(path.read_text(encoding="utf-8"))
        graph = tuple(_batch(entry) for entry in data["graph"])
        own = {key: data[key] for key in ("id", "profile", "jobs", "let_go")}
        return Submission(**own, folder=path.parent, graph=graph, code=Path(data["code"]))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error}); delete it: rm {path}") from None


def _batch(entry: dict[str, Any]) -> Batch:
    works = tuple(
        Work(
            **{**work, "folder": Path(work["folder"]), **{key: tuple(work[key]) for key in ("arguments", "typed")}}
        )
        for work in entry["works"]
    )
    return Batch(**{**entry, "works": works, "resources": Resources(**entry["resources"])})


@contextlib.contextmanager
def submitting(runs: Path) -> Iterator[None]:
    """While no other process submits from a folder of runs: what is found in the queue stays there.

    Raises UserError where another user has submitted work from it that has no result yet: the queue does not show
    their jobs, so that the work would be done twice.
    """
    _refuse_other_users(runs)
    (runs / SUBMISSIONS).mkdir(parents=True, exist_ok=True)
    with (runs / SUBMISSIONS / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _refuse_other_users(runs: Path) -> None:
    for path in sorted((runs / SUBMISSIONS).glob(f"*/{FILE}")):
        owner = path.stat().st_uid
        if owner == os.getuid():
            continue
        graph = read_submission(path).graph
        works = [work for batch in graph for work in batch.works if work.stage != "prepare"]
        if any(run_state(work.folder).state != "done" for work in works):
            raise UserError(
                f"user {_user(owner)} has submitted runs from {runs} that have no result yet ({path.parent}), and "
                "Slurm does not show their jobs to others; fix: name a folder of your own: --runs DIR"
            )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def submit(planned: Submission, profile: Profile) -> Submission:
    """Put a submission's batches into the queue, in their order; return it with the numbers of their jobs.

    Raises UserError with what Slurm says if it refuses one: then nothing of it is in the queue.
    """
    submission = planned
    submission.write()
    try:
        for batch in submission.graph:
            _require_fit(submission, batch, profile)
        for batch in submission.graph:
            job = _on_hold(submission, batch, profile)
            submission = replace(submission, jobs={**submission.jobs, batch.name: job})
    except BaseException:
        with contextlib.suppress(UserError):  # no answer: the next submission takes out what is left on hold
            _take_back(submission, queue.queued_jobs())
        raise
    submission.write()
    return _let_go(submission, list(submission.jobs.values()))


def _let_go(submission: Submission, jobs: Sequence[str]) -> Submission:
    queue.release(jobs)
    submission = replace(submission, let_go=True)
    submission.write()
    return submission


def _take_back(submission: Submission, queued: Mapping[str, queue.QueuedJob]) -> None:
    """Leave nothing of a submission. By its jobs' names: the number of one that sbatch was at may not be known."""
    queue.cancel(_numbers(submission, queued))
    shutil.rmtree(submission.folder)


def _numbers(submission: Submission, queued: Mapping[str, queue.QueuedJob]) -> list[str]:
    prefix = f"{queue.PREFIX}{submission.id}-"
    return sorted({job.id.partition("_")[0] for job in queued.values() if job.name.startswith(prefix)})


def mend(runs: Path) -> None:
    """Put right what killed submissions left on hold; to be called while `submitting`. Raises UserError."""
    held = {number: job for number, job in queue.queued_jobs().items() if "Held" in job.reason}
    for submission in submissions(runs) if held else ():
        if not submission.jobs:
            _take_back(submission, held)
        elif not submission.let_go:
            _let_go(submission, _numbers(submission, held))


def sbatch_text(submission: Submission, batch: Batch, profile: Profile, hold: bool = True) -> str:
    """What would be given to sbatch."""
    executor = _executor(submission, batch, profile, hold)._executor
    assert isinstance(executor, SlurmExecutor)
    if len(batch.works) > 1:
        executor.parameters["map_count"] = len(batch.works)
    return executor._make_submission_file_text(executor._submitit_command_str, "")


def _require_fit(submission: Submission, batch: Batch, profile: Profile) -> None:
    """Raise UserError if no node could ever take a batch's jobs: of jobs on hold, sbatch does not ask."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
        script.write(sbatch_text(submission, replace(batch, after=None), profile, hold=False))
        script.flush()
        try:
            queue.slurm("sbatch", "--test-only", script.name)
        except UserError as error:
            raise UserError(_refusal(f"error: {error}", batch, submission.profile)) from None


def _on_hold(submission: Submission, batch: Batch, profile: Profile) -> str:
    executor = _executor(submission, batch, profile, hold=True)
    try:
        with executor.batch():
            jobs = [executor.submit(work) for work in batch.works]
    except FailedJobError as error:
        raise UserError(_refusal(str(error), batch, submission.profile)) from None
    return str(jobs[0].job_id).partition("_")[0]


def _executor(submission: Submission, batch: Batch, profile: Profile, hold: bool) -> AutoExecutor:
    asked, settings = batch.resources, profile.settings(batch.stage)
    executor = AutoExecutor(
        submission.folder / JOBS,
        cluster="slurm",
        slurm_python=_python(profile),
        slurm_max_num_timeout=profile.max_timeouts,
    )
    more: dict[str, Any] = {"requeue": True, "kill-on-invalid-dep": "yes"}
    if hold:
        more["hold"] = True
    gpus: dict[str, Any] = {}
    if asked.gpus and profile.gpu_type:
        more["gpus-per-node"] = f"{profile.gpu_type}:{asked.gpus}"
    elif asked.gpus:
        gpus["gpus_per_node"] = asked.gpus
    if batch.after is not None:
        before = submission.jobs.get(batch.after, f"<{batch.after}>")
        one = len(batch.works) == 1
        more["dependency"] = f"{'aftercorr' if batch.each and not one else 'afterok'}:{before}"
    tasks = max(1, asked.gpus)
    executor.update_parameters(
        name=submission.job_name(batch),
        timeout_min=max(1, round(60 * asked.hours)),
        mem_gb=asked.memory_gb,
        nodes=asked.nodes,
        tasks_per_node=tasks,
        cpus_per_task=max(1, asked.cpus // tasks),
        stderr_to_stdout=True,
        slurm_partition=settings.partition,
        slurm_qos=settings.qos,
        slurm_constraint=settings.constraint,
        slurm_account=profile.account,
        slurm_array_parallelism=profile.max_jobs,
        slurm_signal_delay_s=profile.signal_seconds,
        slurm_setup=_setup(profile, submission.code),
        slurm_teardown=_teardown(profile, submission, batch),
        slurm_srun_args=["--kill-on-bad-exit=1"],
        slurm_additional_parameters=more,
        **gpus,
    )
    return executor


def _setup(profile: Profile, snapshot: Path) -> list[str]:
    """Shell lines of a job: the cluster's own, then the frozen code."""
    lines = [*profile.setup, f"export PYTHONPATH={shlex.quote(str(snapshot))}${{PYTHONPATH:+:$PYTHONPATH}}"]
    if profile.scratch is not None:
        lines.append(f'export TMPDIR="{profile.scratch}"')
    return [*lines, "export OMP_NUM_THREADS=1 PYTHONSAFEPATH=1"]


def _teardown(profile: Profile, submission: Submission, batch: Batch) -> list[str]:
    """Shell lines after the work: what died without a word is told of, and the exit code stays what it was."""
    told = f"{shlex.quote(str(submission.folder))} {batch.name}"
    return ["code=$?", f'[ "$code" = 0 ] || {_python(profile)} -m slurm.aftermath {told} "$code"', "exit $code"]


def _python(profile: Profile) -> str:
    return profile.python or shlex.quote(sys.executable)


FIXES = {
    "submit limit|MaxSubmit|JobLimit|temporarily unable": "wait until jobs of yours have ended, or run with fewer "
    "seeds or methods",
    "partition": "sinfo lists the partitions; set partition in the profile",
    "account": "sacctmgr show associations user=$USER lists your accounts; set account in the profile",
    "qos": "sacctmgr show qos lists them; set qos in the profile",
    "feature|constraint": "sinfo -o %f lists what nodes offer; set constraint in the profile",
    "configuration|node count|gres": "no node has that much; sinfo -o '%P %c %m %G' lists what they have; lower "
    "gpus_per_node, cpus_per_node or memory_gb_per_node in the profile",
    "time": "set max_hours in the profile to what the partition allows (sinfo -o '%P %l')",
}
"""What mends a refusal, by words in it; the first that fits."""


def _refusal(text: str, batch: Batch, profile: str) -> str:
    """What sbatch said, and what mends it."""
    lines = [line for line in text.splitlines() if "error:" in line] or text.splitlines()[:1] or ["no reason"]
    said = lines[-1].strip()
    fitting = (fix for words, fix in FIXES.items() if re.search(words, said, re.IGNORECASE))
    told = next(fitting, f"bench slurm check --profile {profile} says what fits")
    return f"Slurm refused {batch.name} (jobs: {len(batch.works)}, profile {profile}): {said}; {told}"
