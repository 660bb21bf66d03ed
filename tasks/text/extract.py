"""The networks that see what students of a text-to-image task make: a view each, as far as its protocol has it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from bench.core.device import this_device
from bench.core.progress import Progress
from bench.features.clip import CLIPScorer, load_clip
from bench.features.inception import InceptionFeatures, load_inception
from bench.features.lpips_diversity import LPIPSDiversity, load_lpips
from bench.features.preference import PreferenceModel
from bench.features.preprocess import SmallImages, Squares, centre_patches
from bench.features.scoring import PREFERENCES, clip_protocol, diversity_protocol
from bench.features.views import NO_PATCH, Features
from bench.task.prepared import PreparedAsset, RealImages
from bench.task.protocol import MAIN
from bench.task.verified import verified, verified_reference
from tasks.text.preferences import load_preference
from tasks.text.task import TextTask

PATCH, CLIP, LPIPS = "patch", "clip", "lpips"


class Shown(NamedTuple):
    """A batch as networks are shown it."""

    images: Tensor
    """uint8 [B, 3, H, W]."""
    squares: Squares
    """The same images, cropped and resized once for all networks."""
    prompts: Sequence[str]


class Sight:
    """All networks of a task that was prepared, and the real images that they are to compare with."""

    def __init__(self, task: TextTask, cache: Path, progress: Progress) -> None:
        """Load what the protocol in use sees with. Raises UserError for what has changed since it was chosen."""
        self.task = task
        self.cache = cache
        self.weights = list[PreparedAsset]()
        self.data = list[PreparedAsset]()
        self.references: dict[str, RealImages] = {}
        self.views: dict[str, Callable[[Shown], Features]] = {}
        if "features" in task.roles:
            self._add_inception(progress)
        protocol = clip_protocol(task.rules.clip)
        if protocol.role in task.roles:
            clip = load_clip(protocol, self._path(protocol.role), device=this_device())
            self._add(CLIP, clip.sha256, partial(_fit, clip), protocol.role)
        if LPIPS in task.roles:
            self._add_lpips(progress)
        for name in PREFERENCES:
            if name in task.roles:
                model = load_preference(name, self._path(name), device=this_device())
                self._add(name, model.sha256, partial(_liking, model, name))

    def __call__(self, images: Tensor, prompts: Sequence[str], views: Collection[str]) -> dict[str, Features]:
        """See uint8 images [B, 3, H, W] of B prompts in each of these views."""
        shown = Shown(images, Squares(images), prompts)
        return {view: see(shown) for view, see in self.views.items() if view in views}

    def _add(self, view: str, sha256: str, see: Callable[[Shown], Features], role: str | None = None) -> None:
        """Add a view by a network of its own, which has this role, or that of the view's name."""
        role = role or view
        self.weights.append(verified(role, self.task.chosen[role], sha256))
        self.views[view] = see

    def _add_inception(self, progress: Progress) -> None:
        """Add the views that compare with real images: whole ones, and their patches if the protocol has them."""
        inception = load_inception(
            self._path("features"),
            self.cache,
            download=False,
            progress=progress,
            device=this_device(),
            own_weights=True,  # its hash is the one that was chosen, or the next line refuses it
            resize="clean",
        )
        self.weights.append(verified("features", self.task.chosen["features"], inception.sha256))
        self.references[MAIN] = self._real("reference", inception)
        self.views[MAIN] = partial(_whole, inception, self.task.rules.compared_at)
        if "patch_reference" in self.task.roles:
            self.references[PATCH] = self._real("patch_reference", inception)
            self.views[PATCH] = partial(_patches, inception, self.task.rules.small_patches)

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
        self._add(LPIPS, lpips.sha256, partial(_diversity, lpips))

    def _path(self, role: str) -> Path:
        return Path(self.task.chosen[role].path)

    def _real(self, role: str, inception: InceptionFeatures) -> RealImages:
        asset = self.task.chosen[role]
        real, verified_asset = verified_reference(role, asset, self.cache, inception.name, "--reals")
        self.data.append(verified_asset)
        return real


def _whole(inception: InceptionFeatures, side: int, shown: Shown) -> Features:
    return Features(inception(shown.squares(side))["pool"].numpy())


def _patches(inception: InceptionFeatures, small: SmallImages, shown: Shown) -> Features:
    cut = centre_patches(shown.images, small)
    is_whole = np.full(len(shown.images), cut.fallbacks > 0)  # images of a batch are of one size
    return Features(inception(cut.images)["pool"].numpy(), scores={NO_PATCH: is_whole})


def _fit(clip: CLIPScorer, shown: Shown) -> Features:
    found = clip.scores_of(shown.squares, shown.prompts)
    return _scores(shown, clip=found.cosines, clip_truncated=found.truncated)


def _diversity(lpips: LPIPSDiversity, shown: Shown) -> Features:
    return _scores(shown, diversity=lpips.of_prompts(shown.squares))


def _liking(model: PreferenceModel, name: str, shown: Shown) -> Features:
    liked = model.scores(shown.images, shown.prompts)
    return _scores(shown, **{name: liked.values, f"{name}_truncated": liked.truncated})


def _scores(shown: Shown, **scores: np.ndarray) -> Features:
    """What a view says that only scores."""
    return Features(np.zeros((len(shown.images), 0)), scores=scores)
