"""Putting a graph into the queue so that nothing is lost or done twice, wherever the submitting is cut short.

Each array is submitted on hold; only once the file that describes the submission has its number is it let go.
What a killed submission left on hold is nobody's: it is taken out of the queue, and submitted again.
"""

from __future__ import annotations

import datetime
import json
import secrets
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from submitit import AutoExecutor
from submitit.core.utils import FailedJobError
from submitit.slurm.slurm import SlurmExecutor

from bench.work import Work
from methods.resources import Resources
from slurm import queue
from slurm.graph import Batch
from slurm.profile import Profile
from tasks.errors import UserError
from tasks.files import write_text

FOLDER, FILE, JOBS = ".slurm", "submission.json", "jobs"
"""In the folder of the runs: all submissions; in each, its description, and what submitit writes."""


@dataclass(frozen=True)
class Submission:
    """A graph in the queue, as its file has it."""

    id: str
    folder: Path
    profile: str
    """Name of the profile, or path of its file."""
    graph: tuple[Batch, ...]
    jobs: Mapping[str, str]
    """By batch, the number of its job or array; a batch that is not here was never let go."""
    code: Path
    """The frozen code that its jobs run."""

    def job_name(self, batch: Batch) -> str:
        """Name of a batch's jobs in the queue."""
        return f"{queue.PREFIX}{self.id}-{batch.name}"

    def elements(self) -> Iterator[tuple[str, Work]]:
        """All jobs that were let go, by their ids in the queue."""
        for batch in self.graph:
            main = self.jobs.get(batch.name)
            if main is not None:
                many = len(batch.works) > 1
                yield from ((f"{main}_{k}" if many else main, work) for k, work in enumerate(batch.works))

    def write(self) -> None:
        """Write its file."""
        content = {**asdict(self), "folder": None}
        write_text(self.folder / FILE, json.dumps(content, indent=1, default=str) + "\n")


def new_submission(runs: Path, profile: str) -> Submission:
    """An empty submission with a folder of its own."""
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"{now}-{secrets.token_hex(2)}"
    return Submission(name, (runs / FOLDER / name).absolute(), profile, (), {}, Path())


def submissions(runs: Path) -> list[Submission]:
    """All submissions of a folder of runs, oldest first. Raises UserError if one is damaged."""
    return [read_submission(path) for path in sorted((runs / FOLDER).glob(f"*/{FILE}"))]


def read_submission(path: Path) -> Submission:
    """Read a submission's file. Raises UserError if it is damaged."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        graph = tuple(_batch(entry) for entry in data["graph"])
        return Submission(data["id"], path.parent, data["profile"], graph, data["jobs"], Path(data["code"]))
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


def submit(planned: Submission, profile: Profile) -> Submission:
    """Put a submission's batches into the queue, in their order; return it with the numbers of their jobs.

    Raises UserError with what Slurm says if it refuses one: what was let go before stays in the queue.
    """
    submission = planned
    submission.write()
    for batch in submission.graph:
        job = _on_hold(submission, batch, profile)
        submission = replace(submission, jobs={**submission.jobs, batch.name: job})
        submission.write()
        queue.release(job)
    return submission


def drop_orphans(found: Sequence[Submission], queued: Mapping[str, queue.QueuedJob]) -> list[str]:
    """Take out of the queue what killed submissions left on hold there; return the numbers of those jobs."""
    known = {
        submission.job_name(batch)
        for submission in found
        for batch in submission.graph
        if batch.name in submission.jobs
    }
    held = {job.id.partition("_")[0] for job in queued.values() if job.name not in known and "Held" in job.reason}
    queue.cancel(sorted(held))
    return sorted(held)


def sbatch_text(submission: Submission, batch: Batch, profile: Profile) -> str:
    """What would be given to sbatch."""
    executor = _executor(submission, batch, profile)._executor
    assert isinstance(executor, SlurmExecutor)
    if len(batch.works) > 1:
        executor.parameters["map_count"] = len(batch.works)
    return executor._make_submission_file_text(executor._submitit_command_str, "")


def _on_hold(submission: Submission, batch: Batch, profile: Profile) -> str:
    executor = _executor(submission, batch, profile)
    try:
        with executor.batch():
            jobs = [executor.submit(work) for work in batch.works]
    except FailedJobError as error:
        raise UserError(_refusal(str(error), batch, submission.profile)) from None
    return str(jobs[0].job_id).partition("_")[0]


def _executor(submission: Submission, batch: Batch, profile: Profile) -> AutoExecutor:
    asked, settings = batch.resources, profile.settings(batch.stage)
    executor = AutoExecutor(
        submission.folder / JOBS,
        cluster="slurm",
        slurm_python=_python(profile),
        slurm_max_num_timeout=profile.max_timeouts,
    )
    more: dict[str, Any] = {"hold": True, "requeue": True, "kill-on-invalid-dep": "yes"}
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


MENDS = {
    "partition": "sinfo lists the partitions; set partition in the profile",
    "account": "sacctmgr show associations user=$USER lists your accounts; set account in the profile",
    "qos": "sacctmgr show qos lists them; set qos in the profile",
    "constraint": "sinfo -o %f lists what nodes offer; set constraint in the profile",
    "configuration is not available": "no node has that much; sinfo -o '%P %c %m %G' lists what they have; lower "
    "gpus_per_node, cpus_per_node or memory_gb_per_node in the profile",
    "limit": "wait until jobs of yours have ended, lower max_jobs in the profile, or run with fewer seeds",
    "time": "set max_hours in the profile to what the partition allows (sinfo -o '%P %l')",
}


def _refusal(text: str, batch: Batch, profile: str) -> str:
    """What sbatch said, and what mends it."""
    lines = [line for line in text.splitlines() if "error:" in line] or text.splitlines()[:1] or ["no reason"]
    said = lines[-1].strip()
    mend = next((mend for word, mend in MENDS.items() if word in said.lower()), "bench slurm check says what fits")
    return f"Slurm refused {batch.name} ({len(batch.works)} jobs, profile {profile}): {said}; {mend}"
