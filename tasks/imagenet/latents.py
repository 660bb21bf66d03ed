"""Preparation of ImageNet in latents: the VAE, the transformer, and the images that the VAE encodes."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from bench.core.device import this_device
from bench.core.errors import UserError
from bench.core.files import digest, folder_sha256
from bench.core.path_names import path_name
from bench.core.progress import Progress
from bench.core.transfers import sent
from bench.data.imagenet.classes import ClassImages
from bench.data.imagenet.detect import open_source
from bench.data.text.latents import pack_latents
from bench.data.text.packed import open_latents
from bench.models.backbones.dit import DiTDenoiser, SiTDenoiser
from bench.models.saved import load_denoiser
from bench.models.text.latents import LatentSpace
from bench.models.weights.class_transformers import load_class_transformer
from bench.models.weights.folders import load_network, unknown_options
from bench.task.declaration import Sources
from bench.task.verified import verified
from tasks.imagenet.measures import MeasuredImageNet, pin_measures
from tasks.imagenet.task import VAE, LatentImageNetTask, PinnedAsset, PinnedImageNet
from tasks.imagenet.teachers import pinned_teacher

CROP = "adm"
"""The rule by which DiT and SiT crop their training images."""
FAMILIES = {"sit": SiTDenoiser, "dit": DiTDenoiser}
VAE_FILES = ("config.json", "*.safetensors")
"""The files of a VAE's folder that are read."""


def pin(task: LatentImageNetTask, sources: Sources, progress: Progress) -> None:
    """Bring the assets that the user named into the cache, and pin them for the task.

    All other assets stay pinned as before. Raises UserError if one is damaged or of another kind.
    """
    path = task.pinned_path(sources.cache)
    pinned = PinnedImageNet.read(path)
    vae = sources.weights.get(VAE)
    if vae is None and sources.teacher is not None and (sources.teacher / VAE).is_dir():
        vae = sources.teacher / VAE
    teacher = None
    if sources.teacher is not None:
        teacher = _teacher(task, sources.teacher, sources.cache, progress)
    if vae is not None:  # after the teacher was read: the VAE of a pipeline that is refused is not pinned
        pinned = pinned.pin(path, vae=_vae(vae, progress))
    if teacher is not None:
        pinned = pinned.pin(path, teacher=teacher)
    if sources.data is not None:
        pinned = pinned.pin(
            path,
            data=_data(task, sources.data, pinned.vae, sources.cache, progress),
            # at once: encoding takes hours, which a wrong next path must not waste
        )
    pin_measures(sources, pinned, path, progress)


def _vae(folder: Path, progress: Progress) -> PinnedAsset:
    load_network(AutoencoderKL, folder)  # check that all of it loads
    for line in unknown_options(folder):
        progress.note(line)
    return PinnedAsset(str(folder.resolve()), folder_sha256(folder, VAE_FILES), path_name(folder))


def _teacher(task: LatentImageNetTask, source: Path, cache: Path, progress: Progress) -> PinnedAsset:
    loaded = load_class_transformer(source, task.teacher_family)
    if loaded.denoiser.classes != task.classes:
        raise UserError(
            f"{source} is a network for {loaded.denoiser.classes} classes, but task {task.name!r} has "
            f"{task.classes}; fix: name another teacher"
        )
    return pinned_teacher(task.name, loaded, source, cache, progress)


def _data(
    task: LatentImageNetTask, path: Path, vae: PinnedAsset | None, cache: Path, progress: Progress
) -> PinnedAsset:
    """Encode the images with the mean of the VAE's posterior."""
    if vae is None:
        raise UserError(f"the VAE encodes images, and none is pinned; fix: {task.required[VAE][1]}, before --data")
    space = _space(vae)
    on = this_device()
    progress.note(f"listing the images in {path}")
    with open_source(path) as opened:
        source = ClassImages(opened, task.classes)
        folder = cache / "data" / f"{task.name}-{source.index_sha256[:12]}-{vae.sha256[:12]}"
        space.to(on)
        packed = pack_latents(
            source,
            folder,
            lambda images: space.encode(images.to(on)),
            resolution=task.image_shape[1],
            scaling=float(space.vae.config.scaling_factor),
            vae_sha256=vae.sha256,
            crop=CROP,
            progress=progress,
        )
    return PinnedAsset(str(folder), digest(packed.manifest.sha256), f"{len(packed)} latents of {path.name}")


def _space(vae: PinnedAsset) -> LatentSpace:
    return LatentSpace(load_network(AutoencoderKL, Path(vae.path)))


def prepare_imagenet(task: LatentImageNetTask, sources: Sources, progress: Progress) -> PreparedLatentImageNet:
    """Open all pinned assets. Raises UserError, with the fixes, if some are missing."""
    task.require(sources)
    return PreparedLatentImageNet(task, sources.cache, progress)


class PreparedLatentImageNet(MeasuredImageNet):
    """A prepared ImageNet task whose networks run on latents."""

    task: LatentImageNetTask
    evaluation_batch = 50
    pair_batch = 50

    def open_teacher(self, pinned: PinnedImageNet) -> None:
        """Open the VAE and the teacher. Raises UserError unless the teacher is for the VAE's latents of images."""
        assert pinned.vae and pinned.teacher
        task = self.task
        self.space = _space(pinned.vae)
        teacher = load_denoiser(Path(pinned.teacher.path), FAMILIES[task.teacher_family]).denoiser
        self.teacher, self.null_condition = teacher, teacher.null_condition
        self.teacher_sha256 = pinned.teacher.sha256
        if teacher.sample_shape != self.sample_shape:
            raise UserError(
                f"the teacher {pinned.teacher.name} is for latents {list(teacher.sample_shape)}, but the VAE "
                f"{pinned.vae.name} makes {list(self.sample_shape)} of images of {task.image_shape[1]} "
                f"pixels; fix: bench prepare {task.called} --teacher FILE, or --weights vae=FOLDER"
            )
        self.weights = [
            verified("teacher", pinned.teacher, folder_sha256(Path(pinned.teacher.path))),
            verified(VAE, pinned.vae, folder_sha256(Path(pinned.vae.path), VAE_FILES)),
        ]

    def open_data(self, pinned: PinnedImageNet) -> None:
        """Open the latents of the training images. Raises UserError unless the pinned VAE made them."""
        assert pinned.vae and pinned.data
        latents = self._latents = open_latents(Path(pinned.data.path))
        manifest = latents.manifest
        if (manifest.shape, manifest.encoding.vae_sha256) != (self.sample_shape, pinned.vae.sha256):
            raise UserError(
                f"another VAE than the pinned one, {pinned.vae.name}, made the latents of {manifest.source.name}; "
                f"fix: bench prepare {self.task.called} --data PATH"
            )
        self.real_conditions = torch.tensor([int(label) for label in latents.captions])
        self.data = [verified("data", pinned.data, digest(manifest.sha256), manifest.altered)]

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        return self.space.shape(self.task.image_shape[1])

    def decode(self, x0: Tensor) -> Tensor:
        return self.space.to(x0.device).decode(x0)

    @property
    def real_count(self) -> int:
        return len(self._latents)

    def real_batch(self, positions: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        return sent(self._latents.gather(positions), device), sent(self.real_conditions[positions], device)
