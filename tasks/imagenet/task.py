"""Class-conditional ImageNet with published weights: what is used is chosen once, by `bench prepare`.

This module declares the task and imports no torch, so that `bench list` and `bench describe` start at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bench.core.errors import UserError
from bench.core.imports import load_class
from bench.core.progress import Progress
from bench.features.scoring import LPIPS_TRUNK
from bench.task.declaration import Requirement, Sources
from bench.task.pinned import PinnedAsset, PinnedTask, read_pinned, requirement_of, write_pinned

if TYPE_CHECKING:
    from bench.task.base import PreparedTask


REQUIRED = ("data", "teacher", "features", "reference")
"""Roles without which nothing runs; the others are for further metrics."""
LPIPS = "lpips"
"""A role that only recipes use whose regression takes LPIPS as distance."""


@dataclass(frozen=True)
class PinnedImageNet:
    """What a task runs on; None where nothing has been chosen yet."""

    data: PinnedAsset | None = None
    teacher: PinnedAsset | None = None
    features: PinnedAsset | None = None
    reference: PinnedAsset | None = None
    spatial: PinnedAsset | None = None
    """A reference in the Inception's spatial features, for sFID."""
    dinov2: PinnedAsset | None = None
    dinov2_reference: PinnedAsset | None = None
    lpips: PinnedAsset | None = None
    """The trunk of LPIPS, of recipes whose regression takes it as distance: no part of what others are made of."""

    @property
    def further_extractors(self) -> dict[str, str]:
        """Networks of the extractors for which all is there, besides the main one."""
        found = {}
        if self.spatial is not None and self.features is not None:
            found["spatial"] = spatial_of(self.features.name)
        if self.dinov2 is not None and self.dinov2_reference is not None:
            found["dinov2"] = self.dinov2.name
        return found

    @property
    def further_metrics(self) -> tuple[str, ...]:
        """Metrics that what was chosen allows, besides those that need statistics alone."""
        found = self.further_extractors
        has_rows = self.reference is not None and self.reference.rows > 0
        return (
            *(("kid", "precision", "recall") if has_rows else ()),
            *(("sfid",) if "spatial" in found else ()),
            *(("fd-dinov2",) if "dinov2" in found else ()),
        )

    @classmethod
    def read(cls, path: Path) -> PinnedImageNet:
        """Read the file that `write` made, or nothing chosen. Raises UserError if it is damaged."""
        try:
            return cls(**read_pinned(path))
        except TypeError as error:  # a role that there is none of
            raise UserError(f"{path} is damaged ({error}); delete it and run bench prepare again") from None

    def write(self, path: Path) -> None:
        """Write the choice; the file appears whole."""
        write_pinned(path, vars(self))


def spatial_of(inception: str) -> str:
    """Name of an Inception's spatial features."""
    return f"{inception}-spatial"


@dataclass(frozen=True)
class ImageNetTask(PinnedTask):
    """ImageNet at one resolution: an EDM teacher and the FID Inception from files, a reference of real images."""

    classes: int
    open_protocol: str
    """The protocol that takes in further metrics where what they need was chosen; others stay as published."""
    references: Mapping[str, str]
    """Where published reference statistics are, by name."""
    chosen: PinnedImageNet = PinnedImageNet()
    """What `located` found in the cache."""

    takes: ClassVar[Collection[str]] = (
        *("data", "crop", "teacher"),
        *("weights", "references", "own_weights"),
    )
    modules: ClassVar[Collection[str]] = ("tasks.imagenet.prepared",)
    weight_names: ClassVar[Collection[str]] = ("inception", "dinov2", LPIPS)

    def located(self, cache: Path) -> ImageNetTask:
        chosen = PinnedImageNet.read(self.pinned_path(cache))
        features, reference = chosen.features, chosen.reference
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
            ours, metrics=(*ours.metrics, *chosen.further_metrics), extractors=chosen.further_extractors
        )
        return replace(self, chosen=chosen, protocols=protocols).under(self.protocol.name)

    def identity(self) -> dict[str, str]:
        assets: Mapping[str, PinnedAsset | None] = vars(self.chosen)
        return {
            role: asset.sha256 if asset else "not chosen"
            for role, asset in assets.items()
            if role != LPIPS and (asset is not None or role in REQUIRED)
        }

    def requirements(self, sources: Sources) -> list[Requirement]:  # noqa: ARG002 (all was named before, to `choose`)
        chosen = vars(self.chosen)
        prepare = f"bench prepare --task {self.name}"
        published = f"such as {', '.join(self.references.values())}"
        how = {
            "data": ("training images, packed", f"{prepare} --data PATH"),
            "teacher": ("EDM denoiser", f"{prepare} --teacher FILE (the published .pkl is read as data)"),
            "features": ("the FID Inception", f"{prepare} --weights inception=FILE, or --download"),
            "reference": (
                "statistics of real images",
                f"{prepare} --reference FILE_OR_NAME ({published})",
            ),
        }
        return [requirement_of(role, what, chosen[role], mend) for role, (what, mend) in how.items()]

    def role_requirements(self, roles: Collection[str]) -> list[Requirement]:
        fix = f"bench prepare --task {self.name} --weights lpips=FILE ({LPIPS_TRUNK})"
        asked = [requirement_of(LPIPS, "LPIPS's trunk, VGG16", self.chosen.lpips, fix, for_training=True)]
        return asked if LPIPS in roles else []

    def pin(self, sources: Sources, progress: Progress) -> ImageNetTask:
        if sources.names_inputs:
            load_class("tasks.imagenet.prepared:pin")(self, sources, progress)
        return self.located(sources.cache)

    def prepare(self, sources: Sources, progress: Progress) -> PreparedTask:
        prepared: PreparedTask = load_class("tasks.imagenet.prepared:prepare_imagenet")(self, sources, progress)
        return prepared
