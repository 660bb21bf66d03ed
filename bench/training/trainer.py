"""The training loop: iterations, validation, checkpoints, exact resume."""

from __future__ import annotations

import contextlib
import shutil
import signal
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from bench.core.errors import first_line
from bench.core.progress import Bar, Progress, SilentProgress
from bench.core.run_folder import BEST, CHECKPOINTS, METRICS
from bench.core.status import TRAINING
from bench.core.stopping import Stopped, StopSignal, UntrainedError
from bench.models.denoiser import Denoiser
from bench.task.base import PreparedTask
from bench.training.alarms import KINDS, REAL
from bench.training.batches import Batches
from bench.training.cadence import Cadence
from bench.training.checkpoint import (
    TrainingState,
    keep_if_best,
    refuse_another_teacher,
    restore_checkpoint,
    save_checkpoint,
)
from bench.training.compiling import CompileClock, compiling
from bench.training.cost import Passes
from bench.training.distiller import Distiller, MicroBatch
from bench.training.evaluated import EvaluatedStudent
from bench.training.figure_reader import FigureReader
from bench.training.figures import LOG_EVERY, check_figures, is_logged_update
from bench.training.half_weights import refusing_bf16
from bench.training.iteration_limit import IterationLimit
from bench.training.log import TrainingLog
from bench.training.passes import PassCounter, total_passes


@dataclass(frozen=True)
class Trained:
    """A trained student and the cost of its training."""

    student: Denoiser
    """The student in evaluation mode: EMA weights if the recipe has them, otherwise the last ones. It is on the
    CPU or, if networks have one base, where that is."""
    iterations: int
    generator_updates: int
    seconds: float
    passes: dict[str, Passes]
    """Passes of single images through each network, over all processes."""


class Trainer:
    """The loop that trains one distiller on one prepared task, in one folder."""

    def __init__(
        self,
        distiller: Distiller[Any],
        prepared: PreparedTask,
        seed: int,
        folder: Path,
        accelerator: Accelerator,
        stop: StopSignal | None = None,
        log: TrainingLog | None = None,
    ) -> None:
        """`log` is by default the metrics file in `folder`, without trackers."""
        distiller.release_teacher()
        self.distiller = distiller
        self.recipe = distiller.recipe
        self.prepared = prepared
        self.folder = folder
        self.accelerator = accelerator
        self.stop = stop or StopSignal()
        self.limit = IterationLimit(self.stop)
        self.log = log or TrainingLog(folder / METRICS)
        self.batches = Batches(prepared, self.recipe, seed, accelerator)
        self.evaluated = EvaluatedStudent(distiller, prepared)
        self.passes = PassCounter(distiller)
        self.reader = FigureReader(self.recipe, accelerator, self.log, self.stop)
        self.compiled = CompileClock()
        self._note: Callable[[str], None] = SilentProgress().note
        self._begun = time.perf_counter()

    def run(
        self, cadence: Cadence, progress: Progress, measure: Callable[[Denoiser], dict[str, float]]
    ) -> Trained:
        """Train to the end, starting at the newest checkpoint if there is one.

        `measure` returns the figures of a student that are logged during training. Raises DivergedError, and
        Stopped if a signal was received: after a checkpoint, or without one in an iteration that hangs.
        """
        self._note = progress.note
        start = self.begin()
        bar_of_training = progress.bar(TRAINING, self.recipe.iterations, completed=start)
        with bar_of_training as bar, self.stop.deferred(), compiling(self.recipe, self.compiled):
            for iteration in range(start, self.recipe.iterations):
                with self._ending_together():
                    self.advance(iteration, cadence, bar, measure)
        if self.distiller.generator.updates == 0:
            raise UntrainedError(
                f"the student was never updated in {self.recipe.iterations} iterations: training_step must call "
                "self.backward_and_step(self.generator, loss)"
            )
        if self.accelerator.is_main_process:
            for name, count in self._updates().items():
                if count == 0:
                    self._note(f"model {name!r} was never updated: backward_and_step was not called for it")
        updates, passes = self.distiller.generator.updates, self._all_passes()
        return Trained(self.evaluated.copy(), self.recipe.iterations, updates, self.seconds, passes)

    def begin(self) -> int:
        """Restore the newest checkpoint; return the number of finished iterations."""
        done, before = self._resume()
        self._begun = time.perf_counter() - before
        return done

    @property
    def seconds(self) -> float:
        """Training time so far, summed over all attempts."""
        return time.perf_counter() - self._begun

    def advance(
        self, iteration: int, cadence: Cadence, bar: Bar, measure: Callable[[Denoiser], dict[str, float]]
    ) -> None:
        """Train one iteration, then log, validate and write a checkpoint if they are due."""
        before, compiled = self._updates(), self.compiled.state
        try:
            with self.limit.iteration():
                figures = self.step(iteration)
        except Exception:
            self.reader.refuse_divergence()  # an error may follow from figures that were not read yet
            raise
        if self.compiled.state != compiled and self.accelerator.is_main_process:
            self._note(f"{self.compiled} by iteration {iteration + 1}")
        done = iteration + 1
        last = done == self.recipe.iterations
        stepped = [updates for name, updates in self._updates().items() if updates > before[name]]
        logged = done % LOG_EVERY == 0 or last or any(is_logged_update(updates, done) for updates in stepped)
        self.reader.send(done, figures, self.recipe.lr * self.recipe.rate_at(iteration), logged)
        validates = cadence.validate_every > 0 and (done % cadence.validate_every == 0 or last)
        saves = done % cadence.checkpoint_every == 0 or last
        self.reader.read(bar, self._note, late=not (validates or saves))
        if validates:
            self._validate(done, bar, measure)
        if saves or self.reader.stop_agreed:
            self.reader.read(bar, self._note, late=False)
            self._save(done)
        bar.advance()
        if self.reader.stop_agreed and not last:
            raise Stopped(self.stop.heard or signal.SIGTERM)

    @contextlib.contextmanager
    def _ending_together(self) -> Iterator[None]:
        """Raise Stopped for an error inside that follows from another process, which a signal ended in the middle.

        Wherever this one waits for it, the connection breaks: in a step, in the exchange of figures, in a save.
        """
        try:
            yield
        except RuntimeError as error:
            if self.stop.heard is None or self.accelerator.num_processes == 1:
                raise
            self._note(f"another process has ended after a signal: {first_line(error)}")
            raise Stopped(self.stop.heard) from error

    def _validate(self, done: int, bar: Bar, measure: Callable[[Denoiser], dict[str, float]]) -> None:
        """Measure the student, which does not count as training time, and keep it if it is the best so far."""
        paused = time.perf_counter()
        student = self.evaluated.copy()
        measured = measure(student)
        self.reader.write({"iteration": done, **measured})
        bar.advance(0, **measured)
        if self.recipe.keep_best:
            self._keep_if_best(done, student, measured)
        self._begun += time.perf_counter() - paused

    def step(self, iteration: int) -> dict[str, Tensor]:
        """Train one iteration, which depends only on the networks, the seed and the iteration's number."""
        distiller = self.distiller
        before = self._updates()
        distiller.set_rates(iteration)
        steps = [self._micro_step(iteration, index) for index in range(self.recipe.gradient_accumulation)]
        for figures, _ in steps:
            check_figures(figures, steps[0][0])
        parts = [figures | self._real_statistics(figures, real) for figures, real in steps]
        figures = {name: torch.stack([part[name].float() for part in parts]).mean() for name in parts[0]}
        for name, model in distiller.models.items():
            if model.updates > before[name] and model.gradient_norm is not None:
                figures[f"gradient/{name}"] = model.gradient_norm
        if distiller.generator.updates > before["generator"]:
            self.evaluated.follow()
        return figures

    def _micro_step(self, iteration: int, index: int) -> tuple[dict[str, Tensor], Tensor]:
        """Train on one micro-batch; return the step's figures, and the real images that it was given.

        Processes exchange gradients only after the last one.
        """
        micro_batch = MicroBatch(index, self.recipe.gradient_accumulation)
        self.distiller.micro_batch = micro_batch
        with contextlib.ExitStack() as stack:
            if not micro_batch.is_last:
                for model in self.distiller.models.values():
                    stack.enter_context(self.accelerator.no_sync(model.wrapped))
            stack.enter_context(self.accelerator.autocast())
            batch = self.batches.batch(iteration, micro_batch)
            stack.enter_context(refusing_bf16(self.recipe, self.distiller.teacher))
            return self.distiller.training_step(batch), batch.real

    def _updates(self) -> dict[str, int]:
        """Return the number of optimiser steps of each model so far."""
        return {name: model.updates for name, model in self.distiller.models.items()}

    def _real_statistics(self, figures: Collection[str], real: Tensor) -> dict[str, Tensor]:
        """Return the statistics of real images, if a training step returned those of the student's output."""
        if not self.reader.monitor.alarms or not any(f"{kind}_std" in figures for kind in KINDS):
            return {}
        return {REAL + name: value for name, value in self.distiller.statistics(real).items()}

    def _state(self, done: int) -> TrainingState:
        passes = {name: (forward, backward) for name, (forward, backward) in self._all_passes().items()}
        sha256, alarms = self.prepared.teacher_sha256, self.reader.monitor.state()
        return TrainingState(done, self.seconds, sha256, self.evaluated.average, passes, alarms)

    def _all_passes(self) -> dict[str, Passes]:
        """Return the passes of all processes together. A resumed process may not have called every network yet."""
        return total_passes(gather_object([self.passes.counts]))

    def _save(self, done: int) -> None:
        """Write one checkpoint, which does not depend on the number of processes."""
        save_checkpoint(self.folder / CHECKPOINTS, self.distiller, self._state(done))
        self.accelerator.wait_for_everyone()

    def _keep_if_best(self, done: int, student: Denoiser, measured: dict[str, float]) -> None:
        """Keep a copy of all networks if the student has the lowest FD so far."""

        def save(folder: Path) -> None:
            self.prepared.save_student(student, folder, self.distiller.indices)

        found = measured["fd"], int(measured["fd_samples"])
        keep_if_best(self.folder / BEST, self.distiller, self._state(done), *found, save)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> tuple[int, float]:
        """Restore the newest checkpoint; return its number of iterations and the seconds they took."""
        state = restore_checkpoint(self.folder / CHECKPOINTS, self.distiller)
        if state is None:
            if self.accelerator.is_main_process:
                self.log.begin(0)
                shutil.rmtree(self.folder / BEST, ignore_errors=True)
            return 0, 0.0
        refuse_another_teacher(self.folder, state.teacher_sha256, self.prepared.teacher_sha256)
        self.reader.monitor.load(state.alarms)
        self.evaluated.restore(state.average, self.accelerator.device)
        if self.accelerator.is_main_process:
            self.log.begin(state.iteration)
            self.passes.restore(state.passes)
        return state.iteration, state.seconds
