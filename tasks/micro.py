"""Micro tasks: class-conditional worlds of small real images that a laptop CPU trains in minutes.

This module declares them and imports no torch, so that `bench list` and `bench describe` start at once.
"""

from __future__ import annotations

import importlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.files import digest
from tasks.progress import Progress
from tasks.task import Need, Sources, Task

if TYPE_CHECKING:
    from tasks.prepared import Prepared


@dataclass(frozen=True)
class NetworkSpec:
    """Size of the UNet2DModel that teacher, critic and student share, with EDM's preconditioning."""

    channels: tuple[int, ...]
    patch_size: int
    sigma_data: float
    """Standard deviation of the images in [-1, 1]."""
    layers_per_block: int = 1
    attention_head_dim: int = 16
    norm_groups: int = 8


@dataclass(frozen=True)
class TrainingRecipe:
    """How a micro task's network is trained from nothing: Adam, warm-up, cosine decay, EMA."""

    iterations: int
    batch_size: int = 128
    lr: float = 2e-3
    warmup: int = 50
    ema_decay: float = 0.995
    seed: int = 0


@dataclass(frozen=True)
class TeacherRecipe(TrainingRecipe):
    """How the teacher is trained: EDM's loss and noise law."""

    p_mean: float = -1.2
    p_std: float = 1.2


@dataclass(frozen=True)
class ClassifierRecipe:
    """How the feature network is trained."""

    epochs: int
    width: int
    features: int
    batch_size: int = 128
    lr: float = 3e-3
    seed: int = 0


@dataclass(frozen=True)
class MicroTask(Task):
    """A class-conditional micro task: real images in two splits, a small teacher, a feature classifier."""

    data: str
    """Module under tasks.data with `locate` and `load`."""
    data_mend: str
    """The command that gets the data."""
    train_sha256: str
    held_out_sha256: str
    class_names: tuple[str, ...]
    network: NetworkSpec
    teacher: TeacherRecipe
    classifier: ClassifierRecipe

    def teacher_key(self) -> str:
        """Name the teacher by all that makes it: data, network, recipe."""
        return digest(["teacher", 1, self.train_sha256, asdict(self.network), asdict(self.teacher)])

    def features_key(self) -> str:
        """Name the feature network by all that makes it."""
        return digest(["features", 1, self.train_sha256, asdict(self.classifier)])

    def reference_key(self, features_sha256: str) -> str:
        """Name the reference features: the held-out images seen through one feature network's weights."""
        return digest(["reference", 1, self.held_out_sha256, features_sha256])

    def teacher_path(self, cache: Path) -> Path:
        """Folder of the cached teacher."""
        return cache / "teachers" / f"{self.name}-{self.teacher_key()[:12]}"

    def features_path(self, cache: Path) -> Path:
        """File of the cached feature network."""
        return cache / "features" / f"{self.protocol.features}-{self.features_key()[:12]}.safetensors"

    def source(self) -> Any:
        """Import the module that reads the data set; it costs nothing until `load`."""
        return importlib.import_module(f"tasks.data.{self.data}")

    def identity(self) -> dict[str, str]:
        return {
            "teacher": self.teacher_key(),
            "features": self.features_key(),
            "reference": self.held_out_sha256,
        }

    def needs(self, sources: Sources) -> list[Need]:
        prepare = f"bench prepare --task {self.name}"
        teacher, features = self.teacher_path(sources.cache), self.features_path(sources.cache)
        found = self.source().locate(sources.data, sources.cache)
        return [
            Need("data", f"{self.data} images", found, self.data_mend),
            Need("teacher", "EDM denoiser, trained here", teacher if teacher.exists() else None, prepare),
            Need("features", self.protocol.features, features if features.exists() else None, prepare),
        ]

    def prepare(self, sources: Sources, progress: Progress) -> Prepared:
        from tasks.micro_world import prepare_micro

        return prepare_micro(self, sources, progress)
