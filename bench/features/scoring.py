"""How text-to-image students are scored beside FID, as data: CLIP, preferences, diversity. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bench.core.errors import unknown

LPIPS_TRUNK = "torchvision's vgg16-397923af.pth, https://download.pytorch.org/models/vgg16-397923af.pth"
"""The network that LPIPS as a regression's distance reads, as people find it."""


@dataclass(frozen=True)
class CLIPProtocol:
    """Everything that changes a CLIP score: the raw cosine, neither clamped nor times 100 or 2.5, in float32."""

    name: str
    architecture: str
    """open_clip's name of the network, which fixes its tokenizer and the last steps of its preprocessing."""
    pretrained: str
    """open_clip's tag of the weights, or their file."""
    source: str
    """Where the weights are published."""
    prefix: str = ""
    """Text whose tokens stand before every prompt's; prompt and prefix together are cut to 77 tokens."""
    pre_resize: int | None = None
    """First crop the centre square and resize it to this side with LANCZOS; None: straight from the image."""
    resized_as: Literal["bytes", "floats"] = "bytes"
    """How the image comes to the network's size. bytes: by Pillow, to whole grey levels, as open_clip does.
    floats: by torchvision, antialiased since 0.17, neither rounded nor clipped."""
    role: str = "clip"
    """Under which name a task's weights of it are chosen: networks with one of their own stand side by side."""


CLIP_G14_DMD2 = CLIPProtocol(
    name="clip-g14-dmd2",
    architecture="ViT-g-14",
    pretrained="laion2b_s12b_b42k",
    source="https://huggingface.co/laion/CLIP-ViT-g-14-laion2B-s12B-b42K",
    prefix="A photo depicts ",
    pre_resize=256,
)
"""What DMD2 and GigaGAN print: their "OpenCLIP-G" is ViT-g-14, and not bigG."""

CLIP_BIGG14 = CLIPProtocol(
    name="clip-bigg14",
    architecture="ViT-bigG-14",
    pretrained="laion2b_s39b_b160k",
    source="https://huggingface.co/laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
    role="clip-bigg14",
)
"""The larger network with the plain prompt and nothing before open_clip's own preprocessing."""

HPS_PROTOCOL = CLIPProtocol(
    name="hps-v2.1",
    architecture="ViT-H-14",
    pretrained="HPS_v2.1_compressed.pt",
    source="https://huggingface.co/xswu/HPSv2",
    resized_as="floats",
)
"""The network of HPS v2.1, and how its package scores square images: a preference, and no CLIP score."""

CLIP_PROTOCOLS: Mapping[str, CLIPProtocol] = {one.name: one for one in (CLIP_G14_DMD2, CLIP_BIGG14, HPS_PROTOCOL)}


CLIP_ROLES = ("clip", CLIP_BIGG14.role)
"""Names of the weights of networks that a CLIP score is taken by."""


@dataclass(frozen=True)
class PreferenceNetwork:
    """A network that was trained on people's choices between images of a prompt."""

    name: str
    """With its version."""
    files: str
    """What is to be named of it."""
    source: str
    """Where the weights are published."""


PREFERENCES: Mapping[str, PreferenceNetwork] = {
    "pickscore": PreferenceNetwork(
        "pickscore-v1",
        "a folder with config.json, model.safetensors and the CLIP processor's files",
        "https://huggingface.co/yuvalkirstain/PickScore_v1",
    ),
    "hps": PreferenceNetwork(HPS_PROTOCOL.name, HPS_PROTOCOL.pretrained, HPS_PROTOCOL.source),
    "image-reward": PreferenceNetwork(
        "image-reward-v1.0",
        "a folder with ImageReward.pt and bert-base-uncased's vocab.txt",
        "https://huggingface.co/THUDM/ImageReward",
    ),
}
"""By the name of the metric, which is that of the extractor, too. Their scores are never of one scale."""


@dataclass(frozen=True)
class DiversityProtocol:
    """Everything that changes an LPIPS diversity: the mean distance of the pairs of one prompt's images."""

    name: str
    net: Literal["alex", "vgg"]
    """The trunk, with the linear layers of LPIPS 0.1 on it."""
    input_range: Literal["signed", "unit"]
    """signed: -1 ... 1, which LPIPS was made for. unit: 0 ... 1, which it takes without complaint, and which
    makes distances smaller by a factor of two or three."""
    pooling: Literal["max", "average"] = "max"
    """Between VGG's layers: its own, or average in its place, as piq's `replace_pooling` has it."""
    size: int = 512
    """Side of the centre square, by LANCZOS."""
    images: int = 4
    """Images of each prompt; every unordered pair counts."""


LPIPS_VGG = DiversityProtocol("lpips-vgg", net="vgg", input_range="signed")
LPIPS_ALEX = DiversityProtocol("lpips-alex", net="alex", input_range="signed")
LPIPS_PIQ = DiversityProtocol("lpips-piq", net="vgg", input_range="signed", pooling="average")
"""What the official function most likely took. It gives images in 0 ... 1 to a network that no published code
names; piq's LPIPS, which the official training takes with average pooling, wants that range, and normalises it to
what LPIPS's own package makes of -1 ... 1."""
LPIPS_VGG_UNIT = DiversityProtocol("lpips-vgg-unit", net="vgg", input_range="unit")
"""What that function would have given with LPIPS's own package, which wants another range."""

DIVERSITY_PROTOCOLS: Mapping[str, DiversityProtocol] = {
    one.name: one for one in (LPIPS_VGG, LPIPS_ALEX, LPIPS_PIQ, LPIPS_VGG_UNIT)
}


def clip_protocol(name: str) -> CLIPProtocol:
    """Look up how CLIP scores are taken. Raises UserError if there is no such way."""
    if name not in CLIP_PROTOCOLS:
        raise unknown("CLIP protocol", name, CLIP_PROTOCOLS)
    return CLIP_PROTOCOLS[name]


def diversity_protocol(name: str) -> DiversityProtocol:
    """Look up how diversity is taken. Raises UserError if there is no such way."""
    if name not in DIVERSITY_PROTOCOLS:
        raise unknown("diversity protocol", name, DIVERSITY_PROTOCOLS)
    return DIVERSITY_PROTOCOLS[name]
