"""A prepared text-to-image task: teacher, latents, prompts and feature networks."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.core.device import this_device
from bench.core.errors import UserError, listed
from bench.core.progress import Progress
from bench.core.transfers import sent
from bench.features.references.make import RealImages
from bench.models.backbones.text import TextFamily, TextPipeline
from bench.models.bf16 import copy_in_bf16
from bench.models.denoiser import Denoiser
from bench.models.descriptions import DESCRIPTION
from bench.models.samplers import SampleNoise, Sampler
from bench.models.saved import load_denoiser, no_such_sampler, require_student, save_denoiser, teacher_itself
from bench.models.schedules import VPSchedule
from bench.models.text.conditions import PromptConditions, note_cut
from bench.models.text.encoders import SDXLEncoder, TextEncoder
from bench.models.text.pipelines import load_pipeline, load_tiny_vae
from bench.models.text.published import load_published
from bench.models.weights.compare import same_weights
from bench.task.assets import PreparedAsset
from bench.task.base import Sampled
from bench.task.declaration import Baseline, Sources
from bench.task.pairs import PairedTeacher
from bench.task.verified import verified
from tasks.text.baselines import TextBaseline
from tasks.text.extractors import TextExtractors
from tasks.text.pin import tiny_vae_sha256
from tasks.text.prompts import kept_prompts
from tasks.text.reals import pinned_reals
from tasks.text.sampling import load_baseline, sample, weights_sha256
from tasks.text.task import LPIPS, REALS, TINY_VAE, TextTask
from tasks.text.teachers import refuse_another_class, refuse_another_guidance, teacher_sha256
from tasks.text.training_data import TrainingData, open_training

AT_ONCE = 16
"""Number of images of 1,024 pixels that are generated and measured together."""


def prepare_text(task: TextTask, sources: Sources, progress: Progress) -> PreparedText:
    """Open all pinned assets. Raises UserError, with the fixes, if some are missing."""
    task.require(sources)
    return PreparedText(task, sources, progress)


class PreparedText(PairedTeacher):
    """A prepared text-to-image task."""

    pair_batch = AT_ONCE

    def __init__(self, task: TextTask, sources: Sources, progress: Progress) -> None:
        self.task: TextTask = task
        self.cache = sources.cache
        self.progress = progress
        self.download = sources.download
        together = task.protocol.images_per_prompt
        self.evaluation_batch = max(1, AT_ONCE // together) * together
        self.weights, self.data = [], []
        self._training: TrainingData | None = None
        if task.has_teacher:
            self._open_teacher()
            self._training = None if task.missing(sources) else open_training(task, self.pipeline, self.data)
        self.prompts, self._real_names = kept_prompts(self._path("prompts"))
        self._checked("prompts", self.data, self.prompts.sha256)
        found = TextExtractors(task, self.cache, progress)
        self.weights += found.weights
        self.data += found.data
        if task.has_teacher:
            self._note_cut(self._encoder, "prompts")
        self.references, self.extractors = found.references, found.loaded

    def _open_teacher(self) -> None:
        path, resolution = self._path("teacher"), self.task.rules.resolution
        refuse_another_class(self.task, path, path)
        self.pipeline = load_pipeline(path)
        refuse_another_guidance(self.task, path, self.pipeline)
        self.teacher_sha256 = self._checked("teacher", self.weights, teacher_sha256(path))
        self._teacher: TextFamily = self.pipeline.denoiser(resolution).eval().requires_grad_(False)
        self.teacher = self._teacher
        self._use(self.pipeline, resolution)

    def _use(self, pipeline: TextPipeline, resolution: int) -> None:
        """Use this pipeline's encoder and decoder for evaluation, with the protocol's quirks."""
        self.space, self.resolution = pipeline.latents, resolution
        self.null_condition = pipeline.encoder.null_condition()
        self._encoder = pipeline.encoder
        if self.task.rules.first_tokenizer_for_both:
            assert isinstance(pipeline.encoder, SDXLEncoder)
            self._encoder = pipeline.encoder.with_first_tokenizer()

    def _note_cut(self, encoder: TextEncoder, what: str) -> None:
        """Show a note of the prompts that the protocol uses and an encoder does not read to their end."""
        note_cut(encoder.read_whole(self.protocol_prompts()), what, self.progress.note)

    def _path(self, role: str) -> Path:
        return Path(self.task.pinned[role].path)

    def _checked(self, role: str, assets: list[PreparedAsset], found: str) -> str:
        """Add a pinned asset to `assets`, and return its hash. Raises UserError if it has changed."""
        assets.append(verified(role, self.task.pinned[role], found))
        return found

    @property
    def training(self) -> TrainingData:
        """The training data. Raises UserError if none is pinned; evaluations do not read it."""
        if self._training is None:
            raise UserError(
                f"task {self.task.name!r} has no training data; fix: bench prepare {self.task.called} "
                "--data PATH (captioned images or latents)"
            )
        return self._training

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        return self.space.shape(self.resolution)

    def decode(self, x0: Tensor) -> Tensor:
        return self.space.to(x0.device).decode(x0)

    @property
    def training_conditions(self) -> int:
        return len(self.training.prompts)

    @property
    def real_count(self) -> int:
        return len(self.training.latents)

    def training_condition(self, indices: Tensor) -> Tensor:
        return self.training.prompts(indices)

    def training_condition_on(self, indices: Tensor, device: torch.device) -> Tensor:
        return self.training.prompts(indices, device)

    def real_batch(self, positions: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        training = self.training
        return sent(training.latents.gather(positions), device), training.captions(positions, device)

    def pixels(self) -> tuple[Callable[[Tensor], Tensor], list[PreparedAsset]]:
        """Return the tiny VAE's decoder: gradients through the whole VAE would take too much memory and time."""
        if TINY_VAE not in self.task.pinned:
            raise UserError(
                "losses on pixels decode latents with a tiny VAE, and none is pinned; fix: bench prepare "
                f"{self.task.called} --tiny-vae madebyollin/taesdxl (of SD1.5 taesd, of SD3.5 taesd3, "
                "of FLUX.1 taef1; or a folder)"
            )
        folder, assets = self._path(TINY_VAE), list[PreparedAsset]()
        self._checked(TINY_VAE, assets, tiny_vae_sha256(folder))
        space = load_tiny_vae(folder)
        if space.shape(self.resolution) != self.sample_shape:
            raise UserError(
                f"the tiny VAE {folder} has latents {list(space.shape(self.resolution))} of images of "
                f"{self.resolution} pixels, but the teacher's are {list(self.sample_shape)}; fix: name another"
            )
        return lambda x0: space.to(x0.device).decode(x0), assets

    def lpips_trunk(self) -> Path | None:
        return self._path(LPIPS) if LPIPS in self.task.pinned else None

    @property
    def pair_sampler(self) -> TextBaseline:
        return self.task.pair_sampler

    def pair_identity(self) -> list[Any]:
        return [self.teacher_sha256, self.pair_sampler.identity(), self.training.prompts_sha256]

    def pair_conditions(self, indices: Tensor) -> Tensor:
        """Return conditions of training prompts, never of the evaluation's."""
        prompts = self.training.prompts
        return prompts(indices.to(this_device()) % len(prompts)).cpu()

    def pair_sampler_on(self, device: torch.device) -> Sampler:
        """Return the sampler; on a GPU it runs in float16, as the official pairs do."""
        pipeline = replace(self.pipeline, network=copy.deepcopy(self.pipeline.network).to(device))
        assert self.null_condition is not None
        null = self.null_condition.to(device)

        def generate(noise: SampleNoise, condition: Tensor) -> Tensor:
            with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
                return sample(pipeline, self.pair_sampler, noise, condition, null)

        return generate

    def prompts_of(self, indices: Tensor) -> list[str]:
        """Return the prompts of samples with these global indices."""
        return [self.prompts.prompts[place] for place in self._places(indices)]

    def protocol_prompts(self) -> Sequence[str]:
        """Return the prompts in use, each once: a short list is repeated, and of a long one the first are used."""
        protocol = self.task.protocol
        return self.prompts.prompts[: math.ceil(protocol.samples / protocol.images_per_prompt)]

    def categories_of(self, indices: Tensor) -> list[str]:
        """Return the categories of these samples' prompts; empty if their file gave none."""
        return (
            [self.prompts.categories[place] for place in self._places(indices)] if self.prompts.categories else []
        )

    def _places(self, indices: Tensor) -> list[int]:
        """Return the positions of samples' prompts in the list."""
        found: list[int] = (indices // self.task.protocol.images_per_prompt % len(self.prompts)).tolist()
        return found

    def conditions(self, indices: Tensor) -> Tensor:
        return PromptConditions(self._encoder, self.prompts_of(indices), kept_bytes=0)(
            torch.arange(len(indices), device=indices.device)
        )

    def reference_images(self) -> RealImages:
        """Return the images of the folder that the user named. Raises UserError if none is, or they changed."""
        task = self.task
        if REALS not in task.pinned:
            raise UserError(
                f"task {task.name!r} has no folder of real images for further feature extractors; "
                f"fix: bench prepare {task.called} --reals FOLDER"
            )
        return pinned_reals(task.pinned[REALS], self._real_names, task.rules.compared_at, task.called)

    def sampled(self, baseline: Baseline) -> Sampled:
        """Return a sampler of the teacher or of another model, with its own decoder, encoder and resolution."""
        assert isinstance(baseline, TextBaseline)
        pipeline = load_baseline(baseline, self.pipeline, download=self.download, note=self.progress.note)
        sha256 = self.teacher_sha256 if baseline.weights is None else weights_sha256(pipeline.network)
        if self.task.protocol.sampling_precision == "bf16":
            pipeline = replace(pipeline, network=copy_in_bf16(pipeline.network))
        task_of_baseline = copy.copy(self)
        task_of_baseline._use(pipeline, baseline.resolution)
        if pipeline.encoder is not self.pipeline.encoder:
            self._note_cut(pipeline.encoder, f"prompts of {baseline.name}")

        def generate(noise: SampleNoise, condition: Tensor) -> Tensor:
            pipeline.network.to(condition.device)
            null = task_of_baseline.null_condition
            assert null is not None
            return sample(pipeline, baseline, noise, condition, null.to(condition.device))

        return Sampled(task_of_baseline, generate, sha256)

    def save_student(self, student: Denoiser, folder: Path, indices: Sequence[int]) -> None:
        assert isinstance(student, TextFamily)
        save_denoiser(student, folder, indices)

    def load_student(self, folder: Path, steps: int | None = None) -> tuple[Denoiser, list[int]]:
        """Read one of our students (a network or a LoRA), or published weights of DMD2's or other authors."""
        if (folder / DESCRIPTION).is_file():
            saved = load_denoiser(folder, type(self._teacher), self._teacher)
            student, indices = saved.denoiser, saved.indices
            known: list[int] = [len(indices)]
            require_student(folder, indices)
            if not student.fits(self._teacher):
                raise UserError(
                    f"{folder} is a student of another teacher than that of task {self.task.name!r}; "
                    "fix: name a student of this task"
                )
        elif not self.task.published_indices:
            raise UserError(
                f"task {self.task.name!r} does not say at which times students run that were not trained here, "
                f"such as {folder}; fix: published_indices={{4: (999, 749, 499, 249)}} in the task"
            )
        else:
            family, scheduler = self.pipeline.family, self.pipeline.scheduler
            network = load_published(folder, family, self.pipeline.network, self.progress.note, scheduler)
            if same_weights(network, self.pipeline.network):
                raise teacher_itself(folder)
            student = replace(self.pipeline, network=network).denoiser(self.task.rules.resolution)
            known = list(self.task.published_indices)
            indices = list(self.task.published_indices.get(steps or known[0], ()))
            if steps in (None, *known):
                self.progress.note(
                    f"{folder} is sampled as DMD2's students: at {listed(indices)}, with fresh noise, unguided"
                )
        if steps not in (None, *known):
            raise no_such_sampler(folder, steps, known)
        alpha_bar = self.task.rules.first_alpha_bar
        if alpha_bar is not None:
            assert isinstance(student.schedule, VPSchedule)
            student.schedule = student.schedule.with_alpha_bar(indices[0], alpha_bar)
        return student.eval().requires_grad_(False), indices
