"""The scores of text-to-image students other than FID, as data. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bench.core.errors import unknown
from bench.features.files import TRUNKS

LPIPS_TRUNK = f"torchvision's {TRUNKS['vgg'].name}, {TRUNKS['vgg'].url}"
"""The file, with its address, of the network that LPIPS reads as a regression's distance."""
OPEN_CLIP = "open_clip_pytorch_model.bin or open_clip_model.safetensors"
"""The names of the files in which open_clip's networks are published."""


@dataclass(frozen=True)
class CLIPProtocol:
    """Everything that changes a CLIP score, the raw cosine of float32 embeddings, not clamped or scaled."""

    name: str
    architecture: str
    """open_clip's name of the network, which fixes its tokenizer and the last steps of its preprocessing."""
    pretrained: str
    """open_clip's tag of the weights, or their file."""
    source: str
    """Where the weights are published."""
    prefix: str = ""
    """Text before every prompt; prefix and prompt together are cut to 77 tokens."""
    pre_resize: int | None = None
    """Side to which the centre square is first resized with LANCZOS; None: the image is used directly."""
    resized_as: Literal["bytes", "floats"] = "bytes"
    """The rule that resizes the image to the network's input. bytes: by Pillow, to whole grey levels, as open_clip
    does. floats: by torchvision, antialiased since 0.17, neither rounded nor clipped."""
    role: str = "clip"
    """The name under which a task pins its weights; networks with different names can be pinned together."""


CLIP_G14_DMD2 = CLIPProtocol(
    name="clip-g14-dmd2",
    architecture="ViT-g-14",
    pretrained="laion2b_s12b_b42k",
    source="https://huggingface.co/laion/CLIP-ViT-g-14-laion2B-s12B-b42K",
    prefix="A photo depicts ",
    pre_resize=256,
)
"""The CLIP score of DMD2 and GigaGAN: their "OpenCLIP-G" is ViT-g-14, and not bigG."""

CLIP_BIGG14 = CLIPProtocol(
    name="clip-bigg14",
    architecture="ViT-bigG-14",
    pretrained="laion2b_s39b_b160k",
    source="https://huggingface.co/laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
    role="clip-bigg14",
)
"""The larger network with the plain prompt and open_clip's own preprocessing."""

CLIP_L14_336 = CLIPProtocol(
    name="clip-l14-336",
    architecture="ViT-L-14-336-quickgelu",
    pretrained="openai",
    source="https://huggingface.co/timm/vit_large_patch14_clip_336.openai",
    role="clip-l14-336",
)
"""The network of CMMD. open_clip calls OpenAI's own activation quickgelu."""

CLIP_L14 = CLIPProtocol(
    name="clip-l14",
    architecture="ViT-L-14-quickgelu",
    pretrained="openai",
    source="https://huggingface.co/timm/vit_large_patch14_clip_224.openai",
    role="clip-l14",
)
"""OpenAI's network with the activation that it was trained with: LAION's aesthetic predictor reads its images, and
GenEval tells colours by it."""

HPS_PROTOCOL = CLIPProtocol(
    name="hps-v2.1",
    architecture="ViT-H-14",
    pretrained="HPS_v2.1_compressed.pt",
    source="https://huggingface.co/xswu/HPSv2",
    resized_as="floats",
)
"""The network of HPS v2.1, as its package scores square images; it is a preference model, not a CLIP score."""

CLIP_PROTOCOLS: Mapping[str, CLIPProtocol] = {
    one.name: one for one in (CLIP_G14_DMD2, CLIP_BIGG14, CLIP_L14, HPS_PROTOCOL)
}


CLIP_ROLES = ("clip", CLIP_BIGG14.role)
"""The names of the weights of all networks for CLIP scores."""


@dataclass(frozen=True)
class PreferenceNetwork:
    """A network that was trained on people's choices between images of a prompt."""

    name: str
    """Its name with its version."""
    files: str
    """A description of the files that the user names."""
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
"""Preference networks by the name of the metric and of the extractor. Their scores have different scales."""


@dataclass(frozen=True)
class DiversityProtocol:
    """Everything that changes an LPIPS diversity: the mean distance of the pairs of one prompt's images."""

    name: str
    net: Literal["alex", "vgg"]
    """The trunk under the linear layers of LPIPS 0.1."""
    input_range: Literal["signed", "unit"]
    """signed: -1 ... 1, which LPIPS was made for. unit: 0 ... 1, which it accepts, and which makes distances
    smaller by a factor of two or three."""
    pooling: Literal["max", "average"] = "max"
    """VGG's own max pooling, or average pooling in its place, as piq's `replace_pooling` does."""
    size: int = 512
    """Side to which the centre square is resized by LANCZOS."""
    images: int = 4
    """Number of images of each prompt; every unordered pair counts."""


LPIPS_VGG = DiversityProtocol("lpips-vgg", net="vgg", input_range="signed")
LPIPS_ALEX = DiversityProtocol("lpips-alex", net="alex", input_range="signed")
LPIPS_PIQ = DiversityProtocol("lpips-piq", net="vgg", input_range="signed", pooling="average")
"""The network that the official function most likely used. That function passes images in 0 ... 1 to a network
that no published code names. piq's LPIPS, which the official training uses with average pooling, expects that
range, and normalises it to the input that LPIPS's own package makes of -1 ... 1."""
LPIPS_VGG_UNIT = DiversityProtocol("lpips-vgg-unit", net="vgg", input_range="unit")
"""The distance of that function with LPIPS's own package, which expects another range."""

DIVERSITY_PROTOCOLS: Mapping[str, DiversityProtocol] = {
    one.name: one for one in (LPIPS_VGG, LPIPS_ALEX, LPIPS_PIQ, LPIPS_VGG_UNIT)
}


def clip_protocol(name: str) -> CLIPProtocol:
    """Return the CLIP protocol of this name. Raises UserError if there is none."""
    if name not in CLIP_PROTOCOLS:
        raise unknown("CLIP protocol", name, CLIP_PROTOCOLS)
    return CLIP_PROTOCOLS[name]


def diversity_protocol(name: str) -> DiversityProtocol:
    """Return the diversity protocol of this name. Raises UserError if there is none."""
    if name not in DIVERSITY_PROTOCOLS:
        raise unknown("diversity protocol", name, DIVERSITY_PROTOCOLS)
    return DIVERSITY_PROTOCOLS[name]
