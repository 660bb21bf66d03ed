"""Preparing the micro world with captions: compose the scenes, train or find the teacher and the judge."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.core.files import file_sha256, folder_sha256, folder_size, made_once, whole_file, whole_folder
from bench.core.progress import Progress
from bench.features.views import Features
from bench.models.backbones.stable_diffusion import StableDiffusionDenoiser
from bench.models.denoiser import Denoiser
from bench.models.saved import load_denoiser, no_such_sampler, require_student, save_denoiser
from bench.models.weights.state_dicts import fill, read_state_dict
from bench.task.base import Sources
from bench.task.pairs import PairedTeacher
from bench.task.prepared import PreparedAsset, RealImages, Samples, file_asset
from bench.task.protocol import MAIN
from tasks.scenes.data import CAPTIONS, truths
from tasks.scenes.judge import Judge, agreement, train_judge
from tasks.scenes.task import ScenesTask
from tasks.scenes.teacher import build_encoder, to_model_space, to_pixels, train_painter

PATCH, LPIPS = "patch", "lpips"
"""The views of single items, and of pairs of a caption's images."""
DENOISER, ENCODER = "denoiser", "text_encoder.safetensors"
AT_ONCE = 1000
"""Real images that the judge sees at once."""

M = TypeVar("M", bound=nn.Module)


class PreparedScenes(PairedTeacher):
    """A prepared task `scenes`."""

    views: Collection[str] = (MAIN, PATCH, LPIPS)

    def __init__(self, task: ScenesTask, sources: Sources, progress: Progress) -> None:
        """Find or make every asset, in the cache, named by content. Raises UserError."""
        self.task: ScenesTask = task
        self.cache = sources.cache
        self.progress = progress
        self.evaluation_batch = 100 * task.protocol.images_per_prompt
        self._truths = torch.from_numpy(truths())
        splits = task.splits(sources, progress)
        self._images, self._captions = torch.from_numpy(splits.train.images), torch.from_numpy(splits.train.labels)
        self._held_out = torch.from_numpy(splits.held_out.images)
        self._asked = torch.from_numpy(splits.held_out.labels)

        teacher_path, judge_path = self._teacher(), self._judge()
        self._painter = load_denoiser(teacher_path / DENOISER, StableDiffusionDenoiser).denoiser
        self.teacher = self._painter
        self.encoder = self._load(build_encoder(task.network), teacher_path / ENCODER)
        self.judge = self._load(Judge(task.classifier, task.image_shape), judge_path)
        self._conditions = self.encoder.encode(CAPTIONS)
        self.null_condition = self.encoder.null_condition()
        paths = self._references(file_sha256(judge_path))
        self.references = {
            view: RealImages(self._features(path), file_sha256(path)) for view, path in paths.items()
        }
        self.teacher_sha256 = folder_sha256(teacher_path)
        self.weights = [
            PreparedAsset("teacher", teacher_path, self.teacher_sha256, folder_size(teacher_path)),
            file_asset("judge", judge_path),
        ]
        self.data = [
            PreparedAsset("training scenes", None, splits.train.sha256, splits.train.images.nbytes),
            PreparedAsset("held-out scenes", None, splits.held_out.sha256, splits.held_out.images.nbytes),
            *(file_asset(f"reference features, {view}", path) for view, path in paths.items()),
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

    def _judge(self) -> Path:
        task, path = self.task, self.task.features_path(self.cache)
        with made_once(path) as missing:
            if missing:
                shown = self._truths[self._captions]
                judge = train_judge(self._images, shown, task.classifier, task.image_shape, self.progress)
                with whole_file(path) as temporary:
                    save_file(judge.state_dict(), temporary)
                right = agreement(judge.see_items(self._held_out)[1], self._truths[self._asked])
                shares = ", ".join(f"{name} {share.float().mean():.3f}" for name, share in right.items())
                self.progress.note(f"judge {task.protocol.features} of held-out scenes: {shares}")
        return path

    def _load(self, network: M, path: Path) -> M:
        try:
            fill(network, read_state_dict(path), str(path), "the task's own network")
        except UserError as error:
            what, again = str(error).partition("; fix:")[0], f"rm {shlex.quote(str(path))}, and run again"
            raise UserError(f"cannot read {path}: {what}; fix: {again}") from None
        return network.eval().requires_grad_(False)

    def _references(self, judge_sha256: str) -> dict[str, Path]:
        """Find or make what the judge's networks see in the held-out scenes: a file for each view."""
        key, folder = self.task.reference_key(judge_sha256), self.cache / "references"
        parts = self._held_out.split(AT_ONCE)
        sights = {MAIN: self.judge.see_scenes, PATCH: lambda images: self.judge.see_items(images)[0]}
        paths = {view: folder / f"{self.task.name}-{view}-{key[:12]}.npy" for view in sights}
        for view, path in paths.items():
            if not path.exists():
                rows = torch.cat([sights[view](part) for part in parts]).numpy()
                with whole_file(path) as temporary, temporary.open("wb") as file:
                    np.save(file, rows, allow_pickle=False)
        return paths

    def _features(self, path: Path) -> np.ndarray:
        try:
            found: np.ndarray = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise UserError(f"cannot read the reference {path}: {error}; delete it and run again") from None
        return found

    @property
    def training_conditions(self) -> int:
        """Every caption that there is."""
        return len(CAPTIONS)

    @property
    def real_count(self) -> int:
        return len(self._images)

    def training_condition(self, chosen: Tensor) -> Tensor:
        return self._conditions.to(chosen.device)[chosen]

    def real_batch(self, positions: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        images = to_model_space(self._images[positions].to(device), self.task.network)
        return images, self._conditions[self._captions[positions]].to(device)

    def decode(self, x0: Tensor) -> Tensor:
        return to_pixels(x0, self.task.network)

    def captions(self, indices: Tensor) -> Tensor:
        """Positions in `CAPTIONS` of the samples' captions: those of the held-out scenes, in their order."""
        return self._asked[indices.cpu() // self.task.protocol.images_per_prompt % len(self._asked)]

    def conditions(self, indices: Tensor) -> Tensor:
        return self._conditions[self.captions(indices)]

    def extract(self, samples: Samples, views: Collection[str]) -> dict[str, Features]:
        images, seen = samples.images, dict[str, Features]()
        items, read = self.judge.see_items(images)
        if MAIN in views:
            right = agreement(read, self._truths[self.captions(samples.indices)])
            scores = {name: found.numpy() for name, found in right.items()}
            seen[MAIN] = Features(self.judge.see_scenes(images).numpy(), scores=scores)
        if PATCH in views:
            seen[PATCH] = Features(items.numpy())
        if LPIPS in views:
            apart = self.judge.diversity(images, self.task.protocol.images_per_prompt)
            seen[LPIPS] = Features(np.zeros((len(images), 0)), scores={"diversity": apart.numpy()})
        return seen

    def save_student(self, student: Denoiser, folder: Path, indices: Sequence[int]) -> None:
        assert isinstance(student, StableDiffusionDenoiser)
        save_denoiser(student, folder, indices)

    def load_student(self, folder: Path, steps: int | None = None) -> tuple[Denoiser, list[int]]:
        saved = load_denoiser(folder, StableDiffusionDenoiser, self._painter)
        student, indices = saved.denoiser, saved.indices
        require_student(folder, indices)
        if student.layout != self._painter.layout or student.feature_shapes != self._painter.feature_shapes:
            raise UserError(f"{folder} is a student of another teacher than that of task {self.task.name!r}")
        if steps not in (None, len(indices)):
            raise no_such_sampler(folder, steps, [len(indices)])
        return student, indices
