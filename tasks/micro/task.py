"""Declarations of micro tasks: small real images on which a laptop CPU trains in minutes.

This module imports no torch, so that `bench list` and `bench describe` start at once.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from bench.core.errors import UserError
from bench.core.files import digest, file_sha256
from bench.core.imports import load_class
from bench.core.progress import Progress
from bench.data.base import Dataset
from bench.task.base import Task
from bench.task.declaration import Requirement, Sources

if TYPE_CHECKING:
    from bench.data.images import Splits
    from bench.models.backbones.classes import ClassFamily
    from bench.task.base import PreparedTask

PACKAGE = __name__.partition(".")[0]


class DenoiserSpec(ABC):
    """A subclass is a dataclass: the size of the networks that teacher, critic and student share."""

    @abstractmethod
    def build(self, image_shape: tuple[int, int, int], classes: int) -> ClassFamily:
        """Build an untrained denoiser for images (C, H, W); its weights come from torch's global generator."""


@dataclass(frozen=True)
class NetworkSpec(DenoiserSpec):
    """Size of a UNet that teacher, critic and student share, with EDM's preconditioning."""

    channels: tuple[int, ...]
    patch_size: int
    sigma_data: float
    """Standard deviation of the images in [-1, 1]."""
    layers_per_block: int = 1
    attention_head_dim: int = 16
    norm_groups: int = 8

    def build(self, image_shape: tuple[int, int, int], classes: int) -> ClassFamily:
        return _build("edm_denoiser", self, image_shape, classes)


@dataclass(frozen=True)
class TransformerSpec(DenoiserSpec):
    """Size of a transformer that teacher, critic and student share: DiT's, as a rectified flow (SiT)."""

    width: int
    """Size of a token."""
    layers: int
    heads: int
    patch_size: int

    def build(self, image_shape: tuple[int, int, int], classes: int) -> ClassFamily:
        return _build("sit_denoiser", self, image_shape, classes)


def _build(name: str, spec: DenoiserSpec, image_shape: tuple[int, int, int], classes: int) -> ClassFamily:
    """Call a function of tasks.micro.teacher, which imports torch."""
    built: ClassFamily = load_class(f"tasks.micro.teacher:{name}")(spec, image_shape, classes)
    return built


@dataclass(frozen=True)
class TrainingRecipe:
    """The training of a micro task's network from random weights: Adam, warm-up, cosine decay, EMA."""

    iterations: int
    batch_size: int = 128
    lr: float = 2e-3
    warmup: int = 50
    ema_decay: float = 0.995
    seed: int = 0


@dataclass(frozen=True)
class TeacherRecipe(TrainingRecipe):
    """The training of the teacher: its backbone's own loss, at noise levels whose logarithm is normal (EDM)."""

    p_mean: float = -1.2
    p_std: float = 1.2


@dataclass(frozen=True)
class FlowTeacherRecipe(TeacherRecipe):
    """The training of a rectified flow, at logit-normal times (Esser et al., 2024): the same law.

    It serves any network with a null class.
    """

    p_mean: float = 0.0
    p_std: float = 1.0
    class_dropout: float = 0.1
    """Share of the images that are trained with the null class, for guidance."""


@dataclass(frozen=True)
class ClassifierRecipe:
    """The training of the feature network."""

    epochs: int
    width: int
    features: int
    batch_size: int = 128
    lr: float = 3e-3
    seed: int = 0


Network = TypeVar("Network")
Teacher = TypeVar("Teacher")
Classifier = TypeVar("Classifier")


@dataclass(frozen=True)
class TrainedTask(Task, Generic[Network, Teacher, Classifier]):
    """The base class of micro tasks: real images in two splits; teacher and feature networks are trained."""

    data: Dataset
    network: Network
    """A dataclass: the size of the networks."""
    teacher: Teacher
    """A dataclass: the training of the teacher."""
    classifier: Classifier
    """A dataclass: the training of the feature networks."""

    train_sha256: str = field(default="", kw_only=True)
    """Hash of the training images; empty if the user provides them, and `bench prepare` keeps their hash."""
    held_out_sha256: str = field(default="", kw_only=True)

    teacher_kind: ClassVar[str]
    takes: ClassVar[Collection[str]] = ("data",)

    def teacher_key(self) -> str:
        """Return the hash of everything that decides the teacher: data, network, recipe."""
        return digest(
            ["teacher", 1, self.train_sha256, *self._as_data(self.network, self.teacher), *self._own_code()]
        )

    def features_key(self) -> str:
        """Return the hash of everything that decides the feature network."""
        return digest(["features", 1, self.train_sha256, *self._as_data(self.classifier)])

    def _own_code(self) -> list[str]:
        """Return hashes of code of the user's own that decides the teacher."""
        return []

    @staticmethod
    def _as_data(*parts: Any) -> list[dict[str, Any]]:
        return [asdict(part) for part in parts]

    def reference_name(self, features_sha256: str) -> str:
        """Return the name of the reference: the held-out images' features by one network's weights.

        Protocols that are derived from one, `NAME.what`, have its reference.
        """
        key = digest(["reference", 1, self.held_out_sha256, features_sha256])
        return f"{self.protocol.name.partition('.')[0]}-{key[:12]}"

    def teacher_path(self, cache: Path) -> Path:
        """Return the folder of the cached teacher."""
        return cache / "teachers" / f"{self.name}-{self.teacher_key()[:12]}"

    def features_path(self, cache: Path) -> Path:
        """Return the file of the cached feature network."""
        return cache / "features" / f"{self.protocol.features}-{self.features_key()[:12]}.safetensors"

    def located(self, cache: Path) -> Self:
        """Return the task with the hashes of the images that the user provided, if it uses such images."""
        kept = self.data.kept(cache)
        return self if kept is None else replace(self, train_sha256=kept.train, held_out_sha256=kept.held_out)

    def pin(self, sources: Sources, progress: Progress) -> Self:
        """Store the user's images, if the data set takes them, and return the task with their hashes."""
        if sources.data is not None:
            self.data.keep(sources.data, sources.cache, progress)
        return self.located(sources.cache)

    def splits(self, sources: Sources, progress: Progress) -> Splits:
        """Return the images. Raises UserError if they are missing, or are not those of the task."""
        splits = _checked(self.data.load(sources.data, sources.cache, sources.download, progress), self.data)
        if not (self.train_sha256 and self.held_out_sha256):
            raise UserError(
                f"task {self.name!r} does not say by their hashes which images of {self.data.name!r} it has; "
                f'fix: give it train_sha256="{splits.train.sha256}", held_out_sha256="{splits.held_out.sha256}"'
            )
        for name, found, expected in (
            ("training", splits.train.sha256, self.train_sha256),
            ("held-out", splits.held_out.sha256, self.held_out_sha256),
        ):
            if found != expected:
                raise UserError(
                    f"the {name} images from {splits.source} are not those of task {self.name!r}: "
                    f"sha256 {found[:12]}, expected {expected[:12]}; fix: {self.data.fix}"
                )
        shape = splits.train.images.shape[1:]
        if shape != self.image_shape:
            raise UserError(
                f"the images from {splits.source} have the shape {list(shape)}, but task {self.name!r} declares "
                f"{list(self.image_shape)}; fix: set its image_shape to {shape}, or use another data set"
            )
        return splits

    def identity(self) -> dict[str, str]:
        return {
            "teacher": self.teacher_key(),
            "features": self.features_key(),
            "reference": self.held_out_sha256,
        }

    def requirements(self, sources: Sources) -> list[Requirement]:
        prepare = f"bench prepare {self.called}"
        teacher, features = self.teacher_path(sources.cache), self.features_path(sources.cache)
        found = self.data.locate(sources.data, sources.cache)
        return [
            Requirement("data", f"{self.data.name} images", found, self.data.fix),
            Requirement(
                "teacher", f"{self.teacher_kind}, trained here", teacher if teacher.exists() else None, prepare
            ),
            Requirement("features", self.protocol.features, features if features.exists() else None, prepare),
        ]


def _checked(found: object, data: Dataset) -> Splits:
    """Return what a data set, which may be a plug-in's, loaded. Raises UserError if that is anything else."""
    from bench.data.images import LabelledImages, Splits

    parts = (found.train, found.held_out) if isinstance(found, Splits) else ()
    if not isinstance(found, Splits) or not all(isinstance(one, LabelledImages) for one in parts):
        got = [type(one).__name__ for one in parts] or type(found).__name__
        raise UserError(
            f"the data set {data.name!r} loaded {got}; fix: let its load() return Splits of two LabelledImages "
            "(bench.data.images)"
        )
    return found


@dataclass(frozen=True)
class MicroTask(TrainedTask[DenoiserSpec, TeacherRecipe, ClassifierRecipe]):
    """A class-conditional micro task with a small teacher and a feature classifier.

    The teacher is a UNet, a transformer, or of a family of your own: then `network` is a `DenoiserSpec` of yours.
    """

    class_names: tuple[str, ...]

    teacher_kind: ClassVar[str] = "class-conditional denoiser"
    modules: ClassVar[Collection[str]] = ("tasks.micro.prepared",)

    def _own_code(self) -> list[str]:
        kind = type(self.network)
        # Not the module's file: of two plug-in files of one name, the one that was loaded last has the module.
        file = Path(inspect.unwrap(kind.build).__code__.co_filename)
        built_in = kind.__module__.partition(".")[0] == PACKAGE
        return [] if built_in or not file.is_file() else [file_sha256(file)]

    def splits(self, sources: Sources, progress: Progress) -> Splits:
        found = super().splits(sources, progress)
        classes = int(found.train.labels.max()) + 1
        if classes != len(self.class_names):
            raise UserError(
                f"the images from {found.source} have {classes} classes, but task {self.name!r} names "
                f"{len(self.class_names)}; fix: set its class_names to those of the images"
            )
        for what, split in (("training", found.train), ("held-out", found.held_out)):
            there = set(split.labels.tolist())
            if odd := sorted(there ^ set(range(classes))):
                wrong = f"the label {odd[0]}" if odd[0] in there else f"none of class {odd[0]}"
                raise UserError(
                    f"the {what} images from {found.source} have {wrong}, and task {self.name!r} has the classes "
                    f"0 to {classes - 1}; fix: let both splits have images of every class, and of no other"
                )
        recipe = self.classifier
        if not recipe.epochs * (len(found.train) // recipe.batch_size):
            raise UserError(
                f"the feature network of task {self.name!r} would not be trained: {len(found.train)} images in "
                f"batches of {recipe.batch_size}, {recipe.epochs} epochs; fix: give its ClassifierRecipe a "
                "batch_size that is not more than the images, and at least one epoch"
            )
        return found

    def prepare(self, sources: Sources, progress: Progress) -> PreparedTask:
        prepared: PreparedTask = load_class("tasks.micro.prepared:prepare_micro")(self, sources, progress)
        return prepared
