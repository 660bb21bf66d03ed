"""Tasks `coco10k` and `coco30k`: COCO captions with SDXL and SD1.5, the paper's Tables 2 and 4 to 6."""

from dataclasses import replace

from bench.task.protocol import Protocol, TeacherReference
from bench.task.text_rules import TextRules
from tasks.text.baselines import SD15_BASELINES, SD15_PAIRS, SDXL_BASELINES, SDXL_PAIRS
from tasks.text.task import TextTask, with_preferences

INCEPTION = "inception-2015-12-05-clean"
LICENCES = {
    "images": "COCO 2014: CC BY 4.0 (annotations); images under their Flickr terms",
    "features": "Apache-2.0 (TensorFlow's Inception of 2015-12-05)",
    "clip": "MIT (LAION's ViT-g-14)",
}

COCO10K = Protocol(
    name="coco10k",
    samples=10_000,
    repetitions=1,
    first_seed=0,
    labels="balanced",
    uint8="round",
    reference="to be chosen",
    features=INCEPTION,
    metrics=("fd", "patch-fd", "clip"),
    text=TextRules(resolution=1024, compared_at=512),
    extractors={"patch": INCEPTION, "clip": "clip-g14-dmd2"},
)
"""Our protocol: 10,000 prompts against the real images of the same captions; each sample has its own noise."""

COCO10K_OFFICIAL = replace(
    COCO10K,
    name="coco10k-as-official",
    uint8="truncate",
    text=TextRules(resolution=1024, compared_at=512, noise_batch=4, first_tokenizer_for_both=True),
)
"""The official script: batches of 4, truncation, both encoders fed from one tokenizer.

Between steps it draws from one CUDA stream; here each sample has its own generator."""

COCO10K_TEACHER = replace(
    COCO10K,
    name="coco10k-teacher",
    reference="none",
    metrics=("fd-teacher", "patch-fd-teacher", "clip"),
    teacher_reference=TeacherReference.by(SDXL_BASELINES["teacher-cfg6"]),
)
"""Distances to SDXL's own images of the prompts, as in SenseFlow (arXiv:2506.00523)."""

COCO30K = replace(
    COCO10K,
    name="coco30k",
    samples=30_000,
    metrics=("fd", "clip"),
    text=TextRules(resolution=512, compared_at=256),
    extractors={"clip": "clip-g14-dmd2"},
)
"""Our protocol: the published 30,000 captions against all images of val2014, at 256 pixels."""

COCO30K_OFFICIAL = replace(
    COCO30K,
    name="coco30k-as-official",
    uint8="truncate",
    text=TextRules(resolution=512, compared_at=256, noise_batch=10, first_alpha_bar=0.0047),
)
"""The official script: batches of 10, truncation, alpha_bar of 0.0047 at t = 999 where the model has 0.00466."""


def _with_bigg(protocol: Protocol) -> Protocol:
    """Return the protocol with the larger CLIP network, the plain prompt and open_clip's preprocessing."""
    assert protocol.text is not None
    text = replace(protocol.text, clip="clip-bigg14")
    return replace(
        protocol,
        name=f"{protocol.name}-bigg14",
        text=text,
        extractors={**protocol.extractors, "clip": "clip-bigg14"},
    )


COCO10K_PROTOCOLS = (
    *(COCO10K, COCO10K_OFFICIAL, COCO10K_TEACHER),
    *(_with_bigg(COCO10K), with_preferences(COCO10K)),
)
COCO30K_PROTOCOLS = (COCO30K, COCO30K_OFFICIAL, _with_bigg(COCO30K), with_preferences(COCO30K))

TASK_10K = TextTask(
    name="coco10k",
    summary="COCO-10K with SDXL at 1024 px: the paper's Tables 2, 4 and 6",
    scale="paper",
    image_shape=(3, 1024, 1024),
    protocol=COCO10K,
    protocols={one.name: one for one in COCO10K_PROTOCOLS},
    baselines=SDXL_BASELINES,
    licences={**LICENCES, "teacher": "CreativeML Open RAIL++-M (SDXL)"},
    network_parameters=2_567_463_684,
    teacher_repository="stabilityai/stable-diffusion-xl-base-1.0",
    teacher_pipelines=("StableDiffusionXLPipeline",),
    prompt_rule="coco10k",
    prompt_source="captions_val2014.json of annotations_trainval2014.zip, cocodataset.org",
    pair_sampler=SDXL_PAIRS,
    published_indices={4: (999, 749, 499, 249), 1: (399,)},
)

TASK_30K = TextTask(
    name="coco30k",
    summary="COCO-30K with Stable Diffusion 1.5 at 512 px: the paper's Table 5",
    scale="paper",
    image_shape=(3, 512, 512),
    protocol=COCO30K,
    protocols={one.name: one for one in COCO30K_PROTOCOLS},
    baselines=SD15_BASELINES,
    licences={**LICENCES, "teacher": "CreativeML Open RAIL-M (Stable Diffusion 1.5)"},
    network_parameters=859_520_964,
    teacher_repository="stable-diffusion-v1-5/stable-diffusion-v1-5",
    teacher_pipelines=("StableDiffusionPipeline",),
    prompt_rule="coco30k",
    prompt_source="captions_coco14_test.txt or .pkl, published with DMD2",
    pair_sampler=SD15_PAIRS,
    published_indices={1: (999,)},
)
