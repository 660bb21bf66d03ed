"""The tasks of benchmarks of composition as plug-ins, on images of 16 pixels and one image of each prompt."""

from dataclasses import replace
from pathlib import Path

import open_clip

from bench.features.scoring import CLIP_L14, CLIP_PROTOCOLS
from tasks.compositional import TASK_DPG, TASK_GENEVAL, TASK_OCR

open_clip.add_model_config(Path(__file__).with_name("tiny-clip.json"))
CLIP_PROTOCOLS[CLIP_L14.name] = replace(CLIP_L14, architecture="tiny-clip")
SIDE = 16


def _small(task, name):
    protocols = {
        key: replace(
            one,
            samples=2,
            images_per_prompt=1,
            smoke=True,
            text=replace(one.text, resolution=SIDE, compared_at=SIDE),
        )
        for key, one in task.protocols.items()
    }
    teacher = replace(next(iter(task.baselines.values())), name="teacher", steps=1, resolution=SIDE)
    return replace(
        task,
        name=name,
        image_shape=(3, SIDE, SIDE),
        protocol=protocols[task.protocol.name],
        protocols=protocols,
        baselines={"teacher": teacher},
        pair_sampler=replace(task.pair_sampler, steps=1, resolution=SIDE),
    )


GENEVAL = _small(TASK_GENEVAL, "standin-geneval")
DPG = _small(TASK_DPG, "standin-dpg")
OCR = _small(TASK_OCR, "standin-ocr")
