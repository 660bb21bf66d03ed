"""The description of a job: what it does is written into its folder, where the job reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.core.files import file_sha256, write_text
from bench.core.run_folder import CONFIG, JOB_SPEC, PLAN
from bench.runs.argv import user_argv
from bench.runs.plan import BaselineRun, Run
from bench.task.base import Task
from bench.task.declaration import Sources
from bench.training.cadence import VALIDATIONS

JobStage = Literal["prepare", "run", "train", "evaluate"]
"""A stage of a job: `run` is a training and its evaluation."""


@dataclass(frozen=True)
class JobSpec:
    """One job: a stage of the work that a file in its folder describes."""

    label: str
    """Name for people."""
    stage: JobStage
    folder: Path
    """Absolute, since jobs may start elsewhere."""
    argv: tuple[str, ...] = ()
    """The command line that the user typed."""
    content: Mapping[str, Any] = field(default_factory=dict)
    """The description to write before the job starts; empty in a spec that was read back."""

    def write(self) -> None:
        """Write what the job reads: `run.json` in the folder of a run, `job.json` in another."""
        name = PLAN if "run_id" in self.content else JOB_SPEC
        write_text(self.folder / name, json.dumps(self.content, indent=2) + "\n")
        if self.content.get("kind") == "method":
            write_text(self.folder / CONFIG, run_config(self.content))


@dataclass(frozen=True)
class JobSettings:
    """Settings that all jobs of a plan share, and that change no result: the locations of files, the threads."""

    runs: Path
    sources: Sources
    threads: int = 1
    plugins: Mapping[Path, str] = field(default_factory=dict)
    """Plug-in files, each with its hash."""
    track: Sequence[str] = ()
    """Trackers that runs send their logs to."""
    keep: Sequence[str] = ()
    """What evaluations keep: images, features."""
    validations: int = VALIDATIONS
    """How often FD is measured during a training; 0: never."""

    def run(self, run: Run | BaselineRun, stage: JobStage = "run") -> JobSpec:
        """Describe a stage of a run, or the evaluation of a baseline."""
        return self._spec(run.label, stage, run.folder, run.description())

    def checkpoint(self, task: Task, path: Path, steps: int | None, label: str, folder: Path) -> JobSpec:
        """Describe the evaluation of a saved student; `folder` takes its log."""
        content = {"checkpoint": str(path.absolute()), "steps": steps}
        return self._spec(label, "evaluate", folder, {**_task(task), **content})

    def preparation(self, task: Task, pairs: int, folder: Path) -> JobSpec:
        """Describe the preparation that a task's runs share, with this many pairs; `folder` takes its log."""
        label = f"prepare {task.name}" + (f", {pairs} pairs" if pairs else "")
        return self._spec(label, "prepare", folder, {**_task(task), "pairs": pairs})

    def _spec(self, label: str, stage: JobStage, folder: Path, content: Mapping[str, Any]) -> JobSpec:
        data = self.sources.data
        argv = user_argv()
        settings = {
            "runs": str(self.runs.absolute()),
            "cache": str(self.sources.cache.absolute()),
            "data": None if data is None else str(data.absolute()),
            "download": self.sources.download,
            "threads": self.threads,
            "plugins": {str(path.absolute()): sha256 for path, sha256 in self.plugins.items()},
            "track": list(self.track),
            "keep": list(self.keep),
            "validations": self.validations,
            "argv": argv,
        }
        return JobSpec(label, stage, folder.absolute(), tuple(argv), {**content, "job": settings})


def _task(task: Task) -> dict[str, Any]:
    return {"task": task.name, "assets": task.identity(), "protocol": task.protocol.as_dict()}


def plugin_hashes(paths: Iterable[Path]) -> dict[Path, str]:
    """Return plug-in files with their hashes, as `JobSettings` has them."""
    return {path: file_sha256(path) for path in paths}


def run_config(content: Mapping[str, Any]) -> str:
    """Return the TOML file with which `bench run --config` repeats a run that `content` describes."""
    values = {
        "method": content["name"],
        "task": content["task"],
        "protocol": content["protocol"]["name"],
        "seed": content["seed"],
        "no-baselines": True,
        "plugin": list(content["job"]["plugins"]),
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items() if value != []]
    recipe = [
        f"{key} = {json.dumps('none' if value is None else value)}" for key, value in content["passed"].items()
    ]
    return "\n".join(["# bench run --config run.toml repeats this run", *lines, "", "[set]", *recipe]) + "\n"
