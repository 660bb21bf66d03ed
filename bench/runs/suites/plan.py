"""The runs of a suite at one scale: some start from the teacher, others from the students of those."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bench.core.errors import UserError, listed
from bench.core.escape import shell_path
from bench.runs.plan import BaselineRun, Run, published_name
from bench.runs.planning import plan_run
from bench.runs.records import load_records, other_protocol_path
from bench.runs.registry import Catalogue
from bench.runs.suites.reading import suite_file
from bench.runs.suites.suite import SuiteBaseline, SuiteRow, SuiteScale, SuiteStudent
from bench.task.base import Task
from bench.task.variations import names_sampler


@dataclass(frozen=True)
class Waiting:
    """A run without a name yet, because the student from which it starts is not trained yet."""

    row: SuiteRow
    seed: int
    first: Run

    def __str__(self) -> str:
        return f"{self.row.method}, seed {self.seed} ({self.row.label}): waits for {self.first.id}"


@dataclass(frozen=True)
class SuitePlan:
    """The runs and evaluations of `bench reproduce`."""

    catalogue: Catalogue
    scale: SuiteScale
    task: Task
    """The task whose protocol measures everything."""
    trained_on: Task
    overrides: Mapping[str, Any]
    """The user's overrides, for every row."""
    root: Path

    def baselines(self) -> list[BaselineRun]:
        """Return the samplers of the suite. Raises UserError if the task does not have all of them."""
        self._require_samplers()
        return [BaselineRun(self.task, self.root, self.task.baseline(one.sampler)) for one in self.scale.baselines]

    def _require_samplers(self) -> None:
        """Raise UserError that names the rows of samplers that the task does not have, and what can be run."""

        def lacking(task: Task) -> list[SuiteBaseline]:
            return [one for one in self.scale.baselines if not names_sampler(task.baselines, one.sampler)]

        missing, scale = lacking(self.task), self.scale
        if not missing:
            return
        rows = [f"{one.label} ({one.sampler})" if one.label else one.sampler for one in missing]
        tasks = self.catalogue.tasks
        others = [name for name, task in tasks.loaded().items() if not lacking(task)]
        plain = [row.method for row in scale.rows if not row.overrides and row.starts_from is None]
        seeds = ",".join(map(str, scale.seeds))
        alone = f"bench run --method {','.join(plain)} {self.task.called} --seed {seeds}, with the task's own; or "
        raise UserError(
            f"suite {scale.suite} has rows of samplers that task {self.task.name!r} does not have: "
            f"{listed(rows, 20)}; it has {listed(self.task.baselines, 20)}; tasks with all of the suite's: "
            f"{listed(others, 20)}; fix: {alone if plain else ''}bench reproduce a copy of "
            f"{shell_path(suite_file(scale.suite))} with other baselines"
        )

    def first(self) -> list[Run]:
        """Return the runs that start from the teacher, seed by seed. Raises UserError for a bad recipe."""
        rows = [row for row in self.scale.rows if row.starts_from is None]
        return [self._run(row, seed, {}) for seed in self.scale.seeds for row in rows]

    def later(self) -> tuple[list[Run], list[Waiting]]:
        """Return the runs that start from trained students, and those whose student is not trained yet."""
        runs, waiting = [], []
        first = {(run.method.name, run.seed): run for run in self.first()}
        for seed in self.scale.seeds:
            for row in (row for row in self.scale.rows if row.starts_from is not None):
                method, _, inside = (row.starts_from or "").partition("/")
                before = first[method, seed]
                record = before.finished()
                if record is None or record.error is not None:
                    self._run(row, seed, {})  # raises for a bad recipe now, not after hours of work
                    waiting.append(Waiting(row, seed, before))
                else:
                    runs.append(self._run(row, seed, {"init_from": str(before.folder / inside)}))
        return runs, waiting

    def elsewhere(self, runs: Iterable[Run]) -> list[tuple[Run, Path]]:
        """Return the finished runs that another task measures, each with the path of its record there."""
        if self.trained_on.name == self.task.name:
            return []
        protocol, found = self.task.protocol, []
        for run in runs:
            record = run.finished()
            if record is not None and record.error is None:
                found.append((run, other_protocol_path(run.folder, protocol.name, protocol.digest())))
        return found

    def published(self, folder: Path) -> list[tuple[SuiteStudent, Path]]:
        """Return the published students in a folder. Raises UserError if it is not a folder."""
        if not folder.is_dir():
            raise UserError(f"no folder {folder}; fix: give --published the folder with the published students")
        entries = sorted(folder.iterdir())
        return [
            (student, path)
            for student in self.scale.published
            for path in entries
            if fnmatchcase(published_name(path), student.checkpoint)
        ]

    def is_measured(self, student: SuiteStudent, path: Path) -> bool:
        """Whether a published student has a record under the task's protocol."""
        wanted = published_name(path), student.steps
        return any(
            (record.method.name, record.cost.network_evaluations) == wanted
            and record.protocol_sha256 == self.task.protocol.digest()
            for record in load_records([self.root / self.task.name]).records
        )

    def _run(self, row: SuiteRow, seed: int, starts: Mapping[str, Any]) -> Run:
        values = {**row.overrides, **self.overrides, **starts}
        return plan_run(self.catalogue, row.method, self.trained_on, values, seed, self.root)
