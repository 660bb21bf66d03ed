"""Measure all image metrics of `coco10k` in one pass against each tool by itself, on images of 1024 px.

    python benchmarks/one_pass.py [--images 4]                       # ViT-L/14 and the Inception at their sizes
    python benchmarks/one_pass.py --networks small --images 96       # reading and resizing alone, nearly
    python benchmarks/one_pass.py --networks small --images 400 --memory

One pass: FID, KID, precision and recall, patch FID, CLIP score, CMMD, FD-DINOv2, Vendi score, aesthetic score, and
the statistics of pixels. Each image is decoded once, each resize and each network runs once. Apart: a script for
each metric that reads the files for itself, as clean-fid, cmmd and the others do. They take turns with the one
pass, batch by batch, on the same loaded networks. Weights are random: speed does not depend on them. On a CPU
seconds are the processor's, which a busy neighbour stretches less. The distances at the end cost both sides the
same, and are left out.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from text_metrics import (
    EVALUATED,
    as_evaluated,
    as_patch,
    centred,
    clean_fid_features,
    clean_inception,
    in_batches,
    open_clip_scores,
    resident,
    seconds,
)
from text_networks import (
    BATCH,
    DEVICE,
    RANDOM,
    SIDE,
    Program,
    captions,
    clip_scorer,
    decoded,
    machine,
    photographs,
    random_inception,
)
from torch import nn
from torch.nn import functional as F
from transformers import Dinov2Config, Dinov2Model

from bench.core.cpu import compute_on_cpu
from bench.core.files import human_size
from bench.features.batch import Extract, ImageBatch
from bench.features.extracting import (
    aesthetic_scores,
    clip_embeddings,
    clip_scores,
    dinov2_token,
    inception_of_patches,
    inception_of_squares,
    pixel_features,
)
from bench.features.networks.aesthetic import AestheticHead, AestheticPredictor
from bench.features.networks.clip import CLIPScorer
from bench.features.networks.dinov2 import MEAN, STD, DINOv2Features
from bench.features.networks.dinov2 import SIDE as DINOV2_SIDE
from bench.features.pixel_statistics import pixel_statistics
from bench.features.scoring import CLIP_L14, CLIP_L14_336, CLIPProtocol
from bench.features.views import Features

LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 518,
    "patch_size": 14,
}
SMALL = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 224, "patch_size": 56}
PIXELS_SIDE = 256

Tool = Callable[[Sequence[Path], Sequence[str]], np.ndarray]


# The networks, which both sides share


class Networks:
    """All networks, with random weights; `small` ones cost nearly nothing, and read images of the same sizes."""

    def __init__(self, small: bool, folder: Path) -> None:
        inception = random_inception(16 if small else 1)
        layers = Program(inception).layers.to(DEVICE)
        self.program = lambda pixels: layers((pixels - 128) / 128).flatten(1)  # as clean-fid, which wants 2,048
        self.inception = clean_inception(inception)
        self.clip = clip_scorer(_small_clip(224, folder) if small else "ViT-B-32")
        self.cmmd = self._images(CLIP_L14_336, _small_clip(336, folder) if small else None)
        clip = self._images(CLIP_L14, _small_clip(224, folder) if small else None)
        self.aesthetic = AestheticPredictor(clip, AestheticHead().eval().requires_grad_(False).to(DEVICE))
        dinov2 = Dinov2Model(Dinov2Config(**(SMALL if small else LARGE))).eval().requires_grad_(False)
        (folder / "dinov2").mkdir()
        self.dinov2 = DINOv2Features(dinov2.to(DEVICE), "random", folder / "dinov2", BATCH)

    @staticmethod
    def _images(protocol: CLIPProtocol, architecture: str | None) -> CLIPScorer:
        """Return CLIP without its text transformer, which no embedding of an image runs."""
        name = architecture or protocol.architecture
        model, _, preprocess = open_clip.create_model_and_transforms(name, device=DEVICE)
        model.eval().requires_grad_(False)
        model.transformer = nn.Identity()
        return CLIPScorer(model, open_clip.get_tokenizer(name), preprocess, protocol, RANDOM, BATCH)


def _small_clip(side: int, folder: Path) -> str:
    """Let open_clip know a CLIP of one layer for images of this size."""
    name = f"small-{side}"
    vision = {"image_size": side, "layers": 1, "width": 64, "patch_size": 56}
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"embed_dim": 768, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(path)
    return name


# Our one pass


def extractors(networks: Networks) -> dict[str, Extract]:
    """Return the extractors that the metrics read: KID, precision and recall read those of FID, Vendi DINOv2's."""
    return {
        "main": partial(inception_of_squares, networks.inception, EVALUATED),
        "patch": partial(inception_of_patches, networks.inception, "squash"),
        "clip": partial(clip_scores, networks.clip),
        "clip-l14-336": partial(clip_embeddings, networks.cmmd),
        "dinov2": partial(dinov2_token, networks.dinov2),
        "aesthetic": partial(aesthetic_scores, networks.aesthetic),
        "pixels": pixel_features,
    }


def one_pass(found: Mapping[str, Extract], files: Sequence[Path], prompts: Sequence[str]) -> dict[str, Features]:
    """Read one batch, and return what every extractor makes of it."""
    batch = ImageBatch(decoded(files), prompts=prompts)
    return {name: extract(batch) for name, extract in found.items()}


# Each tool by itself


@torch.no_grad()
def by_script(
    files: Sequence[Path], _prompts: Sequence[str], side: int, network: Callable[[torch.Tensor], torch.Tensor],
    mean: Sequence[float], std: Sequence[float],
) -> np.ndarray:  # fmt: skip
    """Return a network's output for files that are read, cropped, resized by the bicubic filter and normalised."""
    images = []
    for file in files:
        image = Image.open(file).convert("RGB")
        small = centred(image, min(image.size)).resize((side, side), Image.Resampling.BICUBIC)
        images.append(torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255)
    shift, scale = (torch.tensor(three)[None, :, None, None] for three in (mean, std))
    return network(((torch.stack(images) - shift) / scale).to(DEVICE)).cpu().numpy()


def pixels_by_script(files: Sequence[Path], _prompts: Sequence[str]) -> np.ndarray:
    """Return the statistics of files that are read and reduced one by one."""
    small = [
        Image.open(file).convert("RGB").resize((PIXELS_SIDE, PIXELS_SIDE), Image.Resampling.LANCZOS)
        for file in files
    ]
    return pixel_statistics(torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2)).numpy()


def tools(networks: Networks) -> dict[str, tuple[str, Tool]]:
    """Return a tool for each metric, with the extractor whose output it must equal."""
    whole: Tool = lambda files, _prompts: clean_fid_features(files, networks.program, as_evaluated)  # noqa: E731
    patch: Tool = lambda files, _prompts: clean_fid_features(files, networks.program, as_patch)  # noqa: E731
    clip, head, dinov2 = networks.aesthetic.clip.model, networks.aesthetic.head, networks.dinov2.network
    openai = (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)

    def script(side: int, network: Any, mean: Sequence[float], std: Sequence[float]) -> Tool:
        return partial(by_script, side=side, network=network, mean=mean, std=std)

    def embedded(model: Any) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda pixels: F.normalize(model.encode_image(pixels), dim=-1)

    token = script(DINOV2_SIDE, lambda pixels: dinov2(pixel_values=pixels).last_hidden_state[:, 0], MEAN, STD)
    return {
        "FID": ("main", whole),
        "KID": ("main", whole),
        "precision, recall": ("main", whole),
        "patch FID": ("patch", patch),
        "CLIP score": ("clip", lambda files, prompts: open_clip_scores(files, prompts, networks.clip)),
        "CMMD": ("clip-l14-336", script(networks.cmmd.side, embedded(networks.cmmd.model), *openai)),
        "FD-DINOv2": ("dinov2", token),
        "Vendi": ("dinov2", token),
        "aesthetic": (
            "aesthetic",
            script(networks.aesthetic.clip.side, lambda pixels: head(embedded(clip)(pixels)), *openai),
        ),
        "pixels": ("pixels", pixels_by_script),
    }


# What is measured


def rows(name: str, found: Features) -> np.ndarray:
    """Return the numbers that a tool gives: features, or the scores that have the extractor's name."""
    return found.scores.get(name, found.features)


def compare(networks: Networks, count: int, folder: Path) -> None:
    """Time both sides batch by batch, and print their ratio and how far their numbers are apart."""
    files, prompts = photographs(folder, count), captions(count)
    ours, theirs = extractors(networks), tools(networks)
    took = {"one pass": 0.0, **dict.fromkeys(theirs, 0.0)}
    apart = dict.fromkeys(theirs, 0.0)
    for _, tool in theirs.values():
        tool(files[:1], prompts[:1])
    one_pass(ours, files[:1], prompts[:1])
    for batch in in_batches(count, BATCH):
        spent, found = seconds(partial(one_pass, ours, files[batch], prompts[batch]))
        took["one pass"] += spent
        for name, (extractor, tool) in theirs.items():
            spent, expected = seconds(partial(tool, files[batch], prompts[batch]))
            took[name] += spent
            difference = np.abs(rows(extractor, found[extractor]) - expected).max() / np.abs(expected).max()
            apart[name] = max(apart[name], float(difference))
    for name, total in took.items():
        numbers = f"   numbers differ by {apart[name]:.0e}" if name in apart else ""
        print(f"{name:<18}{total:8.1f} s   {count / total:8.2f} images/s{numbers}")
    together = sum(took[name] for name in theirs)
    print(f"apart             {together:8.1f} s   {count / together:8.2f} images/s")
    print(f"apart / one pass: {together / took['one pass']:.2f}")


def memory(networks: Networks, count: int, folder: Path) -> None:
    """Run the one pass alone, and print the peak beyond the networks after each quarter of the images."""
    files, prompts = photographs(folder, min(count, 4 * BATCH)), captions(count)
    ours, before = extractors(networks), resident()
    done = 0
    for batch in in_batches(count, BATCH):
        part = [files[i % len(files)] for i in range(batch.start, batch.stop)]
        one_pass(ours, part, prompts[batch])
        if (quarter := 4 * batch.stop // count) > done:
            done = quarter
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            print(f"{batch.stop:>6} images: peak {human_size(peak)}, {human_size(peak - before)} beyond")


def main() -> None:
    """Run the measurement of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--networks", choices=["real", "small"], default="real")
    parser.add_argument("--memory", action="store_true", help="the peak of the one pass, without the tools")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    compute_on_cpu(options.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        networks = Networks(options.networks == "small", Path(folder))
        print(f"{options.images} images of {SIDE} x {SIDE}, {options.networks} networks, {machine()}")
        (memory if options.memory else compare)(networks, options.images, Path(folder))


if __name__ == "__main__":
    main()
