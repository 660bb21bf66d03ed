"""The feature extractors that a text-to-image task's protocol names."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from bench.core.device import this_device
from bench.core.progress import Progress
from bench.features.batch import Extract
from bench.features.extracting import (
    clip_scores,
    inception_of_patches,
    inception_of_squares,
    lpips_of_prompts,
    preference_scores,
)
from bench.features.networks.clip import load_clip
from bench.features.networks.inception import InceptionFeatures, load_inception
from bench.features.networks.lpips_diversity import load_lpips
from bench.features.networks.preference_loaders import load_preference
from bench.features.references.store import ReferenceStatistics
from bench.features.scoring import PREFERENCES, clip_protocol, diversity_protocol
from bench.task.assets import PreparedAsset
from bench.task.protocol import MAIN
from bench.task.verified import verified, verified_reference
from tasks.text.task import LPIPS, TextTask

PATCH, CLIP = "patch", "clip"


class TextExtractors:
    """The feature extractors of a prepared text-to-image task, with their references of real images."""

    def __init__(self, task: TextTask, cache: Path, progress: Progress) -> None:
        """Load the extractors of the protocol's metrics. Raises UserError if their weights have changed."""
        self.task = task
        self.cache = cache
        self.weights = list[PreparedAsset]()
        self.data = list[PreparedAsset]()
        self.references: dict[str, ReferenceStatistics] = {}
        self.loaded: dict[str, Extract] = {}
        if "features" in task.roles:
            self._add_inception(progress)
        protocol = clip_protocol(task.rules.clip)
        if protocol.role in task.roles:
            clip = load_clip(protocol, self._path(protocol.role), device=this_device())
            self._add(CLIP, clip.sha256, partial(clip_scores, clip), protocol.role)
        if LPIPS in task.roles:
            self._add_lpips(progress)
        for name in PREFERENCES:
            if name in task.roles:
                model = load_preference(name, self._path(name), device=this_device())
                self._add(name, model.sha256, partial(preference_scores, model, name))

    def _add(self, name: str, sha256: str, extract: Extract, role: str | None = None) -> None:
        """Add an extractor with its network's role, by default the extractor's name."""
        role = role or name
        self.weights.append(verified(role, self.task.pinned[role], sha256))
        self.loaded[name] = extract

    def _add_inception(self, progress: Progress) -> None:
        """Add the extractors of whole images and of patches, with those references that the protocol requires."""
        inception = load_inception(
            self._path("features"),
            self.cache,
            download=False,
            progress=progress,
            device=this_device(),
            own_weights=True,  # the next line refuses it unless its hash is the pinned one
            resize="clean",
        )
        self.weights.append(verified("features", self.task.pinned["features"], inception.sha256))
        self.loaded[MAIN] = partial(inception_of_squares, inception, self.task.rules.compared_at)
        if PATCH in self.task.protocol.extractors:
            self.loaded[PATCH] = partial(inception_of_patches, inception, self.task.rules.small_patches)
        for role, extractor in (("reference", MAIN), ("patch_reference", PATCH)):
            if role in self.task.roles:
                self.references[extractor] = self._real(role, inception)

    def _add_lpips(self, progress: Progress) -> None:
        lpips = load_lpips(
            diversity_protocol(self.task.rules.diversity),
            self._path(LPIPS),
            self.cache,
            download=False,
            progress=progress,
            device=this_device(),
            own_weights=True,  # as above
        )
        self._add(LPIPS, lpips.sha256, partial(lpips_of_prompts, lpips))

    def _path(self, role: str) -> Path:
        return Path(self.task.pinned[role].path)

    def _real(self, role: str, inception: InceptionFeatures) -> ReferenceStatistics:
        asset = self.task.pinned[role]
        real, verified_asset = verified_reference(role, asset, self.cache, inception.name, "--reals")
        self.data.append(verified_asset)
        return real
