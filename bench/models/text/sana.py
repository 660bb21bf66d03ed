"""Read SANA's pipelines (SANA, SANA 1.5, SANA-Sprint) from their folders, and the schedulers of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers import AutoencoderDC
from transformers import Gemma2Model, GemmaTokenizer

from bench.core.errors import UserError
from bench.models.backbones.text import TextFamily, TextPipeline
from bench.models.schedules import FlowSchedule
from bench.models.text.flow_scheduler import KIND, KNOWN
from bench.models.text.gemma import GemmaEncoder
from bench.models.text.latents import LatentSpace
from bench.models.text.parts import read_scheduler, read_tokenizer
from bench.models.text.scheduler_options import shown, unknown_option
from bench.models.weights.folders import load_network

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "DPMSolverMultistepScheduler": {
        "prediction_type": "flow_prediction",
        "use_flow_sigmas": True,
        "use_dynamic_shifting": False,
    },
    "SCMScheduler": {"prediction_type": "trigflow"},
}
"""The schedulers that SANA and SANA-Sprint are published with, beside the flow's own: what makes them a flow's."""


def read_folder(family: type[TextFamily], folder: Path) -> TextPipeline:
    """Read a pipeline's folder. Raises UserError that names the broken part."""
    tokenizer = read_tokenizer(folder / "tokenizer", GemmaTokenizer)
    return TextPipeline(
        family,
        family.read_network(folder / family.folder),
        LatentSpace(load_network(AutoencoderDC, folder / "vae")),
        GemmaEncoder(tokenizer, load_network(Gemma2Model, folder / "text_encoder")),
        read_scheduler(folder),
    )


def flow_scheduler(scheduler: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration of the flow's own scheduler that has the shift of one of SANA's.

    SANA-Sprint's shifts nothing. Raises UserError for other kinds.
    """
    kind = scheduler.get("_class_name")
    if kind not in (*OPTIONS, KIND):
        raise UserError(
            f"the scheduler is {shown(kind)}, and SANA's are {', '.join((*OPTIONS, KIND))}; "
            "fix: download the pipeline again"
        )
    for key, known in OPTIONS.get(kind, {}).items():
        if (scheduler.get(key) or None) != (known or None):
            raise unknown_option(key, scheduler.get(key), repr(known), fix="download the pipeline again")
    if kind == KIND:
        return scheduler
    common = {key: scheduler[key] for key in KNOWN if key in scheduler}
    return {"_class_name": KIND, **common, "shift": scheduler.get("flow_shift", 1.0)}


def scheduler_options(schedule: FlowSchedule) -> dict[str, Any]:
    """Return the options that give stock schedulers, SANA's or the flow's own, this schedule's shift."""
    return {
        "prediction_type": "flow_prediction",
        "use_flow_sigmas": True,
        "flow_shift": schedule.shift,
        "shift": schedule.shift,
    }
