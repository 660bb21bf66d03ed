"""What `bench eval` evaluates: exactly one of several things, each with the options that go with it."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.cli.options import subject_of
from bench.core.errors import UserError
from bench.core.path_names import path_name
from bench.core.progress import Progress
from bench.task.base import Task
from bench.task.declaration import Baseline

if TYPE_CHECKING:
    from bench.runs.given.measure import Measure

Kind = Literal["checkpoint", "sampler", "function", "images", "pipeline"]
"""A saved student, a named sampler of the teacher, a Python function, files of images, or a diffusers pipeline."""

FROM_OUTSIDE: tuple[Kind, ...] = ("function", "images", "pipeline")
"""The subjects that are neither students nor samplers of the task's teacher."""

FUNCTION = re.compile(r"(?P<file>.+\.py):(?P<name>\w+)")
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
"""What a pipeline runs in unless the user says it, by the protocol's precision of sampling."""
GOES_WITH: dict[str, tuple[Kind, ...]] = {
    "steps": ("checkpoint", "pipeline"),
    "student_start": ("checkpoint",),
    "manifest": ("images",),
    "scheduler": ("pipeline",),
    "guidance": ("pipeline",),
    "dtype": ("pipeline",),
    "name": ("images", "pipeline", "function"),
}
"""The options that only some subjects have."""


@dataclass(frozen=True)
class Subject:
    """The options of `bench eval` that say what is evaluated; None for one that was not given."""

    checkpoint: Path | None = None
    sampler: str | None = None
    images: Path | None = None
    pipeline: str | None = None
    steps: int | None = None
    student_start: float | None = None
    manifest: Path | None = None
    scheduler: str | None = None
    guidance: float | None = None
    dtype: str | None = None
    name: str | None = None

    @property
    def kind(self) -> Kind:
        """What is evaluated. Raises UserError unless it is one thing, with options that go with it."""
        given: list[Kind] = [
            one for one in ("checkpoint", "sampler", "images", "pipeline") if getattr(self, one) is not None
        ]
        if len(given) != 1:
            found = f"not {' and '.join(f'--{one}' for one in given)} together" if given else "and none is given"
            raise UserError(
                "bench eval takes one of --checkpoint PATH, --sampler NAME, --sampler FILE.py:FUNCTION, "
                f"--images PATH and --pipeline PATH, {found}; fix: give one of them"
            )
        kind: Kind = "function" if self._function else given[0]
        for option, kinds in GOES_WITH.items():
            if getattr(self, option) is not None and kind not in kinds:
                word = f"--{option.replace('_', '-')}"
                raise UserError(
                    f"{word} goes with {' and '.join(_called(one) for one in kinds)}; "
                    f"fix: leave it out with {_called(kind)}"
                )
        return kind

    @property
    def _function(self) -> re.Match[str] | None:
        return FUNCTION.fullmatch(self.sampler or "")

    def measuring(
        self, task: Task, runs: Path, methods: Collection[str], progress: Progress, download: bool
    ) -> Measure:
        """Return what measures the subject, once its task is prepared. All that is cheap is checked now.

        Raises UserError if the subject is not there, or an option does not go with it.
        """
        kind = self.kind
        if kind in ("checkpoint", "sampler"):
            return self._of_the_task(task, runs)
        from bench.runs.given.plan import checked_name

        name = checked_name(self.name or self._own_name, task, methods)
        if kind == "images":
            return self._of_images(name, runs, progress)
        if kind == "function":
            return self._of_function(name, runs)
        dtype = self.dtype or DTYPES[task.protocol.sampling_precision]
        return self._of_pipeline(name, runs, download, dtype)

    @property
    def _own_name(self) -> str:
        """The name of what was given, where the user gives none: a folder's, or a file's without its suffix."""
        path = Path(self._function["file"] if self._function else self.images or self.pipeline or "")
        return path_name(path.with_suffix("") if path.suffix in (".py", ".zip", ".tar") else path)

    # What is not there is refused before torch is imported, which takes seconds.

    def _of_images(self, name: str, runs: Path, progress: Progress) -> Measure:
        from bench.data.given.files import open_given

        assert self.images is not None
        files = open_given(self.images, self.manifest)
        from bench.runs.given.measure import ImageFiles, Place

        return ImageFiles(files, self.manifest, progress).measuring(Place(name, runs))

    def _of_function(self, name: str, runs: Path) -> Measure:
        from bench.runs.plugins.files import existing

        assert self._function is not None
        file = existing(Path(self._function["file"]))
        from bench.runs.given.measure import FunctionFile, Place

        return FunctionFile.at(file, self._function["name"]).measuring(Place(name, runs))

    def _of_pipeline(self, name: str, runs: Path, download: bool, dtype: str) -> Measure:
        from bench.models.stock_pipelines import open_pipeline
        from bench.runs.given.measure import PipelineFiles, Place

        assert self.pipeline is not None
        found = open_pipeline(self.pipeline, download, self.scheduler, self.steps, self.guidance, dtype)
        return PipelineFiles(found).measuring(Place(name, runs))

    def _of_the_task(self, task: Task, runs: Path) -> Measure:
        """Return what measures a saved student or a sampler of the task's teacher."""
        if self.sampler is not None and ":" in self.sampler:
            raise UserError(
                f"--sampler takes NAME or FILE.py:FUNCTION, not {self.sampler!r}; fix: give one of them"
            )
        subject = subject_of("bench eval", task, self.checkpoint, self.sampler, self.steps)
        from bench.runs.plan import BaselineRun
        from bench.runs.students.saved import Measured, measure_student

        if isinstance(subject, Baseline):
            run = BaselineRun(task, runs, subject)
            return lambda runner: Measured(runner.baseline(run).metrics, run.record)
        return lambda runner: measure_student(runner, subject, self.steps, self.student_start, runs)


def _called(kind: Kind) -> str:
    return "--sampler FILE.py:FUNCTION" if kind == "function" else f"--{kind}"
