"""The published files of benchmarks, which extractors read beside their networks. Imports no torch."""

from __future__ import annotations

from bench.features.base import Weights

GENEVAL_PROMPTS = Weights(
    "geneval-prompts", "evaluation_metadata.jsonl", "https://github.com/djghosh13/geneval", "MIT"
)
DPG_QUESTIONS = Weights("dpg-questions", "dpg_bench.csv", "https://github.com/TencentQQGYLab/ELLA", "Apache-2.0")
