"""The descriptions of the built-in metrics. Imports neither torch nor numpy."""

from __future__ import annotations

import math
from dataclasses import replace

from bench.metrics.info import MetricInfo

RATE = (0.0, 1.0)
COSINE = (-1.0, 1.0)
DISTANCE = (0.0, math.inf)

FD = MetricInfo(
    name="fd",
    title="FD",
    direction="lower",
    min_samples=500,
    summary="Fréchet distance of Gaussians fitted to the features; biased upwards as 1/samples",
    source="Heusel et al. 2017, arXiv:1706.08500",
    implementation="bench.metrics.frechet:FrechetDistance",
    needs_reference=True,
    range=DISTANCE,
)

FD_TEACHER = replace(
    FD,
    name="fd-teacher",
    title="FD to the teacher",
    summary="FD to the teacher's images of the same prompts and seeds, not to real ones: 0 for the teacher's own "
    "sampler; it says how close a student is to its teacher, and not how good either is",
    source="FID-T in SenseFlow, arXiv:2506.00523; pi-Flow, arXiv:2510.14974",
    compares_with="teacher",
)

SFID = MetricInfo(
    name="sfid",
    title="sFD",
    direction="lower",
    min_samples=2024,
    summary="Fréchet distance of spatial features (7 channels of mixed_6/conv); for ADM's references",
    source="Nash et al. 2021, arXiv:2103.03841; layer and channels as ADM's evaluation",
    implementation="bench.metrics.frechet:FrechetDistance",
    needs_reference=True,
    extractor="spatial",
    range=DISTANCE,
)

FD_DINOV2 = MetricInfo(
    name="fd-dinov2",
    title="FD",
    direction="lower",
    min_samples=1025,
    summary="Fréchet distance in DINOv2's features; some hundred times the size of FID, never beside it",
    source="Stein et al. 2023, arXiv:2306.04675",
    implementation="bench.metrics.frechet:FrechetDistance",
    needs_reference=True,
    extractor="dinov2",
    range=DISTANCE,
)

KID = MetricInfo(
    name="kid",
    title="KID",
    direction="lower",
    min_samples=500,
    summary="unbiased kernel distance of the features, over all pairs, with its standard error; those of another "
    "network than an Inception are first divided by their root mean square on the reference, and the value is "
    "called kid-rms; tables show it times 1,000",
    source="Bińkowski et al. 2018, arXiv:1801.01401; without a scale for other networks",
    implementation="bench.metrics.kernel:KernelDistance",
    needs_reference=True,
)

PRECISION = MetricInfo(
    name="precision",
    title="Precision",
    direction="higher",
    min_samples=500,
    summary="generated images that lie among the real ones (k nearest neighbours): fidelity",
    source="Kynkäänniemi et al. 2019, arXiv:1904.06991",
    implementation="bench.metrics.precision_recall:Precision",
    needs_reference=True,
    range=RATE,
)

RECALL = MetricInfo(
    name="recall",
    title="Recall",
    direction="higher",
    min_samples=500,
    summary="real images that lie among the generated ones (k nearest neighbours): coverage",
    source="Kynkäänniemi et al. 2019, arXiv:1904.06991",
    implementation="bench.metrics.precision_recall:Recall",
    needs_reference=True,
    range=RATE,
)

ACCURACY = MetricInfo(
    name="accuracy",
    title="Accuracy",
    direction="higher",
    min_samples=100,
    summary="generated images that the feature classifier assigns to the class asked for",
    source="GAN-test of Shmelkov et al. 2018, arXiv:1807.09499",
    implementation="bench.metrics.accuracy:Accuracy",
    range=RATE,
)

INCEPTION_SCORE = MetricInfo(
    name="is",
    title="IS",
    direction="higher",
    min_samples=5000,
    summary="Inception score, mean of 10 shuffled splits; it reads no real images, and grows with the samples",
    source="Salimans et al. 2016, arXiv:1606.03498; splits and logits as torch-fidelity",
    implementation="bench.metrics.inception_score:InceptionScore",
    range=(1.0, math.inf),
)

PATCH_FD = MetricInfo(
    name="patch-fd",
    title="Patch FD",
    direction="lower",
    min_samples=500,
    summary="Fréchet distance of parts of the images, which keep their detail: a crop, or each item of a scene",
    source="Lin et al. 2024 (SDXL-Lightning), arXiv:2402.13929",
    implementation="bench.metrics.frechet:PatchFrechetDistance",
    needs_reference=True,
    extractor="patch",
    range=DISTANCE,
)

PATCH_FD_TEACHER = replace(
    PATCH_FD,
    name="patch-fd-teacher",
    title="Patch FD to the teacher",
    summary="patch FD to the teacher's images of the same prompts and seeds, as fd-teacher",
    source="patch FID-T in SenseFlow, arXiv:2506.00523",
    compares_with="teacher",
)

CLIP = MetricInfo(
    name="clip",
    title="CLIP score",
    direction="higher",
    min_samples=500,
    summary="mean cosine of image and prompt, not multiplied by 100; network and prefix as the protocol says",
    source="Hessel et al. 2021, arXiv:2104.08718",
    implementation="bench.metrics.scores:PromptScore",
    extractor="clip",
    range=COSINE,
)

ALIGNMENT = MetricInfo(
    name="alignment",
    title="Alignment",
    direction="higher",
    min_samples=100,
    summary="how much of its prompt an image shows, as a classifier reads it: mean over images, 0 to 1",
    source="GAN-test of Shmelkov et al. 2018, arXiv:1807.09499, on what a caption names",
    implementation="bench.metrics.scores:MeanScore",
    range=RATE,
)

KINDS = MetricInfo(
    name="kinds",
    title="Kinds",
    direction="higher",
    min_samples=100,
    summary="images in which a classifier reads the caption's kinds of items at their places, in any colours",
    source="as alignment",
    implementation="bench.metrics.scores:MeanScore",
    range=RATE,
)

COLOURS = MetricInfo(
    name="colours",
    title="Colours",
    direction="higher",
    min_samples=100,
    summary="images in which a classifier reads the caption's colours at their places, for any kinds",
    source="as alignment",
    implementation="bench.metrics.scores:MeanScore",
    range=RATE,
)

DIVERSITY = MetricInfo(
    name="diversity",
    title="Diversity",
    direction="higher",
    min_samples=100,
    summary="mean LPIPS, or the protocol's other distance, between the images of one prompt; incoherent "
    "images score high: read it beside CLIP score or alignment",
    source="DMD2, arXiv:2405.14867, App. B; Zhang et al. 2018, arXiv:1801.03924",
    implementation="bench.metrics.diversity:Diversity",
    extractor="lpips",
    range=DISTANCE,
)

PICKSCORE = MetricInfo(
    name="pickscore",
    title="PickScore",
    direction="higher",
    min_samples=500,
    summary="mean logit of a CLIP network trained on people's choices between images of a prompt",
    source="Kirstain et al. 2023, arXiv:2305.01569",
    implementation="bench.metrics.scores:PromptScore",
    extractor="pickscore",
)

HPS = MetricInfo(
    name="hps",
    title="HPS v2.1",
    direction="higher",
    min_samples=500,
    summary="mean cosine, times 100, of a CLIP network trained on people's choices between images of a prompt",
    source="Wu et al. 2023, arXiv:2306.09341",
    implementation="bench.metrics.scores:PromptScore",
    extractor="hps",
    range=(-100.0, 100.0),
)

IMAGE_REWARD = MetricInfo(
    name="image-reward",
    title="ImageReward",
    direction="higher",
    min_samples=500,
    summary="mean reward, normalised as by its authors, of a BLIP trained on people's rankings of images",
    source="Xu et al. 2023, arXiv:2304.05977",
    implementation="bench.metrics.scores:PromptScore",
    extractor="image-reward",
)
