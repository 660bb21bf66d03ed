"""Pairs of noise and image that a task's teacher makes for regression; they are cached by content."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.core.device import this_device
from bench.core.errors import UserError
from bench.core.escape import shell_path
from bench.core.files import digest, whole_file
from bench.core.made import made_once
from bench.core.numerics import tf32
from bench.core.progress import Progress
from bench.models.samplers import SampleNoise, Sampler
from bench.task.assets import PreparedAsset, file_asset
from bench.task.base import PreparedTask
from bench.task.baseline_sampler import baseline_sampler
from bench.task.declaration import Baseline, SolverBaseline

PAIR_SEED = 2**31
"""First noise seed of teacher pairs, far from those of evaluation samples."""


class PairedTeacher(PreparedTask):
    """A prepared task whose pairs are made by one ODE sampler of its teacher."""

    cache: Path
    progress: Progress
    pair_batch: int = 200
    """Pairs that are made and written together; a killed process loses at most this number."""

    @property
    def pair_sampler(self) -> Baseline:
        """The sampler that makes pairs: the task's first baseline."""
        return next(iter(self.task.baselines.values()))

    def pair_identity(self) -> list[Any]:
        """Return the settings of the task that decide its pairs, as JSON data."""
        sampler = self.pair_sampler
        if isinstance(sampler, SolverBaseline):
            return [self.teacher_sha256, sampler.identity()]
        guidance = [] if sampler.guidance_scale == 1 else [sampler.guidance_scale]
        return [self.teacher_sha256, sampler.steps, *guidance]

    def pair_conditions(self, indices: Tensor) -> Tensor:
        """Return the conditions [B, ...] of the pairs with these indices [B]."""
        return self.conditions(indices)

    def pair_sampler_on(self, device: torch.device) -> Sampler:
        """Return the sampler on a device; it has a copy of the teacher, so that the teacher is not moved."""
        null = None if self.null_condition is None else self.null_condition.to(device)
        return baseline_sampler(copy.deepcopy(self.teacher).to(device), null, self.pair_sampler)

    def asset_of_pairs(self, count: int) -> PreparedAsset:
        return file_asset("teacher pairs", self._pairs_path(count))

    def _pairs_path(self, count: int) -> Path:
        key = digest(["pairs", 1, *self.pair_identity(), count])
        return self.cache / "pairs" / f"{self.task.name}-{key[:12]}.safetensors"

    def pairs(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return teacher pairs; several processes share the work, and the same command resumes it after a kill."""
        path = self._pairs_path(count)
        starts, size = range(0, count, self.pair_batch), self.pair_batch
        parts = {self._part(path, start, min(start + size, count)): start for start in starts}
        try:
            if not path.exists():
                self._make(path, parts, count)
            with made_once(path) as missing:
                if missing:
                    _join(path, list(parts))
            _remove_parts(path)  # those of a process that was killed in between, too
            found = load_file(path)  # mapped into memory: processes of one machine share it
        except SafetensorError as error:
            raise UserError(
                f"cannot read the teacher pairs {path}: {error}; fix: rm {shell_path(path)}, and run again"
            ) from None
        return found["noise"], found["image"], found["condition"]

    @staticmethod
    def _part(path: Path, start: int, stop: int) -> Path:
        return path.with_suffix("") / f"{start:07d}-{stop:07d}.safetensors"

    @tf32(False)
    @torch.no_grad()
    def _make(self, path: Path, parts: Mapping[Path, int], count: int) -> None:
        """Make the parts that no other process makes: each begins with its own, and then helps the others."""
        on = this_device()
        images_of, state = self.pair_sampler_on(on), PartialState()
        numbered = list(enumerate(parts.items()))
        numbered.sort(key=lambda one: (one[0] - state.process_index) % state.num_processes)
        with self.progress.bar("teacher pairs", count) as bar:
            for _, (part, start) in numbered:
                indices = torch.arange(start, min(start + self.pair_batch, count))
                with made_once(part) as missing:
                    if missing and not path.exists():  # else another process has joined them all
                        condition = self.pair_conditions(indices)
                        seeds = (PAIR_SEED + indices).tolist()
                        noise = SampleNoise(seeds, self.sample_shape, on)
                        image = images_of(noise, condition.to(on)).cpu()
                        first = SampleNoise(seeds, self.sample_shape).draw()
                        with whole_file(part) as temporary:
                            save_file({"noise": first, "image": image, "condition": condition.cpu()}, temporary)
                bar.advance(len(indices))


def _join(path: Path, parts: list[Path]) -> None:
    """Write the parts, in this order, as one file."""
    found = [load_file(part) for part in parts]
    with whole_file(path) as temporary:
        save_file({name: torch.cat([part[name] for part in found]) for name in found[0]}, temporary)


def _remove_parts(path: Path) -> None:
    """Remove the parts of a file that is there. Their folder stays: another process may be about to list it."""
    for file in path.with_suffix("").glob("*"):
        with contextlib.suppress(OSError):  # another process was faster; and another user's do no harm
            file.unlink()
