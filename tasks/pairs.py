"""Pairs of noise and image that a task's teacher makes, for regression; made once, kept by content."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tasks.errors import UserError
from tasks.files import digest, made_once, whole_file
from tasks.prepared import Prepared, PreparedAsset, file_asset
from tasks.progress import Progress
from tasks.samplers import SampleNoise, baseline_sampler
from tasks.task import Baseline

PAIR_SEED = 2**31
"""First noise seed of teacher pairs, far from those of evaluation samples."""

PAIR_BATCH = 200


class PairedTeacher(Prepared):
    """A prepared task whose pairs are made by the teacher's first named sampler, an ODE's."""

    cache: Path
    progress: Progress

    @property
    def pair_sampler(self) -> Baseline:
        """The sampler that makes pairs."""
        return next(iter(self.task.baselines.values()))

    def asset_of_pairs(self, count: int) -> PreparedAsset:
        return file_asset("teacher pairs", self._pairs_path(count))

    def _pairs_path(self, count: int) -> Path:
        sampler = self.pair_sampler
        guidance = [] if sampler.guidance_scale == 1 else [sampler.guidance_scale]
        key = digest(["pairs", 1, self.teacher_sha256, sampler.steps, *guidance, count])
        return self.cache / "pairs" / f"{self.task.name}-{key[:12]}.safetensors"

    def pairs(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        path = self._pairs_path(count)
        with made_once(path) as missing:
            if missing:
                with whole_file(path) as temporary:
                    save_file(self._make_pairs(count), temporary)
        try:
            found = load_file(path)
        except SafetensorError as error:
            raise UserError(f"cannot read the teacher pairs {path}: {error}; delete it and run again") from None
        return found["noise"], found["image"], found["condition"]

    @torch.no_grad()
    def _make_pairs(self, count: int) -> dict[str, Tensor]:
        """Sample the teacher from seeded noise, keeping the noise; on the GPU if there is one."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        null = None if self.null_condition is None else self.null_condition.to(device)
        images_of = baseline_sampler(copy.deepcopy(self.teacher).to(device), null, self.pair_sampler)
        conditions = self.conditions(torch.arange(count))
        noises, images = [], []
        with self.progress.bar("teacher pairs", count) as bar:
            for start in range(0, count, PAIR_BATCH):
                chosen = conditions[start : start + PAIR_BATCH].to(device)
                seeds = [PAIR_SEED + start + i for i in range(len(chosen))]
                noises.append(SampleNoise(seeds, self.sample_shape).draw())
                images.append(images_of(SampleNoise(seeds, self.sample_shape, device), chosen).cpu())
                bar.advance(len(chosen))
        return {"noise": torch.cat(noises), "image": torch.cat(images), "condition": conditions}
