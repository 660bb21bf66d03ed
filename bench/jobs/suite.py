"""The later part of a suite: runs that start from other runs, and students that are only measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.jobs.spec import JobSettings, JobSpec
from bench.runs.dry_run import state_of
from bench.runs.pending_runs import StateLookup
from bench.runs.plan import Run
from bench.runs.suite_plan import SuitePlan
from bench.runs.suites import SuiteStudent


def remaining_lines(
    plan: SuitePlan, found: Sequence[tuple[SuiteStudent, Path]], lookup: StateLookup
) -> Iterator[str]:
    """Name the runs that come after others, and the evaluations of students that were not trained here."""
    later, waiting = plan.later()
    for run in later:
        yield f"{run.id:<48}{state_of(run, lookup)}"
    yield from map(str, waiting)
    for run, path in plan.elsewhere([*plan.first(), *later]):
        yield f"{run.id} measured on {plan.task.name}: {'finished' if path.exists() else 'new'}"
    for student, path in found:
        yield f"{path.name}, {student.steps} step(s): {'finished' if plan.is_measured(student, path) else 'new'}"
    for student in plan.scale.published:
        if student not in [one for one, _ in found]:
            yield f"{student.checkpoint}: left out; --published FOLDER measures it ({student.source})"


def published_jobs(
    plan: SuitePlan, found: Sequence[tuple[SuiteStudent, Path]], settings: JobSettings
) -> list[JobSpec]:
    """Describe the evaluations of published students that are not measured yet."""
    jobs = []
    for student, path in found:
        if not plan.is_measured(student, path):
            folder = plan.root / plan.task.name / f"published-{path.stem}-{student.steps}"
            jobs.append(settings.checkpoint(plan.task, path, student.steps, student.label, folder))
    return jobs


def elsewhere_jobs(plan: SuitePlan, runs: Sequence[Run], settings: JobSettings) -> list[JobSpec]:
    """Describe the evaluations by another task that finished runs have not had yet."""
    jobs = []
    for run, path in plan.elsewhere(runs):
        if not path.exists():
            label = f"{run.label}, measured on {plan.task.name}"
            jobs.append(settings.checkpoint(plan.task, run.folder, None, label, path.with_suffix("")))
    return jobs
