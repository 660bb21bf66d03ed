"""The commands by which jobs do what was planned: each stage of a run, and a task's preparation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.plan import BaselineRun, Run
from bench.typed import typed_command
from bench.work import Work
from tasks.task import Sources, Task


@dataclass(frozen=True)
class Commands:
    """What all jobs of a plan share: where things are, and how many threads they have."""

    runs: Path
    where: Sources
    threads: int
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

    def preparation(self, task: Task, pairs: int, folder: Path) -> Work:
        """What a task's runs share: data, teacher, references and this many pairs."""
        arguments = ["prepare", "--task", task.name, "--pairs", str(pairs), *self._shared()]
        told = f"prepare {task.name}" + (f", {pairs} pairs" if pairs else "")
        return Work(told, "prepare", tuple(arguments), folder.absolute(), tuple(typed_command()))

    def _of(self, run: Run | BaselineRun, stage: str, *more: str) -> Work:
        own = _run_arguments(run) if isinstance(run, Run) else _sampler_arguments(run)
        arguments = (*own, *more, "--run-id", run.id, "--runs", str(self.runs.absolute()), *self._shared())
        return Work(run.label, stage, arguments, run.folder.absolute(), tuple(typed_command()))

    def _shared(self) -> list[str]:
        arguments = ["--cache", str(self.where.cache.absolute()), "--threads", str(self.threads)]
        if self.where.data is not None:
            arguments += ["--data", str(self.where.data.absolute())]
        for plugin in self.plugins:
            arguments += ["--plugin", str(plugin.absolute())]
        return arguments


def _run_arguments(run: Run) -> list[str]:
    chosen = ["--method", run.method.name, "--task", run.task.name, "--protocol", run.task.protocol.name]
    arguments = ["run", "--worker", *chosen, "--seed", str(run.seed)]
    for key, value in run.passed.items():
        arguments += ["--set", f"{key}={json.dumps(value)}"]
    return arguments


def _sampler_arguments(run: BaselineRun) -> list[str]:
    chosen = ["--task", run.task.name, "--protocol", run.task.protocol.name, "--sampler", run.baseline.name]
    return ["eval", "--worker", *chosen]
