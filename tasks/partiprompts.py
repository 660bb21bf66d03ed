"""Task `partiprompts`: diversity of SDXL's students on PartiPrompts, the paper's Table 6 and appendix B."""

from dataclasses import replace

from bench.task.protocol import Protocol
from bench.task.text_rules import TextRules
from tasks.text.baselines import SDXL_BASELINES, SDXL_PAIRS
from tasks.text.task import TextTask, with_preferences

IMAGES_PER_PROMPT = 4

OURS = Protocol(
    name="partiprompts",
    samples=128 * IMAGES_PER_PROMPT,
    repetitions=1,
    first_seed=0,
    labels="balanced",
    uint8="round",
    reference="none",
    features="none",
    metrics=("diversity", "clip"),
    images_per_prompt=IMAGES_PER_PROMPT,
    text=TextRules(resolution=1024, compared_at=512),
    extractors={"lpips": "lpips-vgg", "clip": "clip-g14-dmd2"},
)
"""Four images of each of our own 128 prompts, stratified: the paper's 128 were never published."""

AS_OFFICIAL = replace(
    OURS,
    name="partiprompts-as-official",
    uint8="truncate",
    text=TextRules(resolution=1024, compared_at=512, diversity="lpips-piq"),
    extractors={"lpips": "lpips-piq", "clip": "clip-g14-dmd2"},
)
"""LPIPS as in piq, the most likely choice: the network of the official function is not published."""

TASK = TextTask(
    name="partiprompts",
    summary="diversity on 128 stratified PartiPrompts with SDXL at 1024 px: the paper's Table 6",
    scale="paper",
    image_shape=(3, 1024, 1024),
    protocol=OURS,
    protocols={one.name: one for one in (OURS, AS_OFFICIAL, with_preferences(OURS))},
    baselines=SDXL_BASELINES,
    licences={
        "prompts": "Apache-2.0 (google-research/parti)",
        "teacher": "CreativeML Open RAIL++-M (SDXL)",
        "lpips": "BSD-2-Clause (LPIPS), BSD-3-Clause (torchvision's VGG)",
        "clip": "MIT (LAION's ViT-g-14)",
    },
    recipes="coco10k",
    network_parameters=2_567_463_684,
    teacher_repository="stabilityai/stable-diffusion-xl-base-1.0",
    teacher_pipelines=("StableDiffusionXLPipeline",),
    prompt_rule="parti-128",
    prompt_source="PartiPrompts.tsv of github.com/google-research/parti",
    pair_sampler=SDXL_PAIRS,
    published_indices={4: (999, 749, 499, 249), 1: (399,)},
)
