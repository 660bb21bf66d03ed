"""Evaluation protocols: each is declared once by its task, hashed, and stored with each result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from bench.core.files import digest
from bench.task.declaration import Baseline
from bench.task.text_rules import TextRules

MAIN = "main"
"""The name by which metrics refer to the protocol's own feature extractor."""

UInt8Rule = Literal["round", "edm", "truncate"]
"""The rule by which a protocol turns the networks' output into grey levels."""


@dataclass(frozen=True)
class TeacherReference:
    """The images that metrics "to the teacher" compare with: the teacher's own, of all of a protocol's samples.

    They have the prompts and the seeds of the student's images.
    """

    sampler: str
    """Name of the task's sampler of the teacher that makes them."""
    settings: Any
    """The settings of that sampler (`Baseline.identity`), as JSON data."""

    @classmethod
    def by(cls, sampler: Baseline) -> TeacherReference:
        """Return the reference that a sampler of the teacher makes."""
        return cls(sampler.name, sampler.identity())


@dataclass(frozen=True)
class Protocol:
    """Everything that changes an evaluation number, except the student.

    Two numbers belong in one column only if their protocols' digests are equal.
    """

    name: str
    samples: int
    """Number of images generated per repetition."""
    repetitions: int
    """Number of repetitions with independent seeds; their spread gives the interval (a bootstrap is biased)."""
    first_seed: int
    """Sample i of repetition r draws its noise from a CPU generator seeded first_seed + r * samples + i."""
    labels: Literal["balanced", "random"]
    """balanced: sample i has class i mod n_classes, for any batch size and number of processes.
    random: drawn for each sample after its noise, from the same generator, as EDM's generate.py."""
    uint8: UInt8Rule
    """round: 127.5 x + 127.5 rounded to the nearest grey level, and clipped.
    edm: the same by EDM's own expression, the whole part of x * 127.5 + 128: about one pixel in 100,000 differs.
    truncate: the whole part of (x + 1) * 127.5, half a level darker on average, as the official DMD2 scripts."""
    reference: str
    """The real images that the generated ones are compared with."""
    features: str
    """Name of the feature network; distances are called FD with this name, never FID."""
    metrics: tuple[str, ...]
    neighbours: int = 3
    """k of the k-nearest-neighbour precision and recall."""
    smoke: bool = False
    """A smoke protocol may use too few samples for its feature dimension; its numbers are not results."""
    aggregate: Literal["mean", "minimum"] = "mean"
    """The summary of the repetitions in a table. EDM's papers print the minimum of three; the title says so."""
    covariance_start: Literal["zeros", "ones"] = "zeros"
    """ones: the sums behind the generated images' covariance begin at 1, as in the official DMD2 script, which
    adds 1 / (samples - 1) to every entry."""

    images_per_prompt: int = 1
    """Number of consecutive samples that share a prompt."""
    text: TextRules | None = None
    """The further rules of a text-to-image protocol."""
    extractors: Mapping[str, str] = field(default_factory=dict)
    """Networks of all feature extractors but the main one, by the name that metrics use."""
    tf32: bool = True
    """Whether a GPU may use TF32 while it generates and decodes images, as DMD2's evaluation does. Features are
    always computed without it."""
    sampling_precision: Literal["fp32", "bf16"] = "fp32"
    """The precision of the networks that make the images. bf16 is about twice as fast on a GPU, and rounds their
    weights and activations; the sampler's own arithmetic, the decoder and the features stay float32."""
    teacher_reference: TeacherReference | None = None
    """The teacher's images, if a metric compares with them."""
    plugins: Mapping[str, str] = field(default_factory=dict)
    """Hash of the plug-in file of each metric that is defined in one, by the metric's name."""

    def network(self, extractor: str) -> str:
        """Return the name of an extractor's network, by default the extractor's own name."""
        return self.features if extractor == MAIN else self.extractors.get(extractor, extractor)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON data.

        Without a teacher's reference there is no key for it, nor is there one for TF32 where that is allowed, for
        sampling in fp32, or for metrics' files where no metric is a plug-in's: protocols from before these fields
        keep their digests.
        """
        values = {**asdict(self), "metrics": list(self.metrics)}
        if self.teacher_reference is None:
            del values["teacher_reference"]
        if self.tf32:
            del values["tf32"]
        if self.sampling_precision == "fp32":
            del values["sampling_precision"]
        if not self.plugins:
            del values["plugins"]
        return values

    def digest(self) -> str:
        """Return the SHA-256 that identifies this protocol."""
        return digest(self.as_dict())
