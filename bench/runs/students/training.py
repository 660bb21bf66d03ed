"""Training the student of one run: what its method needs from the task, and how often training is measured."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator, PartialState
from torch import Tensor

from bench.core.errors import UserError, first_line
from bench.core.files import folder_sha256
from bench.core.progress import Progress
from bench.core.run_folder import STUDENT
from bench.core.stopping import StopSignal
from bench.evaluation.evaluator import Evaluator
from bench.evaluation.image_source import SampledImages
from bench.models.denoiser import Denoiser
from bench.runs.plan import Run
from bench.runs.record import INITIAL_WEIGHTS, Provenance
from bench.runs.recording import trained_student
from bench.runs.students.trained import TrainedStudent
from bench.task.assets import PreparedAsset, file_asset
from bench.task.base import PreparedTask
from bench.training.accelerator import accelerator_of
from bench.training.cadence import VALIDATIONS, Cadence
from bench.training.checkpoint import start_from
from bench.training.distiller import Pairs, TrainingContext
from bench.training.log import TrainingLog
from bench.training.recipe import Recipe
from bench.training.student_sampler import checked
from bench.training.trainer import Trainer

VALIDATION_SAMPLES = 1000


def validation_samples(recipe: Recipe) -> int:
    """Return the number of generated images of a validation; with keep_best the recipe gives it."""
    return recipe.best_samples if recipe.keep_best else VALIDATION_SAMPLES


@contextlib.contextmanager
def naming_what_saves_memory(recipe: Recipe) -> Iterator[None]:
    """Within a `with` block, raise UserError with the options that save memory if a GPU has too little of it."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        processes = PartialState().num_processes
        counts = range(recipe.gradient_accumulation + 1, recipe.batch_size + 1)
        smaller = [f"gradient_accumulation={n}" for n in counts if recipe.batch_size % (processes * n) == 0][:1]
        recomputed = [] if recipe.gradient_checkpointing else ["gradient_checkpointing=true"]
        options = [f"--set {value}" for value in (*smaller, *recomputed)]
        sharded = f"--processes {2 * processes} --set sharding=fsdp2"
        raise UserError(
            f"training takes more memory than the GPU has: {first_line(error)}; "
            f"fix: {' '.join(options)}{', or ' * bool(options)}{sharded}"
        ) from error


class StudentTraining(NamedTuple):
    """What trains the students of a task's runs."""

    prepared: PreparedTask
    evaluator: Evaluator
    """It measures FD during training."""
    progress: Progress
    stop: StopSignal | None
    """It tells training to end early."""
    validations: int = VALIDATIONS
    """How often FD is measured during training, unless a recipe keeps the best student; 0: never."""

    def train(self, run: Run, made: Provenance, log: TrainingLog) -> TrainedStudent:
        """Train a run's student, from its checkpoint if there is one, and save it in the run's folder.

        Raises UserError if the recipe keeps the best student and the protocol has no FD to select it by, and for
        a GPU with too little memory.
        """
        with naming_what_saves_memory(run.recipe):
            return self._train(run, made, log)

    def _train(self, run: Run, made: Provenance, log: TrainingLog) -> TrainedStudent:
        recipe = run.recipe
        if recipe.keep_best and "fd" not in self.evaluator.metrics:
            protocol = run.task.protocol.name
            raise UserError(
                f"keep_best selects by FD, which protocol {protocol!r} does not measure; "
                "fix: --set keep_best=false"
            )
        accelerator = accelerator_of(recipe)
        torch.manual_seed(run.seed)  # initial weights that are not the teacher's: the discriminator's head
        more_data: list[PreparedAsset] = []
        distiller = run.method.load()(recipe, training_context(self.prepared, accelerator, more_data))
        if recipe.init_from is not None:
            more_data.append(file_asset(INITIAL_WEIGHTS, start_from(recipe.init_from, distiller)))

        def measure(student: Denoiser) -> dict[str, float]:
            sampled = self.prepared.as_sampled(student)
            images = SampledImages(checked(distiller.sampler(recipe, sampled), sampled), self.prepared)
            return self.evaluator.validate(images, validation_samples(recipe))

        validations = self.validations if "fd" in self.evaluator.metrics else 0
        trained = Trainer(distiller, self.prepared, run.seed, run.folder, accelerator, self.stop, log).run(
            Cadence.of(recipe, validations), self.progress, measure
        )
        folder = run.folder / STUDENT
        if accelerator.is_main_process:
            self.prepared.save_student(trained.student, folder, distiller.indices)
        accelerator.wait_for_everyone()
        found = trained_student(trained, folder_sha256(folder), self.prepared, more_data, made)
        if accelerator.is_main_process:
            found.write(run.folder)
        return found


def training_context(
    prepared: PreparedTask, accelerator: Accelerator, used: list[PreparedAsset]
) -> TrainingContext:
    """Return what a method may ask the task for. The assets that it then asks for are added to `used`."""

    def make_pairs(count: int) -> Pairs:
        pairs = Pairs(*prepared.pairs(count))
        used.append(prepared.asset_of_pairs(count))
        return pairs

    def pixels() -> Callable[[Tensor], Tensor]:
        to_pixels, assets = prepared.pixels()
        used.extend(assets)
        return to_pixels

    def lpips_trunk() -> Path | None:
        path = prepared.lpips_trunk()
        if path is not None and path.is_file():
            used.append(file_asset("lpips", path))
        return path

    teacher = copy.deepcopy(prepared.teacher).to(accelerator.device)
    latent = prepared.sample_shape != prepared.task.image_shape
    return TrainingContext(accelerator, teacher, prepared.null_condition, make_pairs, pixels, lpips_trunk, latent)
