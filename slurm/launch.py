"""From what was planned to jobs in the queue: what is finished, running or waiting there is left alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench.commands import Commands
from bench.plan import BaselineRun, Run
from bench.work import Work
from slurm.graph import Batch, build_graph, evaluations
from slurm.profile import Profile, load_profile
from slurm.queue import largest_array, queued_jobs
from slurm.snapshot import content_name, frozen_plugin, take_snapshot
from slurm.submission import FOLDER, Submission, drop_orphans, new_submission, submissions, submit
from slurm.watch import jobs_by_folder
from tasks.task import Task

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
    found = submissions(commands.runs)
    busy = {folder for folder, jobs in jobs_by_folder(found, queued_jobs()).items() if jobs}
    todo, largest = [one for one in planned if one.folder.absolute() not in busy], largest_array()
    return _planned(commands, profile_name, partial(build_graph, todo, largest=largest))


def plan_evaluations(work: Sequence[Work], task: Task, commands: Commands, profile_name: str) -> Launch:
    """Plan evaluations of saved students. Changes nothing. Raises UserError."""
    return _planned(commands, profile_name, partial(evaluations, work, task))


def _planned(
    commands: Commands, profile_name: str, graph_of: Callable[[Commands, Profile, Path], list[Batch]]
) -> Launch:
    profile = load_profile(profile_name)
    new = new_submission(commands.runs, profile_name)
    code = (commands.runs / FOLDER / CODE).absolute() / content_name(commands.plugins)
    frozen = replace(commands, plugins=[frozen_plugin(code, plugin) for plugin in commands.plugins])
    return Launch(replace(new, graph=tuple(graph_of(frozen, profile, new.folder)), code=code), profile, commands)


def launch(planned: Launch) -> Submission:
    """Freeze the code and put the jobs into the queue. Raises UserError with what Slurm refuses."""
    drop_orphans(submissions(planned.commands.runs), queued_jobs())
    take_snapshot(planned.submission.code, planned.commands.plugins)
    return submit(planned.submission, planned.profile)
