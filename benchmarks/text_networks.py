"""Photographs, prompts and random networks of the real sizes, for the benchmarks of text-to-image evaluation."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import lpips
import numpy as np
import open_clip
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from bench.features.networks.clip import CLIPScorer
from bench.features.networks.inception_network import Convolution, Inception
from bench.features.networks.lpips_diversity import LPIPSDiversity
from bench.features.scoring import CLIP_G14_DMD2, LPIPS_ALEX, LPIPS_VGG
from bench.features.weights import FoundWeights

SIDE, BATCH = 1024, 16
RANDOM = FoundWeights(Path("random"), "0" * 64)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CAPTION = "a red bus beside two sleeping dogs under the old wooden bridge at night in heavy rain"


def photographs(folder: Path, count: int) -> list[Path]:
    """Write `count` PNG files of 1024 x 1024: enlarged parts of two photographs with a little noise."""
    rng, sources, files = np.random.default_rng(0), load_sample_images().images, []
    for i in range(count):
        side = int(rng.integers(200, 420))
        top, left = (int(rng.integers(0, size - side)) for size in sources[i % 2].shape[:2])
        part = Image.fromarray(sources[i % 2][top : top + side, left : left + side])
        image = np.asarray(part.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float32)
        noisy = image + rng.normal(0, 3, image.shape).astype(np.float32)
        files.append(folder / f"{i:05d}.png")
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(files[-1], compress_level=1)
    return files


def captions(count: int) -> list[str]:
    """Return `count` different prompts of 8 to 16 words."""
    rng = np.random.default_rng(1)
    return [f"{' '.join(rng.choice(CAPTION.split(), rng.integers(7, 16)))} {i}" for i in range(count)]


def random_inception(divisor: int = 1) -> Inception:
    """Inception with weights that keep the size of activations; a divisor makes its layers narrower."""
    network = Inception(divisor)
    for module in network.modules():
        if isinstance(module, Convolution):
            nn.init.kaiming_normal_(module.conv.weight)
    return network


class Layers(nn.Module):
    """The layers from scaled images to features, as `layers` in NVIDIA's file."""

    def __init__(self, network: Inception) -> None:
        super().__init__()
        modules = dict(network.named_children())
        del modules["fc"]
        self.chain = nn.Sequential(*modules.values())

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.chain(x)
        return features.mean(dim=(2, 3), keepdim=True)


class Program(nn.Module):
    """The part of NVIDIA's file that clean-fid uses."""

    def __init__(self, network: Inception) -> None:
        super().__init__()
        self.layers = torch.jit.trace(Layers(network), torch.zeros(1, 3, 299, 299), check_trace=False)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x)
        return features


def clip_scorer(architecture: str) -> CLIPScorer:
    """open_clip's network with random weights in the paper's protocol."""
    model, _, preprocess = open_clip.create_model_and_transforms(architecture, device=DEVICE)
    model.eval().requires_grad_(False)
    tokenizer, protocol = open_clip.get_tokenizer(architecture), replace(CLIP_G14_DMD2, architecture=architecture)
    return CLIPScorer(model, tokenizer, preprocess, protocol, RANDOM, BATCH)


def lpips_diversity(net: str) -> LPIPSDiversity:
    """Return LPIPS with a random trunk."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = lpips.LPIPS(net=net, pnet_rand=True, verbose=False).requires_grad_(False).to(DEVICE)
    return LPIPSDiversity(model, LPIPS_ALEX if net == "alex" else LPIPS_VGG, RANDOM)


def decoded(files: Sequence[Path]) -> Tensor:
    """Return images as uint8 [B, 3, H, W], channels last."""
    images = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def machine() -> str:
    """Return the description of the machine."""
    where = platform.machine() if DEVICE.type == "cpu" else torch.cuda.get_device_name(DEVICE)
    return f"{where}, {torch.get_num_threads()} thread(s), torch {torch.__version__}"
