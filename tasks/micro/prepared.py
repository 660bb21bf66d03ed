"""Preparation of a micro task: load the images, train or find the teacher and the feature network."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from bench.core.files import file_sha256, folder_sha256, folder_size, whole_file
from bench.core.made import made_once, reading_made
from bench.core.progress import Progress
from bench.data.images import LabelledImages
from bench.features.batch import ImageBatch
from bench.features.references.make import FeatureSpace, RealImages, array_images, kept_references
from bench.features.references.store import reference_store
from bench.features.views import Features
from bench.models.backbones.classes import ClassFamily
from bench.models.saved import save_denoiser
from bench.models.weights.state_dicts import fill, read_state_dict
from bench.task.assets import PreparedAsset, file_asset, reference_asset
from bench.task.declaration import Sources
from bench.task.images import to_unit_range
from bench.task.protocol import MAIN
from tasks.class_conditional import PreparedClassTask
from tasks.micro.classifier import accuracy, train_classifier
from tasks.micro.networks import Extraction, FeatureClassifier
from tasks.micro.task import MicroTask
from tasks.micro.teacher import load_teacher, refuse_lost, train_teacher


def prepare_micro(task: MicroTask, sources: Sources, progress: Progress) -> PreparedMicroTask:
    """Return the task with all assets, which are found or made in the cache and named by content."""
    splits = task.splits(sources, progress)
    return PreparedMicroTask(task, sources, splits.train, splits.held_out, progress)


class PreparedMicroTask(PreparedClassTask):
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
        self._held_out = held_out

        teacher_path = self._teacher()
        with reading_made("the teacher", teacher_path):
            self.teacher = load_teacher(teacher_path)
        self.null_condition = self.teacher.null_condition
        features_path = self._feature_network()
        self.extractors = {MAIN: self._extract}
        space, store = FeatureSpace(task.protocol.features, self._extract), reference_store(self.cache)
        name = task.reference_name(file_sha256(features_path))
        reference = kept_references(self.reference_images(), {"": space}, name, store, progress)[""]
        self.references = {MAIN: reference}
        self.teacher_sha256 = folder_sha256(teacher_path)
        self.weights = [
            PreparedAsset("teacher", teacher_path, self.teacher_sha256, folder_size(teacher_path)),
            file_asset("feature network", features_path),
        ]
        self.data = [
            PreparedAsset("training images", None, train.sha256, train.images.nbytes),
            PreparedAsset("held-out images", None, held_out.sha256, held_out.images.nbytes),
            reference_asset("reference features", store, reference),
        ]

    def _teacher(self) -> Path:
        path = self.task.teacher_path(self.cache)
        with made_once(path) as missing:
            if missing:
                teacher = self._train_teacher()
                refuse_lost(teacher)
                save_denoiser(teacher, path)
        return path

    def _train_teacher(self) -> ClassFamily:
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
                held_out = torch.from_numpy(self._held_out.images)
                share = accuracy(network, to_unit_range(held_out), torch.from_numpy(self._held_out.labels))
                self.progress.note(f"feature network {self.task.protocol.features}: held-out accuracy {share:.3f}")
        self.network = FeatureClassifier(self.task.image_shape, self.classes, recipe.width, recipe.features).eval()
        with reading_made("the feature network", path):
            fill(self.network, read_state_dict(path), str(path), "the feature network")
        self.network.requires_grad_(False)
        return path

    def condition_names(self, indices: Tensor, conditions: Tensor) -> list[str]:  # noqa: ARG002
        """Return the names of the samples' classes."""
        return [self.task.class_names[label] for label in conditions.tolist()]

    def reference_images(self) -> RealImages:
        """Return the held-out images."""
        return array_images(
            self._held_out.images, f"held-out images of {self.task.name}", self._held_out.sha256, 1000
        )

    @torch.no_grad()
    def _extract(self, batch: ImageBatch) -> Features:
        found: Extraction = self.network(to_unit_range(batch.images))
        if batch.conditions is None:
            return Features(found.features.numpy(), found.logits.numpy())
        is_right = (found.logits.argmax(1) == batch.conditions).numpy()
        return Features(found.features.numpy(), found.logits.numpy(), scores={"accuracy": is_right})
