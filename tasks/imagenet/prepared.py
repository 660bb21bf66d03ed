"""Preparation of ImageNet-64: pack the images, and convert the teacher."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bench.core.errors import UserError
from bench.core.files import folder_sha256
from bench.core.progress import Progress
from bench.data.imagenet.pack import pack
from bench.data.imagenet.packed import open_packed
from bench.features.references.make import RealImages, array_images
from bench.models.backbones.edm import EDMDenoiser
from bench.models.denoiser import Denoiser
from bench.models.descriptions import DESCRIPTION
from bench.models.saved import load_denoiser, no_such_sampler, teacher_itself
from bench.models.weights.checkpoints import LoadedDenoiser, load_edm_denoiser
from bench.models.weights.compare import same_weights
from bench.models.weights.export import export_student
from bench.task.declaration import Sources
from bench.task.verified import verified
from tasks.imagenet.measures import MeasuredImageNet, pin_measures
from tasks.imagenet.task import ImageNetTask, PinnedAsset, PinnedImageNet
from tasks.imagenet.teachers import pinned_teacher


def pin(task: ImageNetTask, sources: Sources, progress: Progress) -> None:
    """Bring the assets that the user named into the cache, and pin them for the task.

    All other assets stay pinned as before. Raises UserError if one is damaged or of another kind.
    """
    path = task.pinned_path(sources.cache)
    pinned = PinnedImageNet.read(path)
    if sources.data is not None:
        pinned = pinned.pin(
            path,
            data=_data(task, sources.data, sources, progress),
            # at once: packing takes an hour, which a wrong next path must not waste
        )
    if sources.teacher is not None:
        pinned = pinned.pin(path, teacher=_teacher(task, sources.teacher, sources.cache, progress))
    pin_measures(sources, pinned, path, progress)


def _data(task: ImageNetTask, source: Path, sources: Sources, progress: Progress) -> PinnedAsset:
    folder = sources.cache / "data" / f"{task.name}-{sources.crop}"
    packed = pack(source, folder, sources.crop, classes=task.classes, progress=progress)
    return PinnedAsset(str(folder), packed.manifest.sha256["images.npy"], f"{len(packed)} images, {sources.crop}")


def _teacher(task: ImageNetTask, source: Path, cache: Path, progress: Progress) -> PinnedAsset:
    loaded = load_edm_denoiser(source, preconditioning="edm" if source.is_dir() else None)
    found, classes = loaded.denoiser.sample_shape, loaded.denoiser.classes
    if found != task.image_shape or classes != task.classes:
        raise UserError(
            f"{source} is a network for images {list(found)} of {classes} classes, but task "
            f"{task.name!r} has {list(task.image_shape)} and {task.classes}; fix: name another teacher"
        )
    return pinned_teacher(task.name, loaded, source, cache, progress)


def prepare_imagenet(task: ImageNetTask, sources: Sources, progress: Progress) -> PreparedImageNet:
    """Open all pinned assets. Raises UserError, with the fixes, if some are missing."""
    task.require(sources)
    return PreparedImageNet(task, sources.cache, progress)


class PreparedImageNet(MeasuredImageNet):
    """A prepared ImageNet task with images and an EDM teacher."""

    def open_data(self, pinned: PinnedImageNet) -> None:
        """Open the training images."""
        assert pinned.data
        packed = self._packed = open_packed(Path(pinned.data.path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the images are mapped read-only, and never written
            self.real_images = torch.from_numpy(np.asarray(packed.images))
        self.real_conditions = torch.from_numpy(packed.labels)
        self.data = [verified("data", pinned.data, packed.manifest.sha256["images.npy"], packed.manifest.altered)]

    def open_teacher(self, pinned: PinnedImageNet) -> None:
        """Open EDM's network."""
        assert pinned.teacher
        self.teacher = load_denoiser(Path(pinned.teacher.path), EDMDenoiser).denoiser
        self.teacher_sha256 = pinned.teacher.sha256
        self.teacher_name = pinned.teacher.name
        self.weights = [verified("teacher", pinned.teacher, folder_sha256(Path(pinned.teacher.path)))]

    def save_student(self, student: Denoiser, folder: Path, indices: Sequence[int]) -> None:
        """Write the student with a model card that shows how to use it with diffusers alone."""
        assert isinstance(student, EDMDenoiser)
        title = f"Student for {self.task.name}, distilled from {self.teacher_name}"
        export_student(student, folder, indices, title, f"that of the teacher: {self.task.licences['teacher']}")

    def load_student(self, folder: Path, steps: int | None = None) -> tuple[Denoiser, list[int]]:
        """Read one of our students, or published weights: DMD2's one-step students, consistency models."""
        if (folder / DESCRIPTION).is_file():
            return super().load_student(folder, steps)
        loaded = self._published(folder)
        if loaded.format == "EDM pickle":
            raise UserError(
                f"{folder} is a network in EDM's format, which says neither whether it is a student nor at which "
                "noise level it starts; fix: --student-start SIGMA (80 as DMD2 trains, 2.5 as SiD does)"
            )
        if (steps or 1) not in loaded.samplers:
            raise no_such_sampler(folder, steps, loaded.samplers)
        return loaded.denoiser, loaded.samplers[steps or 1]

    def load_student_from(self, path: Path, start: float) -> tuple[Denoiser, list[int]]:
        loaded = None if (path / DESCRIPTION).is_file() else self._published(path)
        if loaded is None or loaded.format not in ("EDM pickle", "DMD2 checkpoint"):
            return super().load_student_from(path, start)
        try:
            loaded.denoiser.schedule, index = loaded.denoiser.schedule.starting_at(start)
        except ValueError as error:
            raise UserError(f"--student-start {error}; fix: name the noise level that it was trained at") from None
        return loaded.denoiser, [index]

    def _published(self, path: Path) -> LoadedDenoiser:
        """Read published weights. Raises UserError if they are the teacher's, or for images of another shape."""
        loaded = load_edm_denoiser(path)
        assert isinstance(self.teacher, EDMDenoiser)
        own, teacher = loaded.denoiser, self.teacher
        sizes = [(*one.sample_shape[:2], one.classes) for one in (own, teacher)]
        if sizes[0] != sizes[1]:
            raise UserError(
                f"{path} is a network for (channels, pixels, classes) {sizes[0]}, but task {self.task.name!r} has "
                f"{sizes[1]}; fix: name a student of this task's teacher"
            )
        if same_weights(own.network, teacher.network):
            raise teacher_itself(path)
        return loaded

    def reference_images(self) -> RealImages:
        """Return the training images, from which the task's own references are made as well."""
        pinned = self.task.pinned.data
        assert pinned is not None
        return array_images(self._packed.images, pinned.name, pinned.sha256, batch_size=32)
