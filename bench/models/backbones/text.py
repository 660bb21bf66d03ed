"""The interface of a family whose networks are published as text-to-image pipelines, which it reads itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from torch import Tensor

from bench.core.errors import UserError
from bench.models.backbones.base import BackboneFamily
from bench.models.text.hub import from_hub
from bench.models.text.layout import ConditionLayout
from bench.models.weights.weight_files import WEIGHTS

if TYPE_CHECKING:
    from bench.models.text.encoders import TextEncoder
    from bench.models.text.latents import LatentSpace

CONFIGURATION = ["*.json", "*/*.json", "*/*.txt", "*/*.model"]
"""The files of a pipeline that hold no weights."""


class TextFamily(BackboneFamily):
    """A denoiser conditioned on packed text embeddings, whose pipelines have diffusers' format.

    Whatever differs between pipelines is here: their parts, noise schedule, and how their network is called. The
    code that reads them comes with the extra of text-to-image tasks, so a family imports it when it is used.
    """

    pipelines: ClassVar[tuple[str, ...]]
    """Classes of pipelines with such a network, as model_index.json names them."""
    parts: ClassVar[tuple[str, ...]]
    """Folders of a pipeline that are read."""
    part_files: ClassVar[tuple[str, ...]] = ("*.json", "*.txt")
    """Patterns of the files in them that hold no weights."""
    one_file_marks: ClassVar[tuple[str, ...]] = ()
    """Prefixes of the tensors by which such a network is known in one file; none: no such file is read."""

    layout: ConditionLayout

    @classmethod
    def one_file_class(cls, names: Collection[str]) -> str:  # noqa: ARG003 (most families have one kind of network)
        """Return the class of the pipeline in one file with tensors of these names, one of `pipelines`."""
        return cls.pipelines[0]

    @classmethod
    def pipeline_files(cls) -> list[str]:
        """Return the files of a pipeline that are read, without those for other libraries and precisions."""
        return [
            "model_index.json",
            *(f"{part}/{pattern}" for part in cls.parts for pattern in cls.part_files),
            *(f"{part}/{name}" for part in cls.parts for name in WEIGHTS),
        ]

    # How a pipeline is read, and its network becomes a denoiser.

    @classmethod
    @abstractmethod
    def read_pipeline(cls, folder: Path) -> TextPipeline:
        """Read a pipeline's folder, float32, frozen. Raises UserError that names the broken part."""

    @classmethod
    def read_one_file(cls, file: PipelineFile) -> TextPipeline:
        """Read a pipeline in one file. Raises UserError that names every tensor that does not belong."""
        raise UserError(
            f"{file.path} is a pipeline in one file, which the backbone family {cls.name!r} does not read; "
            "fix: name the folder in diffusers' format"
        )

    @classmethod
    @abstractmethod
    def from_pipeline(cls, pipeline: TextPipeline, resolution: int) -> Self:
        """Return a pipeline's network as a denoiser of the latents of square images of `resolution` pixels.

        Raises UserError if its noise schedule is of an unknown kind, or it makes no images of this size.
        """

    @classmethod
    def own_resolution(cls, pipeline: TextPipeline) -> int:
        """Return the side in pixels of the images that a pipeline was made for."""
        return int(pipeline.network.config.sample_size * pipeline.latents.factor)

    @classmethod
    @abstractmethod
    def schedule_options(cls, scheduler: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a scheduler's configuration says of the noise schedule, as plain values.

        Two networks with other values are no teacher and student. Raises UserError for unknown kinds.
        """

    @classmethod
    def takes_guidance(cls, network: Any) -> bool:  # noqa: ARG003 (some families' networks do)
        """Whether the network takes the scale of its guidance as an input."""
        return False

    # How the schedulers of diffusers sample it.

    @classmethod
    @abstractmethod
    def scheduler_options(cls, pipeline: TextPipeline, resolution: int) -> dict[str, Any]:
        """Return the options by which schedulers of diffusers, of any kind, follow the pipeline's noise schedule.

        All others are diffusers' defaults, whatever the scheduler's file in the pipeline's folder says.
        """

    @classmethod
    def step_options(cls, pipeline: TextPipeline, resolution: int, steps: int) -> dict[str, Any]:  # noqa: ARG003
        """Return the arguments with which the pipeline's own code calls its scheduler's `set_timesteps`."""
        return {"num_inference_steps": steps}

    @abstractmethod
    def predict(self, x: Tensor, timestep: Tensor, condition: Tensor, guidance: float | None = None) -> Tensor:
        """Run the network at a scheduler's timesteps [B]: x [B, C, H, W] -> what the scheduler's `step` takes.

        `guidance` is the scale for networks that take it as an input.
        """

    def fits(self, other: TextFamily) -> bool:
        """Whether another denoiser takes the same conditions and makes images of the same size."""
        return self.layout == other.layout and self.sample_shape == other.sample_shape


@dataclass(frozen=True)
class TextPipeline:
    """The parts of a text-to-image model, on the CPU in float32, in evaluation mode."""

    family: type[TextFamily]
    network: Any
    """The denoiser's."""
    latents: LatentSpace
    encoder: TextEncoder
    scheduler: Mapping[str, Any]
    """The configuration of the scheduler that the model was published with."""

    @property
    def resolution(self) -> int:
        """Side in pixels of the images that it was made for."""
        return self.family.own_resolution(self)

    def denoiser(self, resolution: int | None = None) -> TextFamily:
        """Return its network as a denoiser of images of `resolution`, by default its own. Raises UserError."""
        return self.family.from_pipeline(self, resolution or self.resolution)


@dataclass(frozen=True)
class PipelineFile:
    """A pipeline in one file, which holds tensors and no configuration."""

    path: Path
    state: Mapping[str, Tensor]
    architecture: str | Path | None
    """Whose configuration it has: a folder, or a hub's model; by default that of the published model."""
    download: bool
    """Whether the configuration may be downloaded."""

    def configuration(self, published: str) -> tuple[str, Path]:
        """Return the name of its architecture, by default `published`, and the folder with its configuration."""
        named = str(self.architecture or published)
        return named, Path(named) if Path(named).is_dir() else from_hub(named, self.download, CONFIGURATION)
