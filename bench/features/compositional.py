"""The declarations of extractors that read what an image shows of its prompt. They import no torch."""

from __future__ import annotations

from bench.features.base import Weights
from bench.features.prompt_following.benchmark_files import DPG_QUESTIONS, GENEVAL_PROMPTS
from bench.features.prompt_following.dpg_extractor import DPGExtractor
from bench.features.prompt_following.geneval import GenEvalExtractor
from bench.features.prompt_following.ocr import OCRExtractor
from bench.features.prompt_following.vqascore import VQAScoreExtractor
from bench.features.published_images import CLIP_L14_WEIGHTS

FOLDER = "a folder in transformers' format"

GENEVAL = GenEvalExtractor(
    "geneval",
    "GenEval's rules on objects by transformers' Mask2Former Swin-S (not mmdet's) and colours by CLIP ViT-L/14",
    (
        Weights(
            "mask2former-coco",
            f"{FOLDER} with config.json and model.safetensors",
            "https://huggingface.co/facebook/mask2former-swin-small-coco-instance",
            "MIT",
        ),
        CLIP_L14_WEIGHTS,
        GENEVAL_PROMPTS,
    ),
    "whole images, shorter side 800 pixels, bilinear; objects cut out on #999, 224 pixels",
    "1 or 0, and what is wrong",
)

DPG = DPGExtractor(
    "dpg",
    "DPG-Bench's questions, answered by BLIP-VQA (not mPLUG)",
    (
        Weights(
            "blip-vqa",
            f"{FOLDER} with the network (safetensors), tokenizer and image processor",
            "https://huggingface.co/Salesforce/blip-vqa-base",
            "BSD-3-Clause",
        ),
        DPG_QUESTIONS,
    ),
    "BLIP's own: 384 x 384, bicubic",
    "the share of questions whose answer is yes, and which are not",
)

OCR = OCRExtractor(
    "ocr",
    "the text in an image by RapidOCR, against the prompt's quoted text",
    (),
    "RapidOCR's own, on the whole image; no orientation classifier",
    "a score, and the text that was read",
)

VQASCORE = VQAScoreExtractor(
    "vqascore",
    "the probability of yes to whether an image shows its prompt, by InstructBLIP-FlanT5 (not CLIP-FlanT5)",
    (
        Weights(
            "instructblip",
            f"{FOLDER} with the network (safetensors), both tokenizers and the image processor",
            "https://huggingface.co/Salesforce/instructblip-flan-t5-xl",
            "MIT",
        ),
    ),
    "InstructBLIP's own: 224 x 224, bicubic",
    "a score",
)
