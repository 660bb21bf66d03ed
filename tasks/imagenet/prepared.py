"""Preparing ImageNet: pack the images, convert the teacher, find the Inception and the reference."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.core.device import this_device
from bench.core.errors import UserError
from bench.core.files import folder_sha256, path_sha256
from bench.core.locks import made_once
from bench.core.progress import Progress
from bench.data.imagenet.pack import pack
from bench.data.imagenet.packed import open_packed
from bench.features.batch import ImageBatch
from bench.features.dinov2 import load_dinov2
from bench.features.files import TRUNKS
from bench.features.inception import load_inception
from bench.features.names import FID_FEATURES
from bench.features.reference_sources import import_reference
from bench.features.reference_store import ReferenceStatistics, load_reference, reference_store, save_reference
from bench.features.references import RealImages, array_images
from bench.features.views import Features
from bench.features.weights import find_weights
from bench.models.backbones.edm import EDMDenoiser
from bench.models.denoiser import Denoiser
from bench.models.descriptions import DESCRIPTION
from bench.models.saved import load_denoiser, no_such_sampler, save_denoiser
from bench.models.weights.checkpoints import LoadedDenoiser, load_edm_denoiser
from bench.models.weights.export import export_student
from bench.task.declaration import Sources
from bench.task.protocol import MAIN
from bench.task.verified import verified, verified_reference
from tasks.edm_prepared import PreparedEDMTask
from tasks.imagenet.task import ImageNetTask, PinnedAsset, PinnedImageNet, spatial_of

TAPS = ("pool", "logits")


def pin(task: ImageNetTask, sources: Sources, progress: Progress) -> None:
    """Bring what the user named into the cache, and write down that the task runs on it.

    What is not named stays as it was chosen before. Raises UserError for anything damaged or of another kind.
    """
    path = task.pinned_path(sources.cache)
    chosen = PinnedImageNet.read(path)
    if sources.data is not None:
        chosen = replace(chosen, data=_data(task, sources.data, sources, progress))
        chosen.write(path)  # each at once: packing takes an hour, and a wrong path of the next must not cost it
    if sources.teacher is not None:
        chosen = replace(chosen, teacher=_teacher(task, sources.teacher, sources.cache))
        chosen.write(path)
    if "inception" in sources.weights or (sources.download and chosen.features is None):
        chosen = replace(chosen, features=_features(sources, progress))
        chosen.write(path)
    for named in sources.references:
        chosen = replace(chosen, **_references(named, sources.cache))
        chosen.write(path)
    if "dinov2" in sources.weights:
        dinov2 = load_dinov2(sources.weights["dinov2"])
        chosen = replace(chosen, dinov2=PinnedAsset(str(dinov2.path.resolve()), dinov2.sha256, dinov2.name))
        chosen.write(path)
    if "lpips" in sources.weights:
        path_of = sources.weights["lpips"]
        trunk = find_weights(TRUNKS["vgg"], path_of, sources.cache, download=False, progress=progress)
        own = f"LPIPS's VGG16, weights {trunk.sha256[:12]}"
        chosen = replace(chosen, lpips=PinnedAsset(str(trunk.path.resolve()), trunk.sha256, own))
        chosen.write(path)


def _data(task: ImageNetTask, source: Path, sources: Sources, progress: Progress) -> PinnedAsset:
    folder = sources.cache / "data" / f"{task.name}-{sources.crop}"
    packed = pack(source, folder, sources.crop, classes=task.classes, progress=progress)
    return PinnedAsset(str(folder), packed.manifest.sha256["images.npy"], f"{len(packed)} images, {sources.crop}")


def _teacher(task: ImageNetTask, source: Path, cache: Path) -> PinnedAsset:
    """Convert published weights once; the converted folder is named by the bytes it was made from."""
    loaded = load_edm_denoiser(source, preconditioning="edm" if source.is_dir() else None)
    found, classes = loaded.denoiser.sample_shape, loaded.denoiser.classes
    if found != task.image_shape or classes != task.classes:
        raise UserError(
            f"{source} is a network for images {list(found)} of {classes} classes; task "
            f"{task.name!r} has {list(task.image_shape)} and {task.classes}"
        )
    made_of = path_sha256(loaded.source)
    folder = cache / "teachers" / f"{task.name}-{made_of[:12]}"
    with made_once(folder) as missing:
        if missing:
            save_denoiser(loaded.denoiser, folder)
    return PinnedAsset(str(folder), folder_sha256(folder), f"{source.name} ({loaded.format})")


def _features(sources: Sources, progress: Progress) -> PinnedAsset:
    inception = load_inception(
        sources.weights.get("inception"),
        sources.cache,
        download=sources.download,
        progress=progress,
        taps=TAPS,
        own_weights=sources.own_weights,
    )
    return PinnedAsset(str(inception.path), inception.sha256, inception.name)


def _references(named: str, cache: Path) -> dict[str, PinnedAsset]:
    """Import the file, or take the reference of this name; by the role that its features give it."""
    store = reference_store(cache)
    path = Path(named)
    if path.is_file():
        found = import_reference(path, path.stem)
        folders = [save_reference(statistics, store) for statistics in found]
    else:
        found, folders = [load_reference(store, named)], [store / named]
    return {
        _role(statistics.description.features): PinnedAsset(
            str(folder), statistics.description.sha256, statistics.description.name, statistics.description.kept
        )
        for statistics, folder in zip(found, folders, strict=True)
    }


def _role(features: str) -> str:
    if features.startswith("dinov2-"):
        return "dinov2_reference"
    return "spatial" if features.endswith(spatial_of("")) else "reference"


def prepare_imagenet(task: ImageNetTask, sources: Sources, progress: Progress) -> PreparedImageNet:
    """Open everything that was chosen. Raises UserError that says what is missing and how to get it."""
    task.require(sources)
    return PreparedImageNet(task, sources.cache, progress)


class PreparedImageNet(PreparedEDMTask):
    """A prepared ImageNet task."""

    def __init__(self, task: ImageNetTask, cache: Path, progress: Progress) -> None:
        chosen = task.chosen
        assert chosen.data and chosen.teacher and chosen.features and chosen.reference
        self.task: ImageNetTask = task
        self.cache = cache
        self.progress = progress
        self.classes = task.classes

        packed = self._packed = open_packed(Path(chosen.data.path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the images are mapped read-only, and nothing writes
            self.real_images = torch.from_numpy(np.asarray(packed.images))
        self.real_conditions = torch.from_numpy(packed.labels)
        self.teacher = load_denoiser(Path(chosen.teacher.path), EDMDenoiser).denoiser
        self.teacher_sha256 = chosen.teacher.sha256
        self.teacher_name = chosen.teacher.name
        on = this_device()
        self.inception = load_inception(
            Path(chosen.features.path),
            cache,
            download=False,
            progress=progress,
            taps=(*TAPS, "spatial") if chosen.spatial else TAPS,
            device=on,
            own_weights=chosen.features.name != FID_FEATURES,
        )
        self.weights = [
            verified("teacher", chosen.teacher, folder_sha256(Path(chosen.teacher.path))),
            verified("features", chosen.features, self.inception.sha256),
        ]
        self.data = [verified("data", chosen.data, packed.manifest.sha256["images.npy"])]
        self.references = {MAIN: self._real("reference", self.inception.name)}
        if "spatial" in chosen.further_extractors:
            self.references["spatial"] = self._real("spatial", spatial_of(self.inception.name))
        if "dinov2" in chosen.further_extractors:
            assert chosen.dinov2
            self.dinov2 = load_dinov2(Path(chosen.dinov2.path), on)
            self.weights.append(verified("dinov2", chosen.dinov2, self.dinov2.sha256))
            self.references["dinov2"] = self._real("dinov2_reference", self.dinov2.name)
        known = {MAIN: self._extract_pool, "spatial": self._extract_spatial, "dinov2": self._extract_dinov2}
        self.extractors = {name: known[name] for name in self.references}

    def _real(self, role: str, network: str) -> ReferenceStatistics:
        """Load the reference of a role, which must have been made with this network."""
        asset: PinnedAsset = getattr(self.task.chosen, role)
        real, verified_asset = verified_reference(role, asset, self.cache, network, "--reference")
        self.data.append(verified_asset)
        return real

    def lpips_trunk(self) -> Path | None:
        return None if self.task.chosen.lpips is None else Path(self.task.chosen.lpips.path)

    def save_student(self, student: Denoiser, folder: Path, indices: Sequence[int]) -> None:
        """Save it with a card that says how to use it with diffusers alone."""
        assert isinstance(student, EDMDenoiser)
        title = f"Student for {self.task.name}, distilled from {self.teacher_name}"
        export_student(student, folder, indices, title, f"that of the teacher: {self.task.licences['teacher']}")

    def load_student(self, folder: Path, steps: int | None = None) -> tuple[Denoiser, list[int]]:
        """Read one of ours, or published weights: DMD2's one-step students, consistency models."""
        if (folder / DESCRIPTION).is_file():
            return super().load_student(folder, steps)
        loaded = self._published(folder)
        if loaded.format == "EDM pickle":
            raise UserError(
                f"{folder} is a network in EDM's format, and nothing in it says whether it is a student or at "
                "which noise level that starts; fix: --student-start SIGMA (80 as DMD2 trains, 2.5 as SiD does)"
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
        """Read published weights. Raises UserError if they are the teacher's, or of images of another kind."""
        loaded = load_edm_denoiser(path)
        assert isinstance(self.teacher, EDMDenoiser)
        own, teacher = loaded.denoiser, self.teacher
        sizes = [(*one.sample_shape[:2], one.classes) for one in (own, teacher)]
        if sizes[0] != sizes[1]:
            raise UserError(
                f"{path} is a network for (channels, pixels, classes) {sizes[0]}, and task {self.task.name!r} has "
                f"{sizes[1]}; fix: name a student of this task's teacher"
            )
        weights, found = teacher.network.state_dict(), own.network.state_dict()
        if all(name in weights and torch.equal(value, weights[name]) for name, value in found.items()):
            raise UserError(f"{path} is the teacher itself, and no student; fix: evaluate it with --sampler")
        return loaded

    def reference_images(self) -> RealImages:
        """Return the training images, which the task's own references are of, too."""
        chosen = self.task.chosen.data
        assert chosen is not None
        return array_images(self._packed.images, chosen.name, chosen.sha256, batch_size=32)

    def _tapped(self, batch: ImageBatch) -> dict[str, Tensor]:
        """Return all the Inception's taps, of one pass."""
        return batch.once("inception", lambda: self.inception(batch.images))

    @torch.no_grad()
    def _extract_pool(self, batch: ImageBatch) -> Features:
        found = self._tapped(batch)
        return Features(found["pool"].numpy(), found["logits"].numpy())

    @torch.no_grad()
    def _extract_spatial(self, batch: ImageBatch) -> Features:
        return Features(self._tapped(batch)["spatial"].numpy())

    @torch.no_grad()
    def _extract_dinov2(self, batch: ImageBatch) -> Features:
        return Features(self.dinov2(batch.images).numpy())
