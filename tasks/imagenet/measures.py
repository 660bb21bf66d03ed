"""What all tasks on ImageNet measure with: the Inception, DINOv2 and LPIPS, and references of real images."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

import torch
from torch import Tensor

from bench.core.device import this_device
from bench.core.progress import Progress
from bench.features.batch import ImageBatch
from bench.features.files import TRUNKS
from bench.features.names import FID_FEATURES
from bench.features.networks.dinov2 import load_dinov2
from bench.features.networks.inception import load_inception
from bench.features.references.sources import import_reference
from bench.features.references.store import ReferenceStatistics, load_reference, reference_store, save_reference
from bench.features.views import Features
from bench.features.weights import find_weights
from bench.task.declaration import Sources
from bench.task.protocol import MAIN
from bench.task.verified import verified, verified_reference
from tasks.class_conditional import PreparedClassTask
from tasks.imagenet.task import ImageNetTask, PinnedAsset, PinnedImageNet, spatial_of

TAPS = ("pool", "logits")


def pin_measures(sources: Sources, pinned: PinnedImageNet, path: Path, progress: Progress) -> None:
    """Pin the feature networks and the references that the user named, in the file `path`."""
    if "inception" in sources.weights or (sources.download and pinned.features is None):
        pinned = pinned.pin(path, features=_features(sources, progress))
    for named in sources.references:
        pinned = pinned.pin(path, **_references(named, sources.cache))
    if "dinov2" in sources.weights:
        dinov2 = load_dinov2(sources.weights["dinov2"])
        pinned = pinned.pin(path, dinov2=PinnedAsset(str(dinov2.path.resolve()), dinov2.sha256, dinov2.name))
    if "lpips" in sources.weights:
        path_of = sources.weights["lpips"]
        trunk = find_weights(TRUNKS["vgg"], path_of, sources.cache, download=False, progress=progress)
        own = f"LPIPS's VGG16, weights {trunk.sha256[:12]}"
        pinned = pinned.pin(path, lpips=PinnedAsset(str(trunk.path.resolve()), trunk.sha256, own))


def _features(sources: Sources, progress: Progress) -> PinnedAsset:
    inception = load_inception(
        sources.weights.get("inception"),
        sources.cache,
        download=sources.download,
        progress=progress,
        taps=TAPS,
        own_weights=sources.takes_any_hash("inception"),
    )
    return PinnedAsset(str(inception.path), inception.sha256, inception.name)


def _references(named: str, cache: Path) -> dict[str, PinnedAsset]:
    """Import a file, or load the stored reference of this name; return the assets by role."""
    store = reference_store(cache)
    path = Path(named)
    if path.is_file():
        found = import_reference(path, path.stem)
        folders = [save_reference(statistics, store) for statistics in found]
    else:
        found, folders = [load_reference(store, named)], [store / named]
    return {
        _role(statistics.description.features): PinnedAsset(
            str(folder), statistics.description.sha256, statistics.description.name, statistics.description.kept
        )
        for statistics, folder in zip(found, folders, strict=True)
    }


def _role(features: str) -> str:
    if features.startswith("dinov2-"):
        return "dinov2_reference"
    return "spatial" if features.endswith(spatial_of("")) else "reference"


class MeasuredImageNet(PreparedClassTask):
    """A prepared task on ImageNet; a subclass opens its data and its teacher."""

    task: ImageNetTask

    def __init__(self, task: ImageNetTask, cache: Path, progress: Progress) -> None:
        """Open the pinned assets that the task reads; one for images from outside has no teacher and no data."""
        self.task = task
        self.cache = cache
        self.progress = progress
        self.classes = task.classes
        self.weights, self.data = [], []
        if task.has_teacher:
            self.open_teacher(task.pinned)
        if task.reads("data"):
            self.open_data(task.pinned)
        self._open_measures()

    @abstractmethod
    def open_teacher(self, pinned: PinnedImageNet) -> None:
        """Open the teacher, and add what was read to `weights`."""

    @abstractmethod
    def open_data(self, pinned: PinnedImageNet) -> None:
        """Open the training data, and add it to `data`."""

    def _open_measures(self) -> None:
        """Load the feature networks and the references that are pinned, and add them to `weights` and `data`."""
        self.references, self.extractors = {}, {}
        if not self.task.reads("features"):
            return
        pinned = self.task.pinned
        assert pinned.features and pinned.reference
        on = this_device()
        self.inception = load_inception(
            Path(pinned.features.path),
            self.cache,
            download=False,
            progress=self.progress,
            taps=(*TAPS, "spatial") if pinned.spatial else TAPS,
            device=on,
            own_weights=pinned.features.name != FID_FEATURES,
        )
        self.weights.append(verified("features", pinned.features, self.inception.sha256))
        self.references = {MAIN: self._real("reference", self.inception.name)}
        if "spatial" in pinned.further_extractors:
            self.references["spatial"] = self._real("spatial", spatial_of(self.inception.name))
        if "dinov2" in pinned.further_extractors:
            assert pinned.dinov2
            self.dinov2 = load_dinov2(Path(pinned.dinov2.path), on)
            self.weights.append(verified("dinov2", pinned.dinov2, self.dinov2.sha256))
            self.references["dinov2"] = self._real("dinov2_reference", self.dinov2.name)
        known = {MAIN: self._extract_pool, "spatial": self._extract_spatial, "dinov2": self._extract_dinov2}
        self.extractors = {name: known[name] for name in self.references}

    def _real(self, role: str, network: str) -> ReferenceStatistics:
        """Load the reference of a role. Raises UserError unless it was made with this network."""
        asset: PinnedAsset = getattr(self.task.pinned, role)
        real, verified_asset = verified_reference(role, asset, self.cache, network, "--reference")
        self.data.append(verified_asset)
        return real

    def lpips_trunk(self) -> Path | None:
        return None if self.task.pinned.lpips is None else Path(self.task.pinned.lpips.path)

    def _tapped(self, batch: ImageBatch) -> dict[str, Tensor]:
        """Return all taps of the Inception from one pass."""
        return batch.once("inception", lambda: self.inception(batch.images))

    @torch.no_grad()
    def _extract_pool(self, batch: ImageBatch) -> Features:
        found = self._tapped(batch)
        return Features(found["pool"].numpy(), found["logits"].numpy())

    @torch.no_grad()
    def _extract_spatial(self, batch: ImageBatch) -> Features:
        return Features(self._tapped(batch)["spatial"].numpy())

    @torch.no_grad()
    def _extract_dinov2(self, batch: ImageBatch) -> Features:
        return Features(self.dinov2(batch.images).numpy())
