"""The commands by which jobs do what was planned: each stage of a run, and a task's preparation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.jobs.job import Work
from bench.runs.argv import typed_command
from bench.runs.plan import BaselineRun, Run
from bench.task.base import Sources, Task


@dataclass(frozen=True)
class Commands:
    """What all jobs of a plan share: where things are, and how many threads they have."""

    runs: Path
    where: Sources
    threads: int = 1
    plugins: Sequence[Path] = ()

    def whole(self, run: Run | BaselineRun) -> Work:
        """A run from its training to its record, or the evaluation of a sampler."""
        return self._of(run, "run")

    def training(self, run: Run) -> Work:
        """A run's training alone."""
        return self._of(run, "train", "--only-train")

    def evaluation(self, run: Run | BaselineRun) -> Work:
        """What is left of a run once its student is trained; all of a sampler's."""
        return self._of(run, "evaluate")

    def checkpoint(self, task: Task, path: Path, steps: int | None, label: str, folder: Path) -> Work:
        """The evaluation of a saved student; `folder` takes its log."""
        chosen = [] if steps is None else ["--steps", str(steps)]
        own = ["eval", "--worker", *_under(task), "--checkpoint", str(path.absolute()), *chosen]
        return self._work(label, "evaluate", [*own, *self._in_runs()], folder)

    def preparation(self, task: Task, pairs: int, folder: Path) -> Work:
        """What a task's runs share: data, teacher, references and this many pairs; `folder` takes its log."""
        label = f"prepare {task.name}" + (f", {pairs} pairs" if pairs else "")
        return self._work(label, "prepare", ["prepare", "--task", task.name, "--pairs", str(pairs)], folder)

    def _of(self, run: Run | BaselineRun, stage: str, *more: str) -> Work:
        own = _run_arguments(run) if isinstance(run, Run) else _sampler_arguments(run)
        return self._work(run.label, stage, [*own, *more, "--run-id", run.id, *self._in_runs()], run.folder)

    def _work(self, label: str, stage: str, own: Sequence[str], folder: Path) -> Work:
        arguments = [*own, "--cache", str(self.where.cache.absolute()), "--threads", str(self.threads)]
        if self.where.data is not None:
            arguments += ["--data", str(self.where.data.absolute())]
        if self.where.download:
            arguments.append("--download")
        for plugin in self.plugins:
            arguments += ["--plugin", str(plugin.absolute())]
        return Work(label, stage, tuple(arguments), folder.absolute(), tuple(typed_command()))

    def _in_runs(self) -> list[str]:
        return ["--runs", str(self.runs.absolute())]


def _run_arguments(run: Run) -> list[str]:
    chosen = ["--method", run.method.name, *_under(run.task), "--seed", str(run.seed)]
    values = [part for key, value in run.passed.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    return ["run", "--worker", *chosen, *values]


def _sampler_arguments(run: BaselineRun) -> list[str]:
    return ["eval", "--worker", *_under(run.task), "--sampler", run.baseline.name]


def _under(task: Task) -> list[str]:
    return ["--task", task.name, "--protocol", task.protocol.name]
