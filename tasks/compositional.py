"""Tasks `geneval`, `dpg` and `ocr-bench`: what SDXL's students show of their prompts, on published benchmarks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.core.progress import Progress
from bench.features.base import Weights
from bench.features.pinned import find, pin
from bench.features.prompt_following.benchmark_files import DPG_QUESTIONS, GENEVAL_PROMPTS
from bench.task.declaration import Sources
from bench.task.protocol import Protocol
from bench.task.text_rules import TextRules
from tasks.text.baselines import SDXL_BASELINES, SDXL_PAIRS
from tasks.text.task import PromptRule, TextTask

IMAGES_PER_PROMPT = 4
GENEVAL_COUNT, DPG_COUNT, OCR_COUNT = 553, 1065, 1018
"""The prompts of the published files."""


@dataclass(frozen=True)
class BenchmarkTask(TextTask):
    """A text-to-image task whose prompts come in a file that its metric reads, too."""

    benchmark: Weights | None = None
    """That file; `bench prepare --prompts FILE` names it for both. None: its prompts alone say what is wanted."""

    def pin(self, sources: Sources, progress: Progress) -> TextTask:
        pinned = super().pin(sources, progress)
        if self.benchmark is not None and sources.prompts is not None:
            path = sources.prompts.expanduser()
            found = find(self.benchmark, path, sources.cache, download=False, progress=progress, own_weights=False)
            pin(self.benchmark.name, found, sources.cache)
        return pinned


GENEVAL = Protocol(
    name="geneval",
    samples=GENEVAL_COUNT * IMAGES_PER_PROMPT,
    repetitions=1,
    first_seed=0,
    labels="balanced",
    uint8="round",
    reference="none",
    features="none",
    metrics=("geneval",),
    images_per_prompt=IMAGES_PER_PROMPT,
    text=TextRules(resolution=1024, compared_at=512),
)

DPG = replace(GENEVAL, name="dpg", samples=DPG_COUNT * IMAGES_PER_PROMPT, metrics=("dpg",))
DPG_AS_OFFICIAL = replace(DPG, name="dpg-as-official", metrics=("dpg-official", "dpg"))
"""The official script's number of the same answers, beside ours."""

OCR = replace(GENEVAL, name="ocr-bench", samples=OCR_COUNT, metrics=("ocr",), images_per_prompt=1)


def _sdxl(
    summary: str,
    protocols: tuple[Protocol, ...],
    rule: PromptRule,
    source: str,
    licences: dict[str, str],
    benchmark: Weights | None = None,
) -> BenchmarkTask:
    return BenchmarkTask(
        name=protocols[0].name,
        summary=summary,
        scale="paper",
        image_shape=(3, 1024, 1024),
        protocol=protocols[0],
        protocols={one.name: one for one in protocols},
        baselines=SDXL_BASELINES,
        licences={"teacher": "CreativeML Open RAIL++-M (SDXL)", **licences},
        recipes="coco10k",
        network_parameters=2_567_463_684,
        teacher_repository="stabilityai/stable-diffusion-xl-base-1.0",
        teacher_pipelines=("StableDiffusionXLPipeline",),
        prompt_rule=rule,
        prompt_source=source,
        pair_sampler=SDXL_PAIRS,
        published_indices={4: (999, 749, 499, 249), 1: (399,)},
        benchmark=benchmark,
    )


TASK_GENEVAL = _sdxl(
    "objects, counts, colours and positions on GenEval's 553 prompts with SDXL at 1024 px",
    (GENEVAL,),
    "geneval",
    "evaluation_metadata.jsonl of github.com/djghosh13/geneval",
    {
        "prompts": "MIT (GenEval)",
        "mask2former-coco": "MIT (Mask2Former; images CC BY 4.0, COCO)",
        "clip-l14": "MIT (OpenAI's ViT-L/14)",
    },
    GENEVAL_PROMPTS,
)

TASK_DPG = _sdxl(
    "questions about DPG-Bench's 1,065 long prompts with SDXL at 1024 px",
    (DPG, DPG_AS_OFFICIAL),
    "dpg",
    "dpg_bench.csv of github.com/TencentQQGYLab/ELLA",
    {"prompts": "Apache-2.0 (ELLA)", "blip-vqa": "BSD-3-Clause (Salesforce's BLIP)"},
    DPG_QUESTIONS,
)

TASK_OCR = _sdxl(
    "text written in images, on Flow-GRPO's 1,018 prompts with SDXL at 1024 px",
    (OCR,),
    "quoted",
    "dataset/ocr/test.txt of github.com/yifan123/flow_grpo",
    {"prompts": "MIT (Flow-GRPO)", "ocr": "Apache-2.0 (PP-OCRv6, RapidOCR)"},
)
