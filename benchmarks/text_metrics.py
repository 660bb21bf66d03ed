"""Measure the cost of text-to-image evaluation: one pass of the package against each library on its own.

    python benchmarks/text_metrics.py stream [--images 500] [--clip ViT-g-14]   # FID, patch FID, CLIP of 1024 px
    python benchmarks/text_metrics.py diversity [--images 32] [--net alex]      # LPIPS of prompts with 4 images
    python benchmarks/text_metrics.py memory [--images 2000]                    # peak beyond the networks

Random weights in networks of the real sizes (CLIP is ViT-B-32 unless --clip is given). The sides take turns in
blocks, and the ratio is that of the sums. Runs on a GPU if there is one, by the wall clock; on a CPU seconds are
the processor's, which a busy neighbour stretches less.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from frechet import through_sqrtm
from PIL import Image
from text_networks import (
    BATCH,
    DEVICE,
    RANDOM,
    SIDE,
    Program,
    captions,
    clip_scorer,
    decoded,
    lpips_diversity,
    machine,
    photographs,
    random_inception,
)
from torch import Tensor, nn

from bench.core.cpu import compute_on_cpu
from bench.core.files import human_size
from bench.features.networks.clip import CLIPScorer
from bench.features.networks.inception import InceptionFeatures
from bench.features.networks.inception_network import TAPS, Inception
from bench.features.preprocess import Squares, centre_patches
from bench.features.scoring import LPIPS_ALEX
from bench.features.statistics import GaussianStatistics
from bench.metrics.frechet import frechet_distance

EVALUATED, BLOCK = 512, 48

Transform = Callable[[np.ndarray], np.ndarray]


# Our one pass


class OnePass:
    """The package's FID, patch FID and CLIP score of images that are decoded once."""

    def __init__(self, inception: InceptionFeatures, scorer: CLIPScorer) -> None:
        self.inception = inception
        self.scorer = scorer
        self.whole = GaussianStatistics(TAPS["pool"])
        self.patches = GaussianStatistics(TAPS["pool"])
        self.scores: list[np.ndarray] = []

    def see(self, files: Sequence[Path], prompts: Sequence[str]) -> Squares:
        """Take in one batch."""
        images = decoded(files)
        squares = Squares(images)
        self.whole.update(self.inception(squares(EVALUATED))["pool"].numpy())
        self.patches.update(self.inception(centre_patches(images, "squash").images)["pool"].numpy())
        self.scores.append(self.scorer.scores_of(squares, prompts).cosines)
        return squares


def clean_inception(network: Inception) -> InceptionFeatures:
    """Return the extractor of clean FID. This changes the network."""
    return InceptionFeatures(network.faster().to(DEVICE), ("pool",), "random", RANDOM, BATCH, "clean")


# Each library by itself


def centred(image: Image.Image, side: int) -> Image.Image:
    """Return the centre of an image."""
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def as_evaluated(image: np.ndarray) -> np.ndarray:
    """Return the image as the official evaluation gives it to clean-fid's resize."""
    square = centred(Image.fromarray(image), min(image.shape[:2]))
    return np.asarray(square.resize((EVALUATED, EVALUATED), Image.Resampling.LANCZOS))


def as_patch(image: np.ndarray) -> np.ndarray:
    """Return the image as the official evaluation gives it to clean-fid's resize for patch FID."""
    return np.asarray(centred(Image.fromarray(image), 299))


def clean_fid_features(
    files: Sequence[Path], model: nn.Module, transform: Callable[..., np.ndarray]
) -> np.ndarray:
    """Return the features [N, 2048] of files by clean-fid."""
    from cleanfid import fid

    names = [str(file) for file in files]
    return fid.get_files_features(
        names, model, 0, BATCH, DEVICE, "clean", verbose=False, custom_image_tranform=transform
    )


@torch.no_grad()
def open_clip_scores(files: Sequence[Path], prompts: Sequence[str], scorer: CLIPScorer) -> np.ndarray:
    """Return the cosines [N] of files by open_clip's functions."""
    model, scores = scorer.model, []
    for begin in range(0, len(files), BATCH):
        images = []
        for file in files[begin : begin + BATCH]:
            image = Image.open(file).convert("RGB")
            square = centred(image, min(image.size)).resize((256, 256), Image.Resampling.LANCZOS)
            images.append(scorer.preprocess(square))
        tokens = open_clip.tokenize([f"A photo depicts {p}" for p in prompts[begin : begin + BATCH]])
        image = model.encode_image(torch.stack(images).to(DEVICE), normalize=True)
        read = model.encode_text(tokens.to(DEVICE), normalize=True)
        scores.append((image * read).sum(dim=1).cpu().numpy())
    return np.concatenate(scores)


# What is measured


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds of a call and its result: wall time on a GPU, otherwise CPU time."""
    clock = time.process_time if DEVICE.type == "cpu" else time.perf_counter
    begun = clock()
    found = work()
    return clock() - begun, found


def in_batches(count: int, size: int) -> Iterator[slice]:
    """Yield slices of at most `size` over range(count)."""
    for begin in range(0, count, size):
        yield slice(begin, min(begin + size, count))


def reference() -> tuple[np.ndarray, np.ndarray]:
    """Return a Gaussian as the reference of distances."""
    deviations = np.sqrt(3 * np.exp(-np.linspace(0, 11.5, TAPS["pool"])))
    return np.full(TAPS["pool"], 0.1), np.diag(deviations**2)


def stream(count: int, architecture: str) -> None:
    """Time both sides block by block, and compare the distances of features and the scores."""
    from cleanfid.inception_torchscript import InceptionV3W

    network, scorer, prompts = random_inception(), clip_scorer(architecture), captions(count)
    few_words = [f"warm {i}" for i in range(min(BATCH, count))]
    theirs: dict[str, list[np.ndarray]] = {"FID": [], "patch FID": [], "CLIP": []}
    took: dict[str, list[float]] = {"one pass": [], **{name: [] for name in theirs}}
    with tempfile.TemporaryDirectory() as folder:
        files = photographs(Path(folder), count)
        torch.jit.script(Program(network).eval()).save(Path(folder) / "inception-2015-12-05.pt")
        program = InceptionV3W(folder, download=False).to(DEVICE)
        ours, warm = (OnePass(inception, scorer) for inception in [clean_inception(network)] * 2)
        few = files[:BATCH]
        for _ in range(3):  # warm up: kernels are selected, programs are optimised
            clean_fid_features(few, program, as_patch)
        open_clip_scores(few, few_words, scorer)
        warm.see(few, few_words)
        for block in in_batches(count, BLOCK):
            part, asked = files[block], prompts[block]
            sides: dict[str, Callable[[], Any]] = {
                "FID": lambda part=part: clean_fid_features(part, program, as_evaluated),
                "patch FID": lambda part=part: clean_fid_features(part, program, as_patch),
                "CLIP": lambda part=part, asked=asked: open_clip_scores(part, asked, scorer),
            }
            for name, work in sides.items():
                one, found = seconds(work)
                took[name].append(one)
                theirs[name].append(found)
            took["one pass"].append(
                seconds(lambda p=part, a=asked: [ours.see(p[b], a[b]) for b in in_batches(len(p), BATCH)])[0]
            )
    print(f"{count} images of {SIDE} x {SIDE}, CLIP {architecture}, {machine()}")
    for name, parts in took.items():
        print(f"{name:<12}{sum(parts):9.1f} s   {1000 * sum(parts) / count:8.1f} ms an image")
    apart = [sum(round_) for round_ in zip(*(took[name] for name in theirs), strict=True)]
    ratios = [slow / fast for slow, fast in zip(apart, took["one pass"], strict=True)]
    print(f"apart / one pass, networks: {sum(apart) / sum(took['one pass']):.2f}", end=" ")
    print(f"(blocks of {BLOCK}: {min(ratios):.2f} to {max(ratios):.2f})")
    cosines, expected = np.concatenate(ours.scores), np.concatenate(theirs["CLIP"])
    print(f"CLIP score  {cosines.mean():.9f}, cosines differ by {np.abs(cosines - expected).max():.1e} at most")
    mean, cov = reference()
    whole, parts = sum(apart), sum(took["one pass"])
    for name, sums in (("FID", ours.whole), ("patch FID", ours.patches)):
        features = np.concatenate(theirs[name])
        slow, distance = seconds(
            lambda f=features: through_sqrtm((f.mean(axis=0), np.cov(f, rowvar=False)), (mean, cov))
        )
        fast, found = seconds(lambda s=sums: frechet_distance(s.mean, s.covariance, mean, cov).value)
        whole, parts = whole + slow, parts + fast
        print(f"{name:<12}{found:.9f}, {abs(found - distance) / distance:.1e} from clean-fid's", end="; ")
        print(f"distance {fast:.1f} s, clean-fid's {slow:.1f} s")
    print(f"apart / one pass, with the distances: {whole / parts:.2f}")


@torch.no_grad()
def pairwise(model: nn.Module, pixels: Tensor) -> list[float]:
    """Return the LPIPS of all pairs by the lpips package."""
    return [model(one[None], other[None]).item() for one, other in itertools.combinations(pixels, 2)]


def diversity(count: int, net: str) -> None:
    """Time LPIPS by pairs and with shared trunk features on prompts of four 512 px images."""
    shared, size = lpips_diversity(net), LPIPS_ALEX.images
    model, ratios, equal = shared.model, [], True
    took = {"pairwise": 0.0, "shared": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        files = photographs(Path(folder), count)
        for prompt in range(-1, count // size):
            images = Squares(decoded(files[max(prompt, 0) * size :][:size]))(LPIPS_ALEX.size)
            slow, expected = seconds(lambda images=images: pairwise(model, shared.pixels(images).to(DEVICE)))
            fast, found = seconds(lambda images=images: shared.distances(images))
            if prompt < 0:  # warms up
                continue
            equal &= found.tolist() == expected
            took = {"pairwise": took["pairwise"] + slow, "shared": took["shared"] + fast}
            ratios.append(slow / fast)
    print(f"LPIPS {net}, {count // size} prompts of {size} images, 512 x 512, {machine()}")
    for name, total in took.items():
        print(f"{name:<10}{total / len(ratios):8.3f} s a prompt")
    ratio = f"{took['pairwise'] / took['shared']:.2f}, median of prompts {statistics.median(ratios):.2f}"
    print(f"pairwise / shared: {ratio}; bit-identical: {equal}")


def memory(count: int, architecture: str, net: str) -> None:
    """Evaluate `count` images on all four metrics and print the peak beyond the networks."""
    one_pass = OnePass(clean_inception(random_inception()), clip_scorer(architecture))
    spread = lpips_diversity(net)
    values: list[np.ndarray] = []
    with tempfile.TemporaryDirectory() as folder:
        files, prompts = photographs(Path(folder), min(count, 4 * BATCH)), captions(count)
        networks = resident()
        for batch in in_batches(count, BATCH):
            part = [files[i % len(files)] for i in range(batch.start, batch.stop)]
            values.append(spread.of_prompts(one_pass.see(part, prompts[batch])))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    about = f"batches of {BATCH}, CLIP {architecture}, LPIPS {net}"
    print(f"{count} images of {SIDE} x {SIDE}, {about}, {machine()}")
    print(f"networks {human_size(networks)}, peak {human_size(peak)}: {human_size(peak - networks)} beyond")


def resident() -> int:
    """Return the bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> None:
    """Run the measurement of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["stream", "diversity", "memory"])
    parser.add_argument("--images", type=int, help="default: 500, 32 or 2000")
    parser.add_argument("--clip", default="ViT-B-32", help="architecture of open_clip")
    parser.add_argument("--net", choices=["alex", "vgg"], default="vgg", help="trunk of LPIPS")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    compute_on_cpu(options.threads)
    torch.manual_seed(0)
    if options.what == "stream":
        stream(options.images or 500, options.clip)
    elif options.what == "diversity":
        diversity(options.images or 32, options.net)
    else:
        memory(options.images or 2000, options.clip, options.net)


if __name__ == "__main__":
    main()
