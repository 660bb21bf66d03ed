"""Preparing ImageNet: pack the images, convert the teacher, find the Inception and the reference."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tasks.data.imagenet.pack import pack
from tasks.data.imagenet.packed import open_packed
from tasks.denoiser import Denoiser, EDMDenoiser
from tasks.edm_world import EDMWorld, no_such_sampler
from tasks.errors import UserError
from tasks.features.inception import load_inception
from tasks.files import folder_sha256, folder_size, made_once, path_sha256
from tasks.imagenet import Chosen, ChosenAsset, ImageNetTask
from tasks.prepared import PreparedAsset, RealImages, Samples
from tasks.progress import Progress
from tasks.references import (
    FID_FEATURES,
    import_reference,
    load_reference,
    reference_store,
    save_reference,
)
from tasks.saved import DESCRIPTION, load_denoiser, save_denoiser
from tasks.task import Sources
from tasks.views import MAIN, Features
from tasks.weights.checkpoints import load_edm_denoiser
from tasks.weights.export import export_student

TAPS = ("pool", "logits")


def choose(task: ImageNetTask, sources: Sources, progress: Progress) -> None:
    """Bring what the user named into the cache, and write down that the task runs on it.

    What is not named stays as it was chosen before. Raises UserError for anything damaged or of another kind.
    """
    path = task.choice_path(sources.cache)
    chosen = Chosen.read(path)
    if sources.data is not None:
        chosen = replace(chosen, data=_data(task, sources.data, sources, progress))
        chosen.write(path)  # each at once: packing takes an hour, and a wrong path of the next must not cost it
    if sources.teacher is not None:
        chosen = replace(chosen, teacher=_teacher(task, sources.teacher, sources.cache))
        chosen.write(path)
    if sources.features is not None or (sources.download and chosen.features is None):
        chosen = replace(chosen, features=_features(sources, progress))
        chosen.write(path)
    if sources.reference is not None:
        chosen = replace(chosen, reference=_reference(sources.reference, sources.cache))
        chosen.write(path)


def _data(task: ImageNetTask, source: Path, sources: Sources, progress: Progress) -> ChosenAsset:
    folder = sources.cache / "data" / f"{task.name}-{sources.crop}"
    packed = pack(source, folder, sources.crop, classes=task.classes, progress=progress)
    return ChosenAsset(str(folder), packed.manifest.sha256["images.npy"], f"{len(packed)} images, {sources.crop}")


def _teacher(task: ImageNetTask, source: Path, cache: Path) -> ChosenAsset:
    """Convert published weights once; the converted folder is named by the bytes it was made from."""
    loaded = load_edm_denoiser(source, preconditioning="edm" if source.is_dir() else None)
    config = loaded.denoiser.unet.config
    found = (config.in_channels, config.sample_size, config.sample_size)
    if found != task.image_shape or config.num_class_embeds != task.classes:
        raise UserError(
            f"{source} is a network for images {list(found)} of {config.num_class_embeds} classes; task "
            f"{task.name!r} has {list(task.image_shape)} and {task.classes}"
        )
    made_of = path_sha256(loaded.source)
    folder = cache / "teachers" / f"{task.name}-{made_of[:12]}"
    with made_once(folder) as missing:
        if missing:
            save_denoiser(loaded.denoiser, folder)
    return ChosenAsset(str(folder), folder_sha256(folder), f"{source.name} ({loaded.format})")


def _features(sources: Sources, progress: Progress) -> ChosenAsset:
    inception = load_inception(
        sources.features,
        sources.cache,
        download=sources.download,
        progress=progress,
        taps=TAPS,
        own_weights=sources.own_weights,
    )
    return ChosenAsset(str(inception.path), inception.sha256, inception.name)


def _reference(named: str, cache: Path) -> ChosenAsset:
    """Import the file, or take the reference of this name."""
    store = reference_store(cache)
    path = Path(named)
    if path.is_file():
        # Of several feature networks in one file, the Inception's comes first.
        statistics = import_reference(path, path.stem)[0]
        folder = save_reference(statistics, store)
    else:
        statistics = load_reference(store, named)
        folder = store / named
    about = statistics.description
    return ChosenAsset(str(folder), about.sha256, about.name)


def prepare_imagenet(task: ImageNetTask, sources: Sources, progress: Progress) -> ImageNetWorld:
    """Open everything that was chosen. Raises UserError that says what is missing and how to get it."""
    missing = [need for need in task.needs(sources) if need.path is None]
    if missing:
        lines = "".join(f"\n  {need.role}: {need.mend}" for need in missing)
        raise UserError(f"task {task.name!r} is not prepared; missing:{lines}")
    return ImageNetWorld(task, sources.cache, progress)


class ImageNetWorld(EDMWorld):
    """A prepared ImageNet task."""

    def __init__(self, task: ImageNetTask, cache: Path, progress: Progress) -> None:
        chosen = task.chosen
        assert chosen.data and chosen.teacher and chosen.features and chosen.reference
        self.task: ImageNetTask = task
        self.cache = cache
        self.progress = progress
        self.classes = task.classes

        packed = open_packed(Path(chosen.data.path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the images are mapped read-only, and nothing writes
            self.real_images = torch.from_numpy(np.asarray(packed.images))
        self.real_conditions = torch.from_numpy(packed.labels)
        self.teacher = load_denoiser(Path(chosen.teacher.path)).denoiser
        self.teacher_sha256 = chosen.teacher.sha256
        self.teacher_name = chosen.teacher.name
        self.inception = load_inception(
            Path(chosen.features.path),
            cache,
            download=False,
            progress=progress,
            taps=TAPS,
            device="cuda" if torch.cuda.is_available() else "cpu",
            own_weights=chosen.features.name != FID_FEATURES,
        )
        reference = load_reference(reference_store(cache), chosen.reference.name)
        self.references = {MAIN: RealImages(reference, chosen.reference.sha256)}
        about = reference.description
        if about.features != self.inception.name:
            raise UserError(
                f"the reference {about.name!r} was made with {about.features}, and the feature network is "
                f"{self.inception.name}: their distance means nothing; choose a reference of the same network"
            )
        found = {
            "teacher": folder_sha256(Path(chosen.teacher.path)),
            "features": self.inception.sha256,
            "reference": about.sha256,
            "data": packed.manifest.sha256["images.npy"],
        }
        assets = {role: _checked(role, getattr(chosen, role), sha256) for role, sha256 in found.items()}
        self.weights = [assets["teacher"], assets["features"]]
        self.data = [assets["data"], assets["reference"]]

    def save_student(self, student: Denoiser, folder: Path, indices: Sequence[int]) -> None:
        """Save it with a card that says how to use it with diffusers alone."""
        assert isinstance(student, EDMDenoiser)
        title = f"Student for {self.task.name}, distilled from {self.teacher_name}"
        export_student(student, folder, indices, title, f"that of the teacher: {self.task.licences['teacher']}")

    def load_student(self, folder: Path, steps: int | None = None) -> tuple[Denoiser, list[int]]:
        """Read one of ours, or published weights: DMD2's one-step students, consistency models."""
        if (folder / DESCRIPTION).is_file():
            return super().load_student(folder, steps)
        loaded = load_edm_denoiser(folder)
        if (steps or 1) not in loaded.samplers:
            raise no_such_sampler(folder, steps, loaded.samplers)
        return loaded.denoiser, loaded.samplers[steps or 1]

    @torch.no_grad()
    def extract(self, samples: Samples, views: Collection[str]) -> dict[str, Features]:  # noqa: ARG002 (one only)
        found = self.inception(samples.images)
        return {MAIN: Features(found["pool"].numpy(), found["logits"].numpy())}


def _checked(role: str, asset: ChosenAsset, found: str) -> PreparedAsset:
    """What was chosen, as numbers depend on it. Raises UserError if its bytes are others by now."""
    path = Path(asset.path)
    if found != asset.sha256:
        raise UserError(f"{path} has changed since it was chosen; mend: bench prepare --{role} again")
    return PreparedAsset(role, path, found, folder_size(path))
