"""What class-conditional tasks with an EDM teacher share: students on disk, conditions, teacher pairs."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tasks.denoiser import Denoiser, EDMDenoiser
from tasks.errors import UserError
from tasks.files import digest, made_once, whole_file
from tasks.prepared import Prepared, PreparedAsset, file_asset, to_unit_range
from tasks.progress import Progress
from tasks.samplers import SampleNoise, heun
from tasks.saved import load_denoiser, save_denoiser

PAIR_SEED = 2**31
"""First noise seed of teacher pairs, far from those of evaluation samples."""

PAIR_BATCH = 200


def no_such_sampler(student: Path, steps: int | None, known: Iterable[int]) -> UserError:
    """Build the error for a number of steps that a student has no sampler of."""
    return UserError(f"{student} has no sampler of {steps} steps; --steps takes {' or '.join(map(str, known))}")


class EDMWorld(Prepared):
    """A prepared class-conditional task whose teacher is an EDM denoiser without a null class."""

    null_condition = None
    cache: Path
    progress: Progress
    classes: int
    real_images: Tensor
    """The training images as uint8 [N, C, H, W]."""
    real_conditions: Tensor
    """Their classes [N]."""

    @property
    def training_conditions(self) -> int:
        """The classes."""
        return self.classes

    @property
    def real_count(self) -> int:
        return len(self.real_images)

    def training_condition(self, chosen: Tensor) -> Tensor:
        return chosen

    def real_batch(self, positions: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        # Bytes travel to the device, not floats.
        return to_unit_range(self.real_images[positions].to(device)), self.real_conditions[positions].to(device)

    def save_student(self, student: Denoiser, folder: Path, indices: Sequence[int]) -> None:
        assert isinstance(student, EDMDenoiser)
        save_denoiser(student, folder, indices)

    def load_student(self, folder: Path, steps: int | None = None) -> tuple[Denoiser, list[int]]:
        saved = load_denoiser(folder)
        if not saved.indices:
            raise UserError(f"{folder} is a many-step denoiser, not a student; for the teacher use --sampler")
        size = saved.denoiser.unet.config.sample_size * saved.denoiser.patch_size
        if size != self.task.image_shape[1]:
            raise UserError(
                f"{folder} makes images of {size}x{size}, task {self.task.name!r} has "
                f"{self.task.image_shape[1]}x{self.task.image_shape[2]}"
            )
        if steps not in (None, len(saved.indices)):
            raise no_such_sampler(folder, steps, [len(saved.indices)])
        return saved.denoiser, saved.indices

    def conditions(self, indices: Tensor) -> Tensor:
        """Balanced classes: sample i has class i mod the number of classes."""
        return indices % self.classes

    def asset_of_pairs(self, count: int) -> PreparedAsset:
        return file_asset("teacher pairs", self._pairs_path(count))

    def _pairs_path(self, count: int) -> Path:
        sampler = self.task.baselines["teacher-ode"]
        key = digest(["pairs", 1, self.teacher_sha256, sampler.steps, count])
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
        """Sample the teacher's ODE from seeded noise, keeping the noise; on the GPU if there is one."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        teacher = copy.deepcopy(self.teacher).to(device)
        conditions = self.conditions(torch.arange(count))
        noises, images = [], []
        with self.progress.bar("teacher pairs", count) as bar:
            for start in range(0, count, PAIR_BATCH):
                chosen = conditions[start : start + PAIR_BATCH].to(device)
                seeds = [PAIR_SEED + start + i for i in range(len(chosen))]
                noises.append(SampleNoise(seeds, self.task.image_shape).draw())
                again = SampleNoise(seeds, self.task.image_shape, device)
                images.append(heun(teacher, again, chosen, self.task.baselines["teacher-ode"].steps).cpu())
                bar.advance(len(chosen))
        return {"noise": torch.cat(noises), "image": torch.cat(images), "condition": conditions}
