"""The batch script of a batch of jobs: what sbatch is given, and what the job's shell does around the work."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from submitit.slurm.slurm import SlurmExecutor

from bench.core.errors import UserError
from bench.core.escape import printable
from slurm.flags import Flags, merged
from slurm.graph import Batch
from slurm.profile import Profile

JOBS = "jobs"
"""Name of the folder of submitit's files, inside the folder of a submission."""
LATER = ".later"
"""Name of a file in the folder of all submissions that exists while jobs wait for room (slurm.later)."""


class ScriptExecutor(SlurmExecutor):
    """Submitit's executor, which also writes scripts where there is no Slurm: for a dry run."""

    @classmethod
    def affinity(cls) -> int:
        """Say that it can be made; where there is no Slurm, sbatch is missed when jobs are submitted."""
        return 2


@dataclass(frozen=True)
class Script:
    """The request to Slurm for a batch of jobs."""

    batch: Batch
    profile: Profile
    job_name: str
    folder: Path
    """Folder of the submission."""
    code: Path
    """The frozen code that the jobs run."""
    before: str | None = None
    """Number of the job or array that comes before."""
    hold: bool = True

    def text(self) -> str:
        """Return what sbatch is given. Raises UserError for paths that a script can't hold."""
        executor = self.executor()
        if len(self.batch.specs) > 1:
            executor.parameters["map_count"] = len(self.batch.specs)
        return executor._make_submission_file_text(executor._submitit_command_str, "")

    def executor(self) -> SlurmExecutor:
        """Return what submits the jobs. Raises UserError as `text`."""
        _require_plain(self.folder)
        asked, profile = self.batch.resources, self.profile
        executor = ScriptExecutor(
            self.folder / JOBS, max_num_timeout=profile.max_timeouts, python=python_of(profile)
        )
        flags = merged(self._flags(), profile.flags(self.batch.stage))
        executor.update_parameters(
            job_name=job_name(self.job_name),
            time=max(1, round(60 * asked.hours)),
            nodes=asked.nodes,
            ntasks_per_node=max(1, asked.gpus),
            stderr_to_stdout=True,
            wckey=None,  # submitit's own key, which clusters that check keys refuse
            array_parallelism=profile.max_jobs,
            setup=self._setup(),
            teardown=self._teardown(),
            srun_args=self._srun(flags),
            additional_parameters=flags,
        )
        return executor

    def _flags(self) -> Flags:
        """Return the default flags for Slurm, which the profile's own flags override."""
        asked, settings = self.batch.resources, self.profile.settings(self.batch.stage)
        flags: Flags = {
            "mem": _memory(asked.memory_gb),
            "cpus-per-task": str(max(1, asked.cpus // max(1, asked.gpus))),
            "requeue": True,
            "kill-on-invalid-dep": "yes",
            "signal": f"USR2@{self.profile.signal_seconds}",  # whatever SUBMITIT_PREEMPT_SIGNAL is here
        }
        places = ("partition", settings.partition), ("qos", settings.qos), ("constraint", settings.constraint)
        flags |= {name: value for name, value in (*places, ("account", self.profile.account)) if value is not None}
        if asked.gpus:
            kind = f"{self.profile.gpu_type}:" if self.profile.gpu_type else ""
            flags["gpus-per-node"] = f"{kind}{asked.gpus}"
        if self.before is not None:
            alone = len(self.batch.specs) == 1
            flags["dependency"] = f"{'aftercorr' if self.batch.each and not alone else 'afterok'}:{self.before}"
        if self.hold:
            flags["hold"] = True
        return flags

    def _srun(self, flags: Flags) -> list[str]:
        """Return the arguments of srun in the script, which takes no CPUs and no environment from sbatch.

        Since Slurm 22.05 srun gives each process one CPU unless it is given a number. Under `sbatch --export=NONE`
        it would not pass on what the setup lines export.
        """
        cpus = [f"--cpus-per-task={flags['cpus-per-task']}"] if "cpus-per-task" in flags else []
        return ["--kill-on-bad-exit=1", "--export=ALL", *cpus, *self.profile.srun]

    def _setup(self) -> list[str]:
        """Shell lines of a job: the cluster's own, then the frozen code."""
        code = shlex.quote(str(self.code))
        lines = [*self.profile.setup, f"export PYTHONPATH={code}${{PYTHONPATH:+:$PYTHONPATH}}"]
        if self.profile.scratch is not None:
            lines.append(f'export TMPDIR="{self.profile.scratch}"')
        return [*lines, "export OMP_NUM_THREADS=1 PYTHONSAFEPATH=1"]

    def _teardown(self) -> list[str]:
        """Return the shell lines after the work, which record silent deaths and submit waiting jobs.

        The exit code stays what it was.
        """
        command = f"{python_of(self.profile)} -m slurm.aftermath"
        reason = f"{shlex.quote(str(self.folder))} {shlex.quote(self.batch.name)}"
        well = f'[ "$code" = 0 ] && [ ! -e {shlex.quote(str(self.folder.parent / LATER))} ]'
        return ["code=$?", f'{{ {well}; }} || {command} {reason} "$code"', "exit $code"]


def python_of(profile: Profile) -> str:
    """Return how the shell of a job starts Python."""
    return profile.python or shlex.quote(sys.executable)


def job_name(text: str) -> str:
    """Return a name that Slurm's scripts, queues and accounts can hold: a plug-in names its tasks as it likes."""
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", text)


def _memory(gigabytes: float) -> str:
    """Return memory as sbatch reads it, in whole numbers."""
    return f"{gigabytes:g}GB" if gigabytes == int(gigabytes) else f"{int(1024 * gigabytes)}MB"


def _require_plain(folder: Path) -> None:
    """Raise UserError if sbatch would read the path of a log as another one: it replaces %j, and so on."""
    text = str(folder)
    if "%" in text or "\\" in text or printable(text) != text:
        raise UserError(
            f"the path {printable(text)!r} has a %, a backslash or a control character, which Slurm replaces in "
            "the names of logs; fix: choose another folder with --runs"
        )
