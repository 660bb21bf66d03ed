"""A text-to-image task: your own Stable Diffusion 1.5 as the teacher, your captioned images, prompts and protocol.

bench prepare --plugin examples/text_task.py --task my-text --teacher PIPELINE --data IMAGES
bench prepare --plugin examples/text_task.py --task my-text --prompts prompts.txt --reals IMAGES
bench run --plugin examples/text_task.py --task my-text --method dmd2-4step --set iterations=1000
"""

from bench.task.protocol import Protocol
from bench.task.text_rules import TextRules
from tasks.text.baselines import TextBaseline
from tasks.text.task import TextTask

SIDE = 512  # of the teacher's images, in pixels; --data and --reals are cropped and resized to it

TEACHER = TextBaseline(
    name="teacher",
    summary="my teacher, 20 DDIM steps, guidance 3",
    steps=20,
    scheduler="DDIMScheduler",
    guidance_scale=3.0,
    resolution=SIDE,
    source="my own choice",
)

PROTOCOL = Protocol(
    name="my-text",
    samples=100,  # image i has prompt i; a shorter list of prompts is repeated
    repetitions=1,
    first_seed=0,
    labels="balanced",
    uint8="round",
    reference="to be chosen",  # the folder of --reals
    features="none",  # "fd" and "kid" need "inception-2015-12-05-clean" here
    metrics=("saturation", "sharpness", "contrast"),  # of pixels: no network, but 100 real images
    text=TextRules(resolution=SIDE, compared_at=SIDE),
)

TASK = TextTask(
    name="my-text",
    summary="my Stable Diffusion 1.5 on my images",
    scale="paper",
    image_shape=(3, SIDE, SIDE),
    protocol=PROTOCOL,
    protocols={PROTOCOL.name: PROTOCOL},
    baselines={TEACHER.name: TEACHER},
    licences={"images": "my own"},
    recipes="coco30k",  # SD1.5's; "coco10k" has SDXL's, "coco10k-sd35" and "coco10k-flux" those of flows
    teacher_repository="PIPELINE",  # named in messages
    teacher_pipelines=("StableDiffusionPipeline",),  # diffusers' class; other pipelines are refused
    prompt_rule="list",
    prompt_source="one prompt a line",
    pair_sampler=TEACHER,
    published_indices={4: (999, 749, 499, 249)},  # the times of students that were not trained here
)
