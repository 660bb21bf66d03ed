"""Tasks whose teachers are rectified flows: COCO and PartiPrompts with SD3.5, FLUX.1-dev and SANA at 1024 px.

A protocol compares with the images of one teacher, so each teacher has tasks of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bench.task.protocol import Protocol, TeacherReference
from tasks.coco import COCO10K
from tasks.coco import LICENCES as COCO_LICENCES
from tasks.partiprompts import OURS as PARTI
from tasks.partiprompts import TASK as PARTIPROMPTS
from tasks.text.flow_baselines import FLUX, FLUX_DEV, SANA, SD35_LARGE, SD35_MEDIUM, STABILITY, FlowBaseline
from tasks.text.task import TextTask, with_preferences

TEACHER = "teacher"
"""The baseline that each teacher's authors recommend; its images are the reference."""


@dataclass(frozen=True)
class FlowTeacher:
    """A published teacher, and what tasks say of it."""

    key: str
    """The end of its tasks' names."""
    title: str
    repository: str
    pipeline: str
    """The class of its pipeline in diffusers."""
    licence: str
    parameters: int
    baselines: Mapping[str, FlowBaseline]
    recipes: str
    """The end of the name of the task whose recipes are used."""


TEACHERS = (
    FlowTeacher(
        "sd35",
        "SD3.5 Medium",
        "stabilityai/stable-diffusion-3.5-medium",
        "StableDiffusion3Pipeline",
        STABILITY,
        2_243_171_520,
        SD35_MEDIUM,
        recipes="sd35",
    ),
    FlowTeacher(
        "sd35-large",
        "SD3.5 Large",
        "stabilityai/stable-diffusion-3.5-large",
        "StableDiffusion3Pipeline",
        STABILITY,
        8_056_627_520,
        SD35_LARGE,
        recipes="sd35",
    ),
    FlowTeacher(
        "flux",
        "FLUX.1-dev",
        "black-forest-labs/FLUX.1-dev",
        "FluxPipeline",
        FLUX_DEV,
        11_901_408_320,
        FLUX,
        recipes="flux",
    ),
    FlowTeacher(
        "sana",
        "SANA 1.6B",
        "Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers",
        "SanaPipeline",
        "NVIDIA NSCL v2-custom; Gemma Terms of Use",
        1_604_462_752,
        SANA,
        recipes="sana",
    ),
)


def coco_protocols(teacher: FlowTeacher) -> tuple[Protocol, ...]:
    """Return the protocols of a teacher's task on COCO; the first is its own.

    Its own measures the distance to the teacher's images of the prompts; `coco5k-` has half the images, as many as
    SenseFlow's table, whose 5,000 prompts are not published; `-reals` measures the distance to real images, as for
    SDXL.
    """
    own = replace(
        COCO10K,
        name=f"coco10k-{teacher.key}",
        reference="none",
        metrics=("fd-teacher", "patch-fd-teacher", "clip"),
        teacher_reference=TeacherReference.by(teacher.baselines[TEACHER]),
    )
    half = replace(own, name=f"coco5k-{teacher.key}", samples=5_000)
    reals = replace(COCO10K, name=f"{own.name}-reals")
    return own, half, reals, with_preferences(own), with_preferences(half)


def _coco(teacher: FlowTeacher) -> TextTask:
    own, *others = coco_protocols(teacher)
    return TextTask(
        name=own.name,
        summary=f"COCO-10K with {teacher.title} at 1024 px: FID to the teacher, CLIP, preferences",
        scale="paper",
        image_shape=(3, 1024, 1024),
        protocol=own,
        protocols={one.name: one for one in (own, *others)},
        baselines=teacher.baselines,
        licences={**COCO_LICENCES, "teacher": f"{teacher.licence} ({teacher.title})"},
        recipes="" if teacher.recipes == teacher.key else f"coco10k-{teacher.recipes}",
        network_parameters=teacher.parameters,
        teacher_repository=teacher.repository,
        teacher_pipelines=(teacher.pipeline,),
        prompt_rule="coco10k",
        prompt_source="captions_val2014.json of annotations_trainval2014.zip, cocodataset.org",
        pair_sampler=teacher.baselines[TEACHER],
        published_indices={4: (999, 749, 499, 249), 1: (999,)},
    )


def _parti(teacher: FlowTeacher) -> TextTask:
    own = replace(PARTI, name=f"partiprompts-{teacher.key}")
    return replace(
        PARTIPROMPTS,
        name=own.name,
        summary=f"diversity on 128 stratified PartiPrompts with {teacher.title} at 1024 px",
        protocol=own,
        protocols={one.name: one for one in (own, with_preferences(own))},
        baselines=teacher.baselines,
        licences={**PARTIPROMPTS.licences, "teacher": f"{teacher.licence} ({teacher.title})"},
        recipes=f"coco10k-{teacher.recipes}",
        network_parameters=teacher.parameters,
        teacher_repository=teacher.repository,
        teacher_pipelines=(teacher.pipeline,),
        pair_sampler=teacher.baselines[TEACHER],
        published_indices={4: (999, 749, 499, 249), 1: (999,)},
    )


COCO_SD35, COCO_SD35_LARGE, COCO_FLUX, COCO_SANA = map(_coco, TEACHERS)
PARTI_SD35, PARTI_SD35_LARGE, PARTI_FLUX, PARTI_SANA = map(_parti, TEACHERS)
