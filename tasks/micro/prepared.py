"""Preparing a micro task: load the images, train or find the teacher and the feature network."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from bench.core.errors import UserError
from bench.core.files import file_sha256, folder_sha256, folder_size, made_once, whole_file
from bench.core.progress import Progress
from bench.data.images import LabelledImages
from bench.features.views import Features
from bench.models.backbones.edm import EDMDenoiser
from bench.models.saved import load_denoiser, save_denoiser
from bench.models.weights.state_dicts import fill, read_state_dict
from bench.task.base import Sources
from bench.task.prepared import PreparedAsset, RealImages, Samples, file_asset, to_unit_range
from bench.task.protocol import MAIN
from tasks.edm_prepared import PreparedEDMTask
from tasks.micro.classifier import accuracy, train_classifier
from tasks.micro.networks import Extraction, FeatureClassifier
from tasks.micro.task import MicroTask
from tasks.micro.teacher import train_teacher


def prepare_micro(task: MicroTask, sources: Sources, progress: Progress) -> PreparedMicroTask:
    """Find or make every asset of a micro task, in the cache, named by content."""
    splits = task.splits(sources, progress)
    return PreparedMicroTask(task, sources, splits.train, splits.held_out, progress)


class PreparedMicroTask(PreparedEDMTask):
    """A prepared micro task."""

    def __init__(
        self,
        task: MicroTask,
        sources: Sources,
        train: LabelledImages,
        held_out: LabelledImages,
        progress: Progress,
    ) -> None:
        self.task: MicroTask = task
        self.cache = sources.cache
        self.progress = progress
        self.classes = len(task.class_names)
        self.real_images = torch.from_numpy(train.images)
        self.real_conditions = torch.from_numpy(train.labels)
        self._held_out = torch.from_numpy(held_out.images)
        self._held_out_labels = torch.from_numpy(held_out.labels)

        teacher_path = self._teacher()
        self.teacher = load_denoiser(teacher_path, EDMDenoiser).denoiser
        features_path = self._feature_network()
        reference, reference_path = self._reference(file_sha256(features_path))
        self.references = {MAIN: RealImages(reference, file_sha256(reference_path))}
        self.teacher_sha256 = folder_sha256(teacher_path)
        self.weights = [
            PreparedAsset("teacher", teacher_path, self.teacher_sha256, folder_size(teacher_path)),
            file_asset("feature network", features_path),
        ]
        self.data = [
            PreparedAsset("training images", None, train.sha256, train.images.nbytes),
            PreparedAsset("held-out images", None, held_out.sha256, held_out.images.nbytes),
            file_asset("reference features", reference_path),
        ]

    def _teacher(self) -> Path:
        path = self.task.teacher_path(self.cache)
        with made_once(path) as missing:
            if missing:
                save_denoiser(self._train_teacher(), path)
        return path

    def _train_teacher(self) -> EDMDenoiser:
        task, images = self.task, to_unit_range(self.real_images)
        return train_teacher(images, self.real_conditions, self.classes, task.network, task.teacher, self.progress)

    def _feature_network(self) -> Path:
        path = self.task.features_path(self.cache)
        recipe = self.task.classifier
        with made_once(path) as missing:
            if missing:
                images = to_unit_range(self.real_images)
                network = train_classifier(images, self.real_conditions, self.classes, recipe, self.progress)
                with whole_file(path) as temporary:
                    save_file(network.state_dict(), temporary)
                share = accuracy(network, to_unit_range(self._held_out), self._held_out_labels)
                self.progress.note(f"feature network {self.task.protocol.features}: held-out accuracy {share:.3f}")
        self.network = FeatureClassifier(self.task.image_shape, self.classes, recipe.width, recipe.features).eval()
        try:
            fill(self.network, read_state_dict(path), str(path), "the feature network")
        except UserError as error:
            what, again = str(error).partition("; fix:")[0], f"rm {shlex.quote(str(path))}, and run again"
            raise UserError(f"cannot read the feature network {path}: {what}; fix: {again}") from None
        self.network.requires_grad_(False)
        return path

    def _reference(self, features_sha256: str) -> tuple[np.ndarray, Path]:
        key = self.task.reference_key(features_sha256)
        path = self.cache / "references" / f"{self.task.name}-{key[:12]}.npy"
        if not path.exists():
            features = np.concatenate([self._see(part).features.numpy() for part in self._held_out.split(1000)])
            with whole_file(path) as temporary, temporary.open("wb") as file:
                np.save(file, features, allow_pickle=False)
        try:
            return np.load(path, allow_pickle=False), path
        except (ValueError, EOFError, OSError) as error:
            raise UserError(f"cannot read the reference {path}: {error}; delete it and run again") from None

    @torch.no_grad()
    def _see(self, images: Tensor) -> Extraction:
        seen: Extraction = self.network(to_unit_range(images))
        return seen

    def extract(self, samples: Samples, views: Collection[str]) -> dict[str, Features]:  # noqa: ARG002 (one only)
        seen = self._see(samples.images)
        accuracy = (seen.logits.argmax(1) == samples.conditions).numpy()
        return {MAIN: Features(seen.features.numpy(), scores={"accuracy": accuracy})}
