"""The descriptions of the metrics that look at images alone: distances, diversity, pixels. Imports neither torch
nor numpy."""

from __future__ import annotations

import math
from dataclasses import replace

from bench.metrics.catalogue import DISTANCE
from bench.metrics.info import MetricInfo

CMMD = MetricInfo(
    name="cmmd",
    title="CMMD",
    direction="lower",
    min_samples=500,
    summary="kernel distance of CLIP ViT-L/14@336's image embeddings (Gaussian kernel, sigma 10, biased), times "
    "1,000; assumes no Gaussian, so that fewer images are enough than for FID",
    source="Jayasumana et al. 2024, arXiv:2401.09603",
    implementation="bench.metrics.cmmd:CMMD",
    extractor="clip-l14-336",
    needs_reference=True,
    range=DISTANCE,
)

VENDI = MetricInfo(
    name="vendi",
    title="Vendi",
    direction="higher",
    min_samples=500,
    summary="number of different images that the set is worth, by the cosine of the features; it reads no real "
    "images, grows with the samples, and noise is diverse too",
    source="Friedman and Dieng 2023, arXiv:2210.02410",
    implementation="bench.metrics.vendi:VendiScore",
    range=(1.0, math.inf),
)

VENDI_DINOV2 = replace(
    VENDI, name="vendi-dinov2", extractor="dinov2", summary="Vendi score in DINOv2's features, for text-to-image"
)

VENDI_PROMPT = replace(
    VENDI,
    name="vendi-prompt",
    title="Vendi of a prompt",
    min_samples=100,
    summary="mean over prompts of the Vendi score of a prompt's images in DINOv2's features: 1 to their number",
    implementation="bench.metrics.prompt_diversity:PromptVendi",
    extractor="dinov2",
)

DIVERSITY_DINO = MetricInfo(
    name="diversity-dino",
    title="Diversity",
    direction="higher",
    min_samples=100,
    summary="mean over prompts of 1 minus the mean cosine between a prompt's images in DINOv2's features; read it "
    "beside CLIP score, as incoherent images score high",
    source="DP-DMD, arXiv:2602.03139",
    implementation="bench.metrics.prompt_diversity:CosineDiversity",
    extractor="dinov2",
    range=(0.0, 2.0),
)

AESTHETIC = MetricInfo(
    name="aesthetic",
    title="Aesthetic",
    direction="higher",
    min_samples=100,
    summary="mean score, about 1 to 10, of LAION's improved predictor, trained on people's ratings of images; it "
    "reads no prompt, and optimised against it says little",
    source="Schuhmann et al. 2022, arXiv:2210.08402; github.com/christophschuhmann/improved-aesthetic-predictor",
    implementation="bench.metrics.scores:MeanScore",
    extractor="aesthetic",
)

SATURATION = MetricInfo(
    name="saturation",
    title="Saturation gap",
    direction="lower",
    min_samples=100,
    summary="1-Wasserstein distance between the images' mean HSV saturations, generated and real; 0 to 1, the "
    "diagnostics have both means",
    source="HSV of Smith 1978; the distance of two distributions on a line",
    implementation="bench.metrics.pixels:PixelStatistic",
    extractor="pixels",
    needs_reference=True,
    range=(0.0, 1.0),
)

SHARPNESS = replace(
    SATURATION,
    name="sharpness",
    title="Sharpness gap",
    summary="as saturation, of the variance of the Laplacian of luma, in squared grey levels; squares of at most "
    "256 pixels",
    source="variance of the Laplacian: Pech-Pacheco et al. 2000",
    range=DISTANCE,
)

CONTRAST = replace(
    SATURATION,
    name="contrast",
    title="Contrast gap",
    summary="as saturation, of the standard deviation of luma, in grey levels",
    source="RMS contrast: Peli 1990",
    range=DISTANCE,
)
