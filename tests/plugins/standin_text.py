"""COCO and PartiPrompts as plug-ins, as small as tests need: images of 16 pixels or so, tiny scoring networks."""

from dataclasses import replace
from pathlib import Path

import open_clip

from bench.features.scoring import CLIP_G14_DMD2, CLIP_PROTOCOLS, DIVERSITY_PROTOCOLS, HPS_PROTOCOL, LPIPS_ALEX
from bench.task.protocol import Protocol, TeacherReference
from tasks.coco import TASK_10K, TASK_30K
from tasks.flow_text import COCO_FLUX, COCO_SANA, COCO_SD35
from tasks.partiprompts import TASK as PARTIPROMPTS

open_clip.add_model_config(Path(__file__).with_name("tiny-clip.json"))
CLIP_PROTOCOLS["clip-tiny"] = replace(CLIP_G14_DMD2, name="clip-tiny", architecture="tiny-clip")
CLIP_PROTOCOLS[HPS_PROTOCOL.name] = replace(HPS_PROTOCOL, architecture="tiny-clip")
DIVERSITY_PROTOCOLS["lpips-tiny"] = replace(LPIPS_ALEX, name="lpips-tiny", size=64)


def _small(protocol: Protocol, side: int) -> Protocol:
    text = replace(
        protocol.text, resolution=side, compared_at=side, clip="clip-tiny", diversity="lpips-tiny", noise_batch=0
    )
    if protocol.text.noise_batch:
        text = replace(text, noise_batch=3)
    return replace(protocol, samples=2 * protocol.images_per_prompt, smoke=True, text=text)


def _task(task, name, side=16, recipes="coco10k"):
    baselines = {
        "teacher": replace(next(iter(task.baselines.values())), name="teacher", steps=2, resolution=side),
        "published": replace(list(task.baselines.values())[-1], name="published", resolution=side),
    }
    protocols = {protocol.name: _small(protocol, side) for protocol in task.protocols.values()}
    for key, protocol in protocols.items():
        if protocol.teacher_reference:
            reference = TeacherReference.by(baselines["teacher"])
            protocols[key] = replace(protocol, teacher_reference=reference)
    # Students are trained and resumed with the cheapest metric; the other protocols measure distances.
    protocols["quick"] = replace(
        protocols[task.protocol.name], name="quick", metrics=("clip",), teacher_reference=None
    )
    return replace(
        task,
        name=name,
        image_shape=(3, side, side),
        protocol=protocols[task.protocol.name],
        protocols=protocols,
        prompt_rule="list",
        baselines=baselines,
        pair_sampler=replace(task.pair_sampler, steps=2, resolution=side),
        recipes=recipes,
    )


SDXL = _task(TASK_10K, "standin-sdxl")
SD15 = _task(TASK_30K, "standin-sd15")
PARTI = _task(PARTIPROMPTS, "standin-parti")
SD35 = _task(COCO_SD35, "standin-sd35", recipes=COCO_SD35.name)
FLUX = _task(COCO_FLUX, "standin-flux", recipes=COCO_FLUX.name)
SANA = _task(COCO_SANA, "standin-sana", side=32, recipes=COCO_SANA.name)
