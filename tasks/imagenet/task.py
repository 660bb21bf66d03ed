"""The declaration of class-conditional ImageNet with published weights, which `bench prepare` pins.

This module imports no torch, so that `bench list` and `bench describe` start at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.core.errors import UserError
from bench.core.escape import shell_path
from bench.core.imports import load_class
from bench.core.progress import Progress
from bench.features.scoring import LPIPS_TRUNK
from bench.task.declaration import Requirement, Sources
from bench.task.pinned import PinnedAsset, PinnedTask, pin_assets, read_pinned, requirement_of

if TYPE_CHECKING:
    from bench.task.base import PreparedTask


LPIPS = "lpips"
"""The role that only recipes with LPIPS as regression distance use."""
VAE = "vae"
"""The role that only tasks on latents have."""


@dataclass(frozen=True)
class PinnedImageNet:
    """The pinned assets of a task by role; None where nothing is pinned yet."""

    data: PinnedAsset | None = None
    teacher: PinnedAsset | None = None
    features: PinnedAsset | None = None
    reference: PinnedAsset | None = None
    spatial: PinnedAsset | None = None
    """A reference in the Inception's spatial features, for sFID."""
    dinov2: PinnedAsset | None = None
    dinov2_reference: PinnedAsset | None = None
    lpips: PinnedAsset | None = None
    """The trunk of LPIPS, for recipes with LPIPS as regression distance; it is not part of the task's identity."""
    vae: PinnedAsset | None = None
    """The VAE of a task whose networks run on latents."""

    @property
    def further_extractors(self) -> dict[str, str]:
        """The networks of all extractors, but the main one, whose assets are pinned."""
        found = {}
        if self.spatial is not None and self.features is not None:
            found["spatial"] = spatial_of(self.features.name)
        if self.dinov2 is not None and self.dinov2_reference is not None:
            found["dinov2"] = self.dinov2.name
        return found

    @property
    def further_metrics(self) -> tuple[str, ...]:
        """The metrics that the pinned assets allow besides those that read only statistics."""
        found = self.further_extractors
        has_rows = self.reference is not None and self.reference.rows > 0
        return (
            *(("kid", "precision", "recall") if has_rows else ()),
            *(("sfid",) if "spatial" in found else ()),
            *(("fd-dinov2",) if "dinov2" in found else ()),
        )

    @classmethod
    def read(cls, path: Path) -> PinnedImageNet:
        """Read the file that `pin` wrote; no file means no assets. Raises UserError if it is damaged."""
        try:
            return cls(**read_pinned(path))
        except TypeError as error:  # an unknown role
            raise UserError(
                f"{path} is damaged ({error}); "
                f"fix: rm {shell_path(path)}, and name its files to bench prepare again"
            ) from None

    @classmethod
    def pin(cls, path: Path, **assets: PinnedAsset) -> PinnedImageNet:
        """Pin assets in a file beside those that are pinned there, and return all of them."""
        return cls(**pin_assets(path, assets))


def spatial_of(inception: str) -> str:
    """Return the name of an Inception's spatial features."""
    return f"{inception}-spatial"


@dataclass(frozen=True)
class ImageNetTask(PinnedTask):
    """ImageNet at one resolution, with an EDM teacher, the FID Inception and a reference of real images."""

    classes: int
    open_protocol: str
    """The protocol that includes further metrics if their assets are pinned; all others stay as published."""
    references: Mapping[str, str]
    """Addresses of published reference statistics by name."""
    pinned: PinnedImageNet = PinnedImageNet()
    """The pinned assets that `located` found in the cache."""

    of_training: ClassVar[Collection[str]] = ("data", "teacher")
    """The roles that images from outside do not need."""
    of_images: ClassVar[Collection[str]] = ("teacher",)
    """The roles that make images."""
    takes: ClassVar[Collection[str]] = (
        *("data", "crop", "teacher"),
        *("weights", "references", "own_weights"),
    )
    room: ClassVar[str] = "tasks.imagenet.prepared"
    """The module with the functions `pin` and `prepare_imagenet` of this kind of task."""
    modules: ClassVar[Collection[str]] = (room,)
    weight_names: ClassVar[Collection[str]] = ("inception", "dinov2", LPIPS)

    def located(self, cache: Path) -> ImageNetTask:
        pinned = PinnedImageNet.read(self.pinned_path(cache))
        features, reference = pinned.features, pinned.reference
        protocols = {
            name: replace(
                protocol,
                features=features.name if features else protocol.features,
                reference=reference.name if reference else protocol.reference,
            )
            for name, protocol in self.protocols.items()
        }
        ours = protocols[self.open_protocol]
        protocols[self.open_protocol] = replace(
            ours, metrics=(*ours.metrics, *pinned.further_metrics), extractors=pinned.further_extractors
        )
        return replace(self, pinned=pinned, protocols=protocols).under(self.protocol.name)

    def identity(self) -> dict[str, str]:
        assets: Mapping[str, PinnedAsset | None] = vars(self.pinned)
        return {
            role: asset.sha256 if asset else "not chosen"
            for role, asset in assets.items()
            if role != LPIPS and (asset is not None or role in self.required) and self.reads(role)
        }

    def reads(self, role: str) -> bool:
        """Whether the task reads a role: without metrics, as `bench latency` has it, only what makes images."""
        if not self.has_teacher and role in self.of_training:
            return False
        return bool(self.protocol.metrics) or role in self.of_images

    @property
    def required(self) -> dict[str, tuple[str, str]]:
        """What the task requires by role: in words, and the command that gets it."""
        prepare = f"bench prepare {self.called}"
        published = f"such as {', '.join(self.references.values())}"
        return {
            "data": ("training images, packed", f"{prepare} --data PATH"),
            "teacher": ("EDM denoiser", f"{prepare} --teacher FILE (the published .pkl is read as data)"),
            "features": ("the FID Inception", f"{prepare} --weights inception=FILE, or --download"),
            "reference": (
                "statistics of real images",
                f"{prepare} --reference FILE_OR_NAME ({published})",
            ),
        }

    def requirements(self, sources: Sources) -> list[Requirement]:  # noqa: ARG002 (everything was named before, to `pin`)
        pinned = vars(self.pinned)
        required = {role: how for role, how in self.required.items() if self.reads(role)}
        return [requirement_of(role, what, pinned[role], fix) for role, (what, fix) in required.items()]

    def role_requirements(self, roles: Collection[str]) -> list[Requirement]:
        fix = f"bench prepare {self.called} --weights lpips=FILE ({LPIPS_TRUNK})"
        found = [requirement_of(LPIPS, "LPIPS's trunk, VGG16", self.pinned.lpips, fix, for_training=True)]
        return found if LPIPS in roles else []

    def pin(self, sources: Sources, progress: Progress) -> ImageNetTask:
        if sources.names_inputs:
            load_class(f"{self.room}:pin")(self, sources, progress)
        return self.located(sources.cache)

    def prepare(self, sources: Sources, progress: Progress) -> PreparedTask:
        prepared: PreparedTask = load_class(f"{self.room}:prepare_imagenet")(self, sources, progress)
        return prepared


@dataclass(frozen=True)
class LatentImageNetTask(ImageNetTask):
    """ImageNet in the latents of a VAE, with a class-conditional transformer as teacher."""

    teacher_family: Literal["sit", "dit"] = field(kw_only=True)
    """The family of the teacher's network, which an official file does not say."""

    of_training: ClassVar[Collection[str]] = (*ImageNetTask.of_training, VAE)
    of_images: ClassVar[Collection[str]] = (*ImageNetTask.of_images, VAE)
    takes: ClassVar[Collection[str]] = ("data", "teacher", "weights", "references", "own_weights")
    room: ClassVar[str] = "tasks.imagenet.latents"
    modules: ClassVar[Collection[str]] = (room,)
    weight_names: ClassVar[Collection[str]] = (*ImageNetTask.weight_names, VAE)

    @property
    def required(self) -> dict[str, tuple[str, str]]:
        prepare = f"bench prepare {self.called}"
        network = {"sit": "SiT", "dit": "DiT"}[self.teacher_family]
        vae = "stabilityai/sd-vae-ft-ema's; a pipeline's folder as teacher brings its own"
        return {
            VAE: ("the VAE of the latents", f"{prepare} --weights vae=FOLDER ({vae})"),
            **super().required,
            "data": ("latents of the training images", f"{prepare} --data PATH (images, which the VAE encodes)"),
            "teacher": (
                f"{network} denoiser",
                f"{prepare} --teacher FILE (the official .pt, read as data, or a folder of diffusers)",
            ),
        }
