"""Preparation of a task of scenes: compose the scenes, train or find the teacher and the classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.core.files import file_sha256, folder_sha256, folder_size, whole_file, whole_folder
from bench.core.made import made_once, reading_made
from bench.core.progress import Progress
from bench.core.transfers import sent
from bench.features.batch import ImageBatch
from bench.features.references.make import FeatureSpace, RealImages, array_images, kept_references
from bench.features.references.store import reference_store
from bench.features.views import Features
from bench.models.denoiser import Denoiser
from bench.models.saved import load_denoiser, no_such_sampler, require_student, save_denoiser
from bench.models.weights.state_dicts import fill, read_state_dict
from bench.task.assets import PreparedAsset, file_asset, reference_asset
from bench.task.declaration import Sources
from bench.task.pairs import PairedTeacher
from bench.task.protocol import MAIN
from tasks.scenes.classifier import SceneClassifier, agreement, train_scene_classifier
from tasks.scenes.data import CAPTIONS, truths
from tasks.scenes.networks import FAMILIES
from tasks.scenes.task import ScenesTask
from tasks.scenes.teacher import build_encoder, to_model_space, to_pixels, train_painter

PATCH, LPIPS = "patch", "lpips"
"""The extractors of single items, and of the diversity of a caption's images."""
REFERENCES = {MAIN: "", PATCH: "-patch"}
"""Suffixes of the references' names, by the extractors that compare with real scenes."""
DENOISER, ENCODER = "denoiser", "text_encoder.safetensors"
AT_ONCE = 1000
"""Number of real images that the classifier reads together."""

M = TypeVar("M", bound=nn.Module)


class PreparedScenes(PairedTeacher):
    """A prepared task `scenes` or `scenes-flow`."""

    def __init__(self, task: ScenesTask, sources: Sources, progress: Progress) -> None:
        """Find or make every asset in the cache, named by content. Raises UserError if one is damaged."""
        self.task: ScenesTask = task
        self.cache = sources.cache
        self.progress = progress
        self.evaluation_batch = 100 * task.protocol.images_per_prompt
        self._truths = torch.from_numpy(truths())
        splits = task.splits(sources, progress)
        self._images, self._captions = torch.from_numpy(splits.train.images), torch.from_numpy(splits.train.labels)
        self._held_out = splits.held_out
        self._asked = torch.from_numpy(splits.held_out.labels)

        teacher_path, classifier_path = self._teacher(), self._classifier()
        with reading_made("the teacher", teacher_path):
            self._painter = load_denoiser(teacher_path / DENOISER, FAMILIES[type(task.network)]).denoiser
        self.teacher = self._painter
        self.encoder = self._load(build_encoder(task.network), teacher_path / ENCODER)
        self.classifier = self._load(SceneClassifier(task.classifier, task.image_shape), classifier_path)
        self._conditions = self.encoder.encode(CAPTIONS)
        self.null_condition = self.encoder.null_condition()
        self.extractors = {MAIN: self._extract_scenes, PATCH: self._extract_items, LPIPS: self._diversity}
        store = reference_store(self.cache)
        spaces = {
            suffix: FeatureSpace(task.protocol.network(name), self.extractors[name])
            for name, suffix in REFERENCES.items()
        }
        name = task.reference_name(file_sha256(classifier_path))
        made = kept_references(self.reference_images(), spaces, name, store, progress)
        self.references = {extractor: made[suffix] for extractor, suffix in REFERENCES.items()}
        self.teacher_sha256 = folder_sha256(teacher_path)
        self.weights = [
            PreparedAsset("teacher", teacher_path, self.teacher_sha256, folder_size(teacher_path)),
            file_asset("judge", classifier_path),
        ]
        self.data = [
            PreparedAsset("training scenes", None, splits.train.sha256, splits.train.images.nbytes),
            PreparedAsset("held-out scenes", None, splits.held_out.sha256, splits.held_out.images.nbytes),
            *(
                reference_asset(f"reference features, {extractor}", store, reference)
                for extractor, reference in self.references.items()
            ),
        ]

    def _teacher(self) -> Path:
        task, path = self.task, self.task.teacher_path(self.cache)
        with made_once(path) as missing:
            if missing:
                painter = train_painter(
                    self._images, self._captions, CAPTIONS, task.network, task.teacher, self.progress
                )
                with whole_folder(path) as temporary:
                    save_denoiser(painter.denoiser, temporary / DENOISER)
                    save_file(painter.encoder.state_dict(), temporary / ENCODER)
        return path

    def _classifier(self) -> Path:
        task, path = self.task, self.task.features_path(self.cache)
        with made_once(path) as missing:
            if missing:
                shown = self._truths[self._captions]
                classifier = train_scene_classifier(
                    self._images, shown, task.classifier, task.image_shape, self.progress
                )
                with whole_file(path) as temporary:
                    save_file(classifier.state_dict(), temporary)
                right = agreement(
                    classifier.read_items(torch.from_numpy(self._held_out.images))[1], self._truths[self._asked]
                )
                shares = ", ".join(f"{name} {share.float().mean():.3f}" for name, share in right.items())
                self.progress.note(f"classifier {task.protocol.features} on held-out scenes: {shares}")
        return path

    def _load(self, network: M, path: Path) -> M:
        with reading_made("the task's own network", path):
            fill(network, read_state_dict(path), str(path), "the task's own network")
        return network.eval().requires_grad_(False)

    def reference_images(self) -> RealImages:
        """Return the held-out scenes."""
        source = f"held-out scenes of {self.task.name}"
        return array_images(self._held_out.images, source, self._held_out.sha256, AT_ONCE)

    @property
    def training_conditions(self) -> int:
        """The number of all captions."""
        return len(CAPTIONS)

    @property
    def real_count(self) -> int:
        return len(self._images)

    def training_condition(self, indices: Tensor) -> Tensor:
        return self._conditions.to(indices.device)[indices]

    def real_batch(self, positions: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        images = to_model_space(sent(self._images[positions], device), self.task.network)
        return images, sent(self._conditions[self._captions[positions]], device)

    def decode(self, x0: Tensor) -> Tensor:
        return to_pixels(x0, self.task.network)

    def captions(self, indices: Tensor) -> Tensor:
        """Return the positions in `CAPTIONS` of the samples' captions, which are those of the held-out scenes."""
        return self._asked[indices.cpu() // self.task.protocol.images_per_prompt % len(self._asked)]

    def conditions(self, indices: Tensor) -> Tensor:
        return self._conditions[self.captions(indices)]

    def prompts_of(self, indices: Tensor) -> list[str]:
        """Return the captions of samples with these global indices."""
        return [CAPTIONS[place] for place in self.captions(indices).tolist()]

    def _items(self, batch: ImageBatch) -> tuple[Tensor, Tensor]:
        """Return the features of a batch's items, and the answers."""
        return batch.once("items", lambda: self.classifier.read_items(batch.images))

    def _extract_scenes(self, batch: ImageBatch) -> Features:
        features = self.classifier.scene_features(batch.images).numpy()
        if batch.indices is None:
            return Features(features)
        right = agreement(self._items(batch)[1], self._truths[self.captions(batch.indices)])
        return Features(features, scores={name: found.numpy() for name, found in right.items()})

    def _extract_items(self, batch: ImageBatch) -> Features:
        return Features(self._items(batch)[0].numpy())

    def _diversity(self, batch: ImageBatch) -> Features:
        distances = self.classifier.diversity(batch.images, self.task.protocol.images_per_prompt)
        return Features(np.zeros((len(batch), 0)), scores={"diversity": distances.numpy()})

    def save_student(self, student: Denoiser, folder: Path, indices: Sequence[int]) -> None:
        assert isinstance(student, type(self._painter))
        save_denoiser(student, folder, indices)

    def load_student(self, folder: Path, steps: int | None = None) -> tuple[Denoiser, list[int]]:
        saved = load_denoiser(folder, type(self._painter), self._painter)
        student, indices = saved.denoiser, saved.indices
        require_student(folder, indices)
        if student.layout != self._painter.layout or student.feature_shapes != self._painter.feature_shapes:
            raise UserError(
                f"{folder} is a student of another teacher than that of task {self.task.name!r}; "
                "fix: name a student of this task"
            )
        if steps not in (None, len(indices)):
            raise no_such_sampler(folder, steps, [len(indices)])
        return student, indices
