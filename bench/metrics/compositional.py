"""The descriptions of metrics that read what an image shows of its prompt. Imports neither torch nor numpy."""

from __future__ import annotations

from dataclasses import replace

from bench.metrics.catalogue import RATE
from bench.metrics.info import MetricInfo

GENEVAL = MetricInfo(
    name="geneval",
    title="GenEval (transformers' Mask2Former)",
    direction="higher",
    min_samples=100,
    summary="images that show the objects, counts, colours and positions asked for: mean of six tasks; detector: "
    "transformers' Mask2Former Swin-S, not mmdet's",
    source="Ghosh et al. 2023, arXiv:2310.11513",
    implementation="bench.metrics.geneval:GenEval",
    extractor="geneval",
    range=RATE,
)

OCR = MetricInfo(
    name="ocr",
    title="OCR accuracy (RapidOCR)",
    direction="higher",
    min_samples=100,
    summary="how much of the prompt's quoted text is read in the image: 1 - edit distance / length; reader: "
    "PP-OCRv6 by RapidOCR, not PaddleOCR",
    source="Flow-GRPO, arXiv:2505.05470; CDM, arXiv:2605.06376",
    implementation="bench.metrics.scores:MeanScore",
    extractor="ocr",
    range=RATE,
)

DPG = MetricInfo(
    name="dpg",
    title="DPG-Bench (BLIP-VQA)",
    direction="higher",
    min_samples=100,
    summary="questions about an image that BLIP-VQA answers with yes; one counts only if those it depends on do; "
    "not mPLUG's answers, so not comparable with published numbers",
    source="Hu et al. 2024 (ELLA), arXiv:2403.05135",
    implementation="bench.metrics.dpg:DPG",
    extractor="dpg",
    range=RATE,
)

DPG_OFFICIAL = replace(
    DPG,
    name="dpg-official",
    title="DPG-Bench as its script (BLIP-VQA)",
    summary="the answers of dpg by the official script's rules: without the first row of the file, and without "
    "the prompts on which the script then fails; not mPLUG's answers",
    implementation="bench.metrics.dpg:OfficialDPG",
)

VQASCORE = MetricInfo(
    name="vqascore",
    title="VQAScore (InstructBLIP)",
    direction="higher",
    min_samples=100,
    summary="probability of the answer yes to whether an image shows its prompt, by InstructBLIP-FlanT5; not "
    "CLIP-FlanT5's, so not comparable with most published numbers",
    source="Lin et al. 2024, arXiv:2404.01291",
    implementation="bench.metrics.scores:MeanScore",
    extractor="vqascore",
    range=RATE,
)
