"""An executor as a plug-in: one job after the other, each in a fresh Python of this machine.

bench run --plugin examples/one_by_one.py --executor one-by-one --method dmd2 --task digits
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench.core.errors import UserError
from bench.jobs.executor import Executor, ExecutorOptions
from bench.jobs.spec import JobSettings, JobSpec
from bench.runs.plan import BaselineRun, Run
from bench.task.base import Task


@dataclass(frozen=True)
class OneByOne(Executor):
    """Jobs without a queue and without neighbours."""

    settings: JobSettings

    name: ClassVar[str] = "one-by-one"
    summary: ClassVar[str] = "one job after the other, each in a Python of its own"

    @classmethod
    def create(cls, settings: JobSettings, options: ExecutorOptions) -> OneByOne:
        """Return the executor. Raises UserError for options, of which it has none."""
        if options != ExecutorOptions():
            raise UserError("--executor one-by-one takes no options; fix: leave them out")
        return cls(settings)

    def execute(self, planned: Sequence[Run], baselines: Sequence[BaselineRun]) -> list[Run | BaselineRun]:
        """Do the runs that have no record yet; return all."""
        every: list[Run | BaselineRun] = [*planned, *baselines]
        self._do([self.settings.run(one) for one in every if one.finished() is None])
        return every

    def evaluate(self, specs: Sequence[JobSpec], task: Task) -> None:  # noqa: ARG002 (the specs say it all)
        """Do evaluations of saved students."""
        self._do(specs)

    def _do(self, specs: Sequence[JobSpec]) -> None:
        for spec in specs:
            spec.write()
            subprocess.run([sys.executable, "-m", "bench.jobs.start", spec.folder, spec.stage], check=False)
