"""From what was planned to jobs in the queue: what is finished, running or waiting there is left alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench.commands import Commands
from bench.plan import BaselineRun, Run
from bench.work import Work
from slurm import SUBMISSIONS
from slurm.graph import Batch, build_graph, evaluations
from slurm.profile import Profile, load_profile
from slurm.queue import largest_array
from slurm.snapshot import content_name, frozen_plugin, take_snapshot
from slurm.submission import Submission, mend, new_submission, submit, submitting
from slurm.watch import busy_folders
from tasks.task import Task

CODE = "code"
"""In the folder of the submissions: the snapshots of our code."""


@dataclass(frozen=True)
class Launch:
    """What would be submitted, and how."""

    submission: Submission
    profile: Profile
    commands: Commands
    runs: Sequence[Run | BaselineRun] = ()
    """Whose folders get their plans, so that others can tell what waits."""


def plan_launch(planned: Sequence[Run | BaselineRun], commands: Commands, profile_name: str) -> Launch:
    """Plan the jobs of all that is neither finished nor in the queue. Changes nothing. Raises UserError."""
    busy = busy_folders(commands.runs)
    todo = [one for one in planned if one.folder.resolve() not in busy and one.finished() is None]
    largest = largest_array()
    launch = _planned(commands, profile_name, partial(build_graph, todo, largest=largest))
    return replace(launch, runs=todo)


def plan_evaluations(work: Sequence[Work], task: Task, commands: Commands, profile_name: str) -> Launch:
    """Plan evaluations of saved students that are not in the queue. Changes nothing. Raises UserError."""
    busy = busy_folders(commands.runs)
    todo, largest = [one for one in work if one.folder.resolve() not in busy], largest_array()
    return _planned(commands, profile_name, partial(evaluations, todo, task, largest=largest))


def _planned(
    commands: Commands, profile_name: str, graph_of: Callable[[Commands, Profile, Path], list[Batch]]
) -> Launch:
    profile = load_profile(profile_name)
    new = new_submission(commands.runs, profile_name)
    code = (commands.runs / SUBMISSIONS / CODE).resolve() / content_name(commands.plugins)
    frozen = replace(commands, plugins=[frozen_plugin(code, plugin) for plugin in commands.plugins])
    return Launch(replace(new, graph=tuple(graph_of(frozen, profile, new.folder)), code=code), profile, commands)


def launch(runs: Path, plan: Callable[[], Launch]) -> Submission:
    """Put what `plan` finds to do into the queue, with the code frozen as it is now.

    What killed submissions left there is mended first. Raises UserError with what Slurm refuses.
    """
    with submitting(runs):
        mend(runs)
        planned = plan()
        if not planned.submission.graph:
            return planned.submission
        take_snapshot(planned.submission.code, planned.commands.plugins)
        submission = submit(planned.submission, planned.profile)
        for run in planned.runs:
            run.begin()
        return submission
