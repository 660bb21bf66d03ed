"""From what was planned to jobs in the queue: what is finished, running or waiting there is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.commands import Commands
from bench.plan import BaselineRun, Run
from slurm.graph import build_graph
from slurm.profile import Profile, load_profile
from slurm.queue import largest_array, queued_jobs
from slurm.snapshot import content_name, frozen_plugin, take_snapshot
from slurm.submission import FOLDER, Submission, drop_orphans, new_submission, submissions, submit
from slurm.watch import jobs_by_folder

CODE = "code"
"""In the folder of the submissions: the snapshots of our code."""


@dataclass(frozen=True)
class Launch:
    """What would be submitted, and how."""

    submission: Submission
    profile: Profile
    commands: Commands

    @property
    def gpu_hours(self) -> float:
        """At most, without requeues."""
        return sum(batch.gpu_hours for batch in self.submission.graph)


def plan_launch(planned: Sequence[Run | BaselineRun], commands: Commands, profile_name: str) -> Launch:
    """Plan the jobs of all that is neither finished nor in the queue. Changes nothing. Raises UserError."""
    profile = load_profile(profile_name)
    found, queued = submissions(commands.runs), queued_jobs()
    busy = {folder for folder, jobs in jobs_by_folder(found, queued).items() if jobs}
    new = new_submission(commands.runs, profile_name)
    todo = [one for one in planned if one.folder.absolute() not in busy]
    code = (commands.runs / FOLDER / CODE).absolute() / content_name(commands.plugins)
    frozen = replace(commands, plugins=[frozen_plugin(code, plugin) for plugin in commands.plugins])
    graph = build_graph(todo, frozen, profile, new.folder, largest_array())
    return Launch(replace(new, graph=tuple(graph), code=code), profile, commands)


def launch(planned: Launch) -> Submission:
    """Freeze the code and put the jobs into the queue. Raises UserError with what Slurm refuses."""
    drop_orphans(submissions(planned.commands.runs), queued_jobs())
    take_snapshot(planned.submission.code, planned.commands.plugins)
    return submit(planned.submission, planned.profile)
