"""Read SANA's pipelines (SANA, SANA 1.5, SANA-Sprint) from their folders, and the schedulers of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers import AutoencoderDC
from transformers import Gemma2Model, GemmaTokenizer

from bench.core.errors import UserError
from bench.core.escape import printable
from bench.models.backbones.text import TextFamily
from bench.models.schedules import FlowSchedule
from bench.models.text.gemma import GemmaEncoder
from bench.models.text.latents import LatentSpace
from bench.models.text.parts import TextPipeline, read_scheduler, read_tokenizer
from bench.models.weights.folders import load_network

SHIFTS = {"DPMSolverMultistepScheduler": "flow_shift", "FlowMatchEulerDiscreteScheduler": "shift"}
"""The option in which a scheduler that SANA is published with has its shift."""
SPRINT = "SCMScheduler"
"""SANA-Sprint's scheduler, which shifts nothing."""
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "DPMSolverMultistepScheduler": {
        "prediction_type": "flow_prediction",
        "use_flow_sigmas": True,
        "use_dynamic_shifting": False,
    },
    "FlowMatchEulerDiscreteScheduler": {
        "use_dynamic_shifting": False,
        "shift_terminal": None,
        "invert_sigmas": False,
    },
    SPRINT: {"prediction_type": "trigflow"},
}
"""Options that change what the network's output or its times mean, with the only values that are known here."""


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


def shift_of(scheduler: Mapping[str, Any]) -> float:
    """Return the shift in a scheduler's configuration, 1 for SANA-Sprint's. Raises UserError for other kinds."""
    kind = scheduler.get("_class_name")
    if kind not in OPTIONS:
        raise UserError(
            f"the scheduler is {printable(repr(kind))[:80]}, and SANA's are {', '.join(OPTIONS)}; "
            "fix: download the pipeline again"
        )
    for key, known in OPTIONS[kind].items():
        if (scheduler.get(key) or None) != (known or None):
            found = printable(repr(scheduler.get(key)))[:80]
            raise UserError(f"the scheduler's {key} is {found}; only {known!r} is known here")
    shift = scheduler.get(SHIFTS.get(kind, ""), 1.0)
    if type(shift) not in (int, float) or not 0 < shift < math.inf:
        raise UserError(f"the scheduler's {SHIFTS[kind]} is {printable(repr(shift))[:80]}, no positive number")
    return float(shift)


def scheduler_options(pipeline: TextPipeline) -> dict[str, Any]:
    """Return the options of schedulers that give them the pipeline's shift and what its network predicts."""
    shift = shift_of(pipeline.scheduler)
    return {
        "num_train_timesteps": len(FlowSchedule().grid),
        "prediction_type": "flow_prediction",
        "use_flow_sigmas": True,
        "flow_shift": shift,
        "shift": shift,
    }
