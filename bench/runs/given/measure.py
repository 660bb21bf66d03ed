"""Measuring images from outside: files, and what a user's function or a diffusers pipeline makes.

Each class finds its subject and checks it cheaply, before the task is prepared; `measuring` returns the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.progress import Progress
from bench.data.given.files import GivenFiles
from bench.evaluation.function_images import Function, FunctionImages
from bench.evaluation.given_images import GivenImages
from bench.evaluation.pipeline_images import PipelineImages
from bench.models.stock_pipelines import StockPipeline
from bench.models.weights.folders import unknown_options
from bench.runs.given.plan import IMAGES, GivenRun
from bench.runs.plugins.files import function_in
from bench.runs.runner import Runner, Weights
from bench.runs.students.saved import Measured

Measure = Callable[[Runner], Measured]


@dataclass(frozen=True)
class Place:
    """Where the record of images from outside goes, and the name of their row."""

    called: str
    runs: Path

    def run(self, runner: Runner, sha256: str, described: dict[str, Any], code: tuple[Path, ...] = ()) -> GivenRun:
        """Return the plan of their evaluation."""
        return GivenRun(runner.prepared.task, self.runs, self.called, sha256, described, code)


@dataclass(frozen=True)
class ImageFiles:
    """Images that were made elsewhere."""

    files: GivenFiles
    manifest: Path | None
    progress: Progress

    def measuring(self, place: Place) -> Measure:
        """Return what decodes all images, and then measures them."""

        def measure(runner: Runner) -> Measured:
            images = GivenImages(self.files, self.manifest, runner.prepared, self.progress)
            described = {
                IMAGES: "given",
                "form": self.files.form,
                "formats": images.formats,
                "lossy": images.lossy,
                "repeated": images.repeated,
                "repetitions": images.repetitions,
            }
            run = place.run(runner, images.sha256, described)
            record = runner.given(run, images, Weights(None, images.sha256, "none", None))
            return Measured(record.metrics, run.record)

        return measure


@dataclass(frozen=True)
class FunctionFile:
    """A function that makes images, in a Python file."""

    file: Path
    name: str
    function: Function
    sha256: str

    @classmethod
    def at(cls, file: Path, name: str) -> FunctionFile:
        """Run the file. Raises UserError if it fails, or has no such function."""
        function, sha256 = function_in(file, name)
        return cls(file, name, function, sha256)

    def measuring(self, place: Place) -> Measure:
        """Return what makes a few images, to check their form and their seeds, and then measures all."""

        def measure(runner: Runner) -> Measured:
            images = FunctionImages(self.function, f"{self.file.name}:{self.name}", runner.prepared)
            described = {IMAGES: "function", "file": self.file.name, "function": self.name}
            run = place.run(runner, self.sha256, described, (self.file,))
            if run.finished() is None:
                images.probe(runner.progress)
            record = runner.given(run, images, Weights(None, self.sha256, "none", None))
            return Measured(record.metrics, run.record)

        return measure


@dataclass(frozen=True)
class PipelineFiles:
    """A diffusers pipeline, with the settings by which it samples."""

    pipeline: StockPipeline

    def measuring(self, place: Place) -> Measure:
        """Return what loads the pipeline, makes one image, to check its size, and then measures all."""

        def measure(runner: Runner) -> Measured:
            settings, sha256 = self.pipeline.settings(), self.pipeline.sha256()
            run = place.run(runner, sha256, {IMAGES: "pipeline", **settings})
            done = run.finished()
            if done is not None:
                return Measured(done.metrics, run.record)
            for line in unknown_options(self.pipeline.folder):
                runner.progress.note(line)
            images = PipelineImages(self.pipeline.load(), settings, runner.prepared)
            images.note_cut(runner.progress.note)
            images.batch(0, 0, 1)
            weights = Weights(images.parameters, sha256, "published", images.evaluations)
            return Measured(runner.given(run, images, weights).metrics, run.record)

        return measure
