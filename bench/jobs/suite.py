"""A suite that is planned, run and shown: runs that start from other runs, and students that are only measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.jobs.executor import executed
from bench.jobs.request import PlannedRequest, say_not_sent
from bench.jobs.spec import JobSpec
from bench.runs.plan import BaselineRun, Run
from bench.runs.states.dry_run import require_all, require_networks, state_of
from bench.runs.states.pending import StateLookup
from bench.runs.suites.plan import SuitePlan
from bench.runs.suites.suite import SuiteStudent


@dataclass(frozen=True)
class PlannedSuite(PlannedRequest):
    """The runs of a suite that start from the teacher, what comes after them, and the executor that does it."""

    plan: SuitePlan
    published: Sequence[tuple[SuiteStudent, Path]]
    """The published students that are measured as well, each with its file or folder."""

    def later_lines(self, lookup: StateLookup) -> Iterator[str]:
        later, waiting = self.plan.later()
        for run in later:
            yield f"{run.id:<48}{state_of(run, lookup)}"
        yield from map(str, waiting)
        for run, path in self.plan.elsewhere([*self.runs, *later]):
            yield f"{run.id} measured on {self.task.name}: {'finished' if path.exists() else 'new'}"
        for student, path in self.published:
            state = "finished" if self.plan.is_measured(student, path) else "new"
            yield f"{path.name}, {student.steps} step(s): {state}"
        for student in self.plan.scale.published:
            if student not in [one for one, _ in self.published]:
                yield f"{student.checkpoint}: left out; --published FOLDER measures it ({student.source})"

    def execute(self) -> Sequence[Run | BaselineRun]:
        sources = self.settings.sources
        require_all([self.plan.trained_on, self.task], self.runs, self.baselines, sources)
        require_networks(self.networks, [*self.runs, *self.baselines])
        say_not_sent(self.runs, self.settings.track)
        wanted = [*executed(self.executor, self.runs, self.baselines)]
        self.executor.evaluate(self._published_jobs(), self.task)
        later, _ = self.plan.later()
        wanted += executed(self.executor, later, [])
        self.executor.evaluate(self._elsewhere_jobs(), self.task)
        return wanted

    def trained(self) -> list[Run]:
        """Return the runs from the teacher, and those whose start is finished by now."""
        return [*self.runs, *self.plan.later()[0]]

    def not_measured(self) -> list[str]:
        """Name the evaluations of saved students that have no result."""
        return [spec.label for spec in self._published_jobs() + self._elsewhere_jobs()]

    def _published_jobs(self) -> list[JobSpec]:
        """Describe the evaluations of published students that are not measured yet."""
        jobs = []
        for student, path in self.published:
            if not self.plan.is_measured(student, path):
                folder = self.plan.root / self.task.name / f"published-{path.stem}-{student.steps}"
                jobs.append(self.settings.checkpoint(self.task, path, student.steps, student.label, folder))
        return jobs

    def _elsewhere_jobs(self) -> list[JobSpec]:
        """Describe the evaluations by another task that finished runs have not had yet."""
        jobs = []
        for run, path in self.plan.elsewhere(self.trained()):
            if not path.exists():
                label = f"{run.label}, measured on {self.task.name}"
                jobs.append(self.settings.checkpoint(self.task, run.folder, None, label, path.with_suffix("")))
        return jobs
