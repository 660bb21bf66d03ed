"""The declarations of the built-in feature extractors. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import UserError
from bench.core.progress import SilentProgress
from bench.features.base import FeatureExtractor, Weights
from bench.features.files import PORT, TORCHSCRIPT, TRUNKS
from bench.features.names import CLEAN_FEATURES, DINO_FEATURES, FID_FEATURES
from bench.features.scoring import (
    CLIP_BIGG14,
    CLIP_G14_DMD2,
    LPIPS_VGG,
    OPEN_CLIP,
    PREFERENCES,
    CLIPProtocol,
    DiversityProtocol,
)
from bench.features.weights import FoundWeights, WeightsFile

if TYPE_CHECKING:
    import torch

    from bench.features.batch import Extract


@dataclass(frozen=True)
class InceptionExtractor(FeatureExtractor):
    """One layer of the FID Inception, after one of the two rules that resize images."""

    tap: str
    resize: str
    file: WeightsFile = PORT

    def load(self, files: Mapping[str, Path], device: torch.device | str) -> Extract:
        """Load the network; a TorchScript program is run only if it is the published one."""
        from bench.features.extracting import inception_tap
        from bench.features.networks.inception import load_inception

        path = files[self.weights[0].name]
        taps = (self.tap, "logits") if self.tap == "pool" else (self.tap,)
        found = load_inception(
            path,
            path.parent,
            download=False,
            progress=SilentProgress(),
            file=self.file,
            taps=taps,
            device=device,
            own_weights=True,
            resize="clean" if self.resize == "clean" else "tf1",
        )
        return partial(inception_tap, found, self.tap)

    def network(self, found: Mapping[str, FoundWeights], code_sha256: str = "") -> str:
        """Return the published name, or for other weights a name with their hash."""
        if self.weights[0].name not in found:
            return super().network(found, code_sha256)
        published = CLEAN_FEATURES if self.resize == "clean" else FID_FEATURES
        sha256 = found[self.weights[0].name].sha256
        if sha256 != self.file.sha256:
            published = published.replace(FID_FEATURES, f"inception-own-{sha256[:12]}")
        return published if self.tap == "pool" else f"{published}-{self.tap}"


@dataclass(frozen=True)
class DINOv2Extractor(FeatureExtractor):
    """DINOv2's class token, from a folder in transformers' format."""

    def load(self, files: Mapping[str, Path], device: torch.device | str) -> Extract:
        """Load the folder."""
        from bench.features.extracting import dinov2_token
        from bench.features.networks.dinov2 import load_dinov2

        return partial(dinov2_token, load_dinov2(files["dinov2"], device))

    def network(self, found: Mapping[str, FoundWeights], code_sha256: str = "") -> str:
        """Return the published name for ViT-L/14, and for other sizes a name with the hash."""
        if "dinov2" not in found:
            return super().network(found, code_sha256)
        path = found["dinov2"].path / "config.json"
        try:
            large = json.loads(path.read_text(encoding="utf-8")).get("hidden_size") == 1024
        except (OSError, ValueError, AttributeError):
            raise UserError(
                f"{path.parent} is not a DINOv2 folder in transformers' format; fix: name such a folder"
            ) from None
        return DINO_FEATURES if large else super().network(found, code_sha256)


@dataclass(frozen=True)
class CLIPExtractor(FeatureExtractor):
    """The cosine of an image and its prompt by a CLIP network."""

    protocol: CLIPProtocol

    def load(self, files: Mapping[str, Path], device: torch.device | str) -> Extract:
        """Load open_clip's file."""
        from bench.features.extracting import clip_scores
        from bench.features.networks.clip import load_clip

        return partial(clip_scores, load_clip(self.protocol, files[self.weights[0].name], device=device))


@dataclass(frozen=True)
class LPIPSExtractor(FeatureExtractor):
    """The LPIPS distances between the images of each prompt."""

    protocol: DiversityProtocol

    def load(self, files: Mapping[str, Path], device: torch.device | str) -> Extract:
        """Load the trunk."""
        from bench.features.extracting import lpips_of_prompts
        from bench.features.networks.lpips_diversity import load_lpips

        path = files["lpips"]
        loaded = load_lpips(
            self.protocol,
            path,
            path.parent,
            download=False,
            progress=SilentProgress(),
            device=device,
            own_weights=True,
        )
        return partial(lpips_of_prompts, loaded)


@dataclass(frozen=True)
class PreferenceExtractor(FeatureExtractor):
    """A preference model's score of an image and its prompt."""

    def load(self, files: Mapping[str, Path], device: torch.device | str) -> Extract:
        """Load the model."""
        from bench.features.extracting import preference_scores
        from bench.features.networks.preference_loaders import load_preference

        return partial(preference_scores, load_preference(self.name, files[self.name], device=device), self.name)


TF1 = "bilinear to 299 x 299 within the network, without antialias, as TensorFlow 1 and EDM"
CLEAN = "clean-fid's bicubic to 299 x 299"
CENTRE = "centre square, LANCZOS, then as the authors' package"
_PORT, _SCRIPT = Weights.of_file("inception", PORT), Weights.of_file("inception-torchscript", TORCHSCRIPT)

INCEPTION = InceptionExtractor(
    "inception", "the FID Inception, for FID and KID", (_PORT,), TF1, "2,048 features", "pool", "tf1"
)
INCEPTION_CLEAN = InceptionExtractor(
    "inception-clean",
    "the FID Inception after clean-fid's resize",
    (_PORT,),
    CLEAN,
    "2,048 features",
    "pool",
    "clean",
)
SPATIAL = InceptionExtractor(
    "spatial", "the FID Inception's spatial features, for sFID", (_PORT,), TF1, "2,023 features", "spatial", "tf1"
)
INCEPTION_TORCHSCRIPT = InceptionExtractor(
    "inception-torchscript",
    "NVIDIA's program of the FID Inception; no other program is run",
    (_SCRIPT,),
    TF1,
    "2,048 features",
    "pool",
    "tf1",
    TORCHSCRIPT,
)
DINOV2 = DINOv2Extractor(
    "dinov2",
    "DINOv2 ViT-L/14, for FD-DINOv2",
    (
        Weights(
            "dinov2",
            "a folder in transformers' format",
            "https://huggingface.co/facebook/dinov2-large",
            "Apache-2.0",
        ),
    ),
    "Pillow's bicubic to 224 x 224, ImageNet's mean and deviation",
    "1,024 features",
)


def _clip(protocol: CLIPProtocol, name: str) -> CLIPExtractor:
    weights = Weights(name, OPEN_CLIP, protocol.source, "MIT")
    return CLIPExtractor(
        name, f"{protocol.architecture} of open_clip", (weights,), CENTRE, "a score", protocol=protocol
    )


CLIP, CLIP_BIGG = _clip(CLIP_G14_DMD2, "clip"), _clip(CLIP_BIGG14, CLIP_BIGG14.role)
LPIPS = LPIPSExtractor(
    "lpips",
    "LPIPS 0.1 on VGG16, between the images of a prompt",
    (Weights.of_file("lpips", TRUNKS["vgg"]),),
    f"centre square of {LPIPS_VGG.size} pixels, LANCZOS, to -1 ... 1",
    "a score of each prompt",
    LPIPS_VGG,
)


def _preference(name: str, licence: str) -> PreferenceExtractor:
    network = PREFERENCES[name]
    weights = Weights(name, network.files, network.source, licence)
    return PreferenceExtractor(name, f"preference model {network.name}", (weights,), CENTRE, "a score")


PICKSCORE = _preference("pickscore", "MIT")
HPS = _preference("hps", "Apache-2.0")
IMAGE_REWARD = _preference("image-reward", "Apache-2.0")
