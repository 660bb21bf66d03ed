"""Class-conditional ImageNet with published weights: what is used is chosen once, by `bench prepare`.

This module declares the task and imports no torch, so that `bench list` and `bench describe` start at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tasks.chosen import ChosenAsset, ChosenTask, need_of, read_choice, write_choice
from tasks.errors import UserError
from tasks.features.scoring import LPIPS_TRUNK
from tasks.progress import Progress
from tasks.task import Need, Sources

if TYPE_CHECKING:
    from tasks.prepared import Prepared


REQUIRED = ("data", "teacher", "features", "reference")
"""Roles without which nothing runs; the others are for further metrics."""
LPIPS = "lpips"
"""A role that only recipes use whose regression takes LPIPS as distance."""


@dataclass(frozen=True)
class Chosen:
    """What a task runs on; None where nothing has been chosen yet."""

    data: ChosenAsset | None = None
    teacher: ChosenAsset | None = None
    features: ChosenAsset | None = None
    reference: ChosenAsset | None = None
    spatial: ChosenAsset | None = None
    """A reference in the Inception's spatial features, for sFID."""
    dinov2: ChosenAsset | None = None
    dinov2_reference: ChosenAsset | None = None
    lpips: ChosenAsset | None = None
    """The trunk of LPIPS, of recipes whose regression takes it as distance: no part of what others are made of."""

    @property
    def further_views(self) -> dict[str, str]:
        """Networks of the views for which all is there, besides the main one's."""
        views = {}
        if self.spatial is not None and self.features is not None:
            views["spatial"] = spatial_of(self.features.name)
        if self.dinov2 is not None and self.dinov2_reference is not None:
            views["dinov2"] = self.dinov2.name
        return views

    @property
    def further_metrics(self) -> tuple[str, ...]:
        """Metrics that what was chosen allows, besides those that need statistics alone."""
        views = self.further_views
        has_rows = self.reference is not None and self.reference.rows > 0
        return (
            *(("kid", "precision", "recall") if has_rows else ()),
            *(("sfid",) if "spatial" in views else ()),
            *(("fd-dinov2",) if "dinov2" in views else ()),
        )

    @classmethod
    def read(cls, path: Path) -> Chosen:
        """Read the file that `write` made, or nothing chosen. Raises UserError if it is damaged."""
        try:
            return cls(**read_choice(path))
        except TypeError as error:  # a role that there is none of
            raise UserError(f"{path} is damaged ({error}); delete it and run bench prepare again") from None

    def write(self, path: Path) -> None:
        """Write the choice; the file appears whole."""
        write_choice(path, vars(self))


def spatial_of(inception: str) -> str:
    """Name of an Inception's spatial features."""
    return f"{inception}-spatial"


@dataclass(frozen=True)
class ImageNetTask(ChosenTask):
    """ImageNet at one resolution: an EDM teacher and the FID Inception from files, a reference of real images."""

    classes: int
    open_protocol: str
    """The protocol that takes in further metrics where what they need was chosen; others stay as published."""
    references: Mapping[str, str]
    """Where published reference statistics are, by name."""
    chosen: Chosen = Chosen()
    """What `located` found in the cache."""

    takes: ClassVar[Collection[str]] = (
        *("data", "crop", "teacher"),
        *("features", "references", "dinov2", "lpips", "own_weights"),
    )

    def located(self, cache: Path) -> ImageNetTask:
        chosen = Chosen.read(self.choice_path(cache))
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
            ours, metrics=(*ours.metrics, *chosen.further_metrics), views=chosen.further_views
        )
        return replace(self, chosen=chosen, protocols=protocols).under(self.protocol.name)

    def identity(self) -> dict[str, str]:
        assets: Mapping[str, ChosenAsset | None] = vars(self.chosen)
        return {
            role: asset.sha256 if asset else "not chosen"
            for role, asset in assets.items()
            if role != LPIPS and (asset is not None or role in REQUIRED)
        }

    def needs(self, sources: Sources) -> list[Need]:  # noqa: ARG002 (all was named before, to `choose`)
        chosen = vars(self.chosen)
        prepare = f"bench prepare --task {self.name}"
        published = f"such as {', '.join(self.references.values())}"
        how = {
            "data": ("training images, packed", f"{prepare} --data PATH"),
            "teacher": ("EDM denoiser", f"{prepare} --teacher FILE (the published .pkl is read as data)"),
            "features": ("the FID Inception", f"{prepare} --features FILE, or --download"),
            "reference": (
                "statistics of real images",
                f"{prepare} --reference FILE_OR_NAME ({published})",
            ),
        }
        return [need_of(role, what, chosen[role], mend) for role, (what, mend) in how.items()]

    def role_needs(self, roles: Collection[str]) -> list[Need]:
        fix = f"bench prepare --task {self.name} --lpips FILE ({LPIPS_TRUNK})"
        asked = [need_of(LPIPS, "LPIPS's trunk, VGG16", self.chosen.lpips, fix, for_training=True)]
        return asked if LPIPS in roles else []

    def choose(self, sources: Sources, progress: Progress) -> ImageNetTask:
        from tasks.imagenet_world import choose

        if sources.names_inputs:
            choose(self, sources, progress)
        return self.located(sources.cache)

    def prepare(self, sources: Sources, progress: Progress) -> Prepared:
        from tasks.imagenet_world import prepare_imagenet

        return prepare_imagenet(self, sources, progress)
