"""Turn a plan into submitted jobs, except for runs that are finished, running or already in the queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench.core.errors import UserError, first_line
from bench.jobs.spec import JobSettings, JobSpec
from bench.runs.plan import BaselineRun, Run
from bench.task.base import Task
from slurm import SUBMISSIONS
from slurm.graph import Batch, build_graph, evaluations
from slurm.later import submit_later_here
from slurm.profile import Profile, load_profile
from slurm.queue import DEFAULT_ARRAY, largest_array
from slurm.snapshot import content_name, frozen_plugin, take_snapshot
from slurm.submission import Submission, new_submission, repair, submit, submitting
from slurm.watch import busy_folders

CODE = "code"
"""Name of the folder of code snapshots, inside the folder of the submissions."""


@dataclass(frozen=True)
class Launch:
    """The jobs to submit, and how to submit them."""

    submission: Submission
    profile: Profile
    settings: JobSettings
    not_asked: str = ""
    """Why the queue could not be asked, if so: then what it holds already is planned again."""


def plan_launch(
    planned: Sequence[Run | BaselineRun], settings: JobSettings, profile_name: str, dry: bool = False
) -> Launch:
    """Plan the jobs of all that is neither finished nor in the queue. Changes nothing.

    Raises UserError for a bad profile and, unless it is a `dry` run, where the queue can't be asked.
    """
    profile = load_profile(profile_name)
    busy, largest, not_asked = _asked(settings.runs, dry)
    todo = [one for one in planned if one.folder.resolve() not in busy and one.finished() is None]
    launch = _planned(settings, profile, profile_name, partial(build_graph, todo, largest=largest))
    return replace(launch, not_asked=not_asked)


def plan_evaluations(work: Sequence[JobSpec], task: Task, settings: JobSettings, profile_name: str) -> Launch:
    """Plan evaluations of saved students that are not in the queue. Changes nothing. Raises UserError."""
    profile = load_profile(profile_name)
    busy, largest, _ = _asked(settings.runs, dry=False)
    todo = [one for one in work if one.folder.resolve() not in busy]
    return _planned(settings, profile, profile_name, partial(evaluations, todo, task, largest=largest))


def _asked(runs: Path, dry: bool) -> tuple[set[Path], int, str]:
    """Ask the cluster which folders are under way, and how large an array may be.

    A dry run goes on without an answer: nothing under way, Slurm's default, and why there was no answer.
    """
    try:
        return busy_folders(runs), largest_array(), ""
    except UserError as error:
        if not dry:
            raise
        return set(), DEFAULT_ARRAY, first_line(error)


def _planned(
    settings: JobSettings,
    profile: Profile,
    profile_name: str,
    graph_of: Callable[[JobSettings, Profile, Path], list[Batch]],
) -> Launch:
    new = new_submission(settings.runs, profile_name)
    code = (settings.runs / SUBMISSIONS / CODE).resolve() / content_name(list(settings.plugins))
    frozen = replace(
        settings, plugins={frozen_plugin(code, path): sha256 for path, sha256 in settings.plugins.items()}
    )
    return Launch(replace(new, graph=tuple(graph_of(frozen, profile, new.folder)), code=code), profile, settings)


def launch(runs: Path, plan: Callable[[], Launch]) -> Submission:
    """Put what `plan` finds to do into the queue, with the code frozen as it is now.

    Before that it cleans up after submissions that were killed, and submits the jobs that wait for room. Raises
    UserError with the reason if Slurm refuses a job.
    """
    with submitting(runs):
        repair(runs)
        submit_later_here(runs)
        planned = plan()
        if not planned.submission.graph:
            return planned.submission
        take_snapshot(planned.submission.code, list(planned.settings.plugins))
        return submit(planned.submission, planned.profile)
