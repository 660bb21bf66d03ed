"""The baselines of tasks whose teachers are rectified flows, as data: SD3.5, FLUX.1 and SANA. Imports no torch.

Guidance is D(null) + w (D(prompt) - D(null)) everywhere, so w = 1 is the plain conditional network: the scale 0
that some authors give to diffusers, which also turns guidance off, is 1 here.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from tasks.text.baselines import HubWeights, TextBaseline, by_name

EULER, DPM_SOLVER = "FlowMatchEulerDiscreteScheduler", "DPMSolverMultistepScheduler"
STABILITY = "Stability AI Community"
FLUX_DEV = "FLUX.1 [dev] Non-Commercial"
SENSEFLOW = "github.com/XingtongGe/SenseFlow: each step adds fresh noise to the predicted image"


@dataclass(frozen=True)
class FlowBaseline(TextBaseline):
    """A sampler of a rectified flow: its teacher's, or another few-step model's with its authors' settings."""

    sigmas: tuple[float, ...] | None = field(default=None, kw_only=True)
    """Times of the steps before the schedule's shift; None: those of the family's own pipeline."""
    fresh_noise: bool = field(default=False, kw_only=True)
    """Whether each step predicts the image and adds fresh noise, as DMD2's students; else it follows the ODE."""
    lora_scale: float = field(default=1.0, kw_only=True)
    """The factor by which a LoRA is added to the teacher's weights."""

    @property
    def solvers(self) -> Collection[str]:
        """Its own scheduler alone: those of noise schedules do not solve a flow's equation."""
        return (self.scheduler,)

    @property
    def has_fixed_times(self) -> bool:
        return self.sigmas is not None or super().has_fixed_times


def evenly(steps: int) -> tuple[float, ...]:
    """Return the times 1, 1 - 1 / steps, ..., 1 / steps, at which SenseFlow's students were trained."""
    return tuple(round(1 - step / steps, 6) for step in range(steps))


def _sd35(size: str, source: str) -> FlowBaseline:
    return FlowBaseline(
        "teacher",
        f"SD3.5 {size}, 40 Euler steps, guidance 4.5",
        40,
        scheduler=EULER,
        guidance_scale=4.5,
        resolution=1024,
        source=source,
    )


SD35_MEDIUM = by_name(_sd35("Medium", "huggingface.co/stabilityai/stable-diffusion-3.5-medium"))
"""Baselines of tasks whose teacher is SD3.5 Medium."""

SD35_LARGE = by_name(
    _sd35("Large", "huggingface.co/blog/sd3-5"),
    FlowBaseline(
        "turbo-4",
        "SD3.5 Large Turbo, 4 steps",
        4,
        scheduler=EULER,
        resolution=1024,
        weights=HubWeights("pipeline", "stabilityai/stable-diffusion-3.5-large-turbo", licence=STABILITY),
        source="huggingface.co/blog/sd3-5: 4 steps, guidance 1",
    ),
    FlowBaseline(
        "senseflow-4",
        "SenseFlow's student of SD3.5 Large, 4 steps",
        4,
        scheduler=EULER,
        sigmas=evenly(4),
        fresh_noise=True,
        resolution=1024,
        weights=HubWeights("folder", "domiso/SenseFlow/SenseFlow-SD35L/transformer", licence="Apache-2.0"),
        source=SENSEFLOW,
    ),
    FlowBaseline(
        "senseflow-4-euler",
        "SenseFlow's student of SD3.5 Large, 4 Euler steps",
        4,
        scheduler=EULER,
        sigmas=evenly(4),
        resolution=1024,
        weights=HubWeights("folder", "domiso/SenseFlow/SenseFlow-SD35L/transformer", licence="Apache-2.0"),
        source="its README's rows (Euler), at the times of the other sampler",
    ),
)
"""Baselines of tasks whose teacher is SD3.5 Large."""


def _flux_teacher(steps: int) -> FlowBaseline:
    return FlowBaseline(
        "teacher" if steps == 50 else f"teacher-{steps}",
        f"FLUX.1-dev, {steps} Euler steps, embedded guidance 3.5",
        steps,
        scheduler=EULER,
        guidance_scale=3.5,
        embedded_guidance=True,
        resolution=1024,
        source="huggingface.co/black-forest-labs/FLUX.1-dev; SenseFlow compares with 25 steps too",
    )


def _flux_lora(
    name: str, summary: str, steps: int, weights: HubWeights, scale: float, source: str
) -> FlowBaseline:
    return FlowBaseline(
        name,
        f"{summary}, {steps} steps",
        steps,
        scheduler=EULER,
        guidance_scale=3.5,
        embedded_guidance=True,
        lora_scale=scale,
        resolution=1024,
        weights=weights,
        source=source,
    )


def _hyper_flux(steps: int) -> FlowBaseline:
    file = f"Hyper-FLUX.1-dev-{steps}steps-lora.safetensors"
    weights = HubWeights("file", "ByteDance/Hyper-SD", file, licence=FLUX_DEV)
    source = "huggingface.co/ByteDance/Hyper-SD: LoRA scale 0.125, guidance 3.5"
    return _flux_lora(f"hyper-{steps}", "Hyper-FLUX", steps, weights, 0.125, source)


def _turbo_alpha(steps: int) -> FlowBaseline:
    file = "diffusion_pytorch_model.safetensors"
    weights = HubWeights("file", "alimama-creative/FLUX.1-Turbo-Alpha", file, licence=FLUX_DEV)
    source = "huggingface.co/alimama-creative/FLUX.1-Turbo-Alpha: 8 steps, LoRA scale 1, guidance 3.5"
    if steps != 8:
        source = f"SenseFlow compares with {steps} steps; its authors recommend 8"
    return _flux_lora(f"turbo-alpha-{steps}", "FLUX.1-Turbo-Alpha", steps, weights, 1.0, source)


_SENSEFLOW_FLUX = FlowBaseline(
    "senseflow-4",
    "SenseFlow's student of FLUX.1-dev, 4 steps",
    4,
    scheduler=EULER,
    sigmas=evenly(4),
    fresh_noise=True,
    resolution=1024,
    weights=HubWeights("folder", "domiso/SenseFlow/SenseFlow-FLUX", licence="Apache-2.0"),
    source=f"{SENSEFLOW}; its network takes no embedded guidance",
)

FLUX = by_name(
    _flux_teacher(50),
    _flux_teacher(25),
    FlowBaseline(
        "schnell-4",
        "FLUX.1-schnell, 4 steps",
        4,
        scheduler=EULER,
        resolution=1024,
        weights=HubWeights("pipeline", "black-forest-labs/FLUX.1-schnell", licence="Apache-2.0"),
        source="huggingface.co/black-forest-labs/FLUX.1-schnell: no guidance, 256 tokens, no shift",
    ),
    *(_hyper_flux(steps) for steps in (8, 16)),
    *(_turbo_alpha(steps) for steps in (8, 4)),
    _SENSEFLOW_FLUX,
    replace(
        _SENSEFLOW_FLUX,
        name="senseflow-4-euler",
        summary="SenseFlow's student of FLUX.1-dev, 4 Euler steps",
        fresh_noise=False,
        source="its README's rows (Euler), at the times of the other sampler",
    ),
)
"""Baselines of tasks whose teacher is FLUX.1-dev."""


def _sana_sprint(size: str) -> FlowBaseline:
    repository = f"Efficient-Large-Model/Sana_Sprint_{size}_1024px_diffusers"
    return FlowBaseline(
        f"sprint-2-{size.lower()}",
        f"SANA-Sprint {size}, 2 steps, embedded guidance 4.5",
        2,
        scheduler=EULER,
        settings={"shift": 1.0},
        sigmas=(1.0, round(math.sin(1.3) / (math.cos(1.3) + math.sin(1.3)), 6)),
        fresh_noise=True,
        guidance_scale=4.5,
        embedded_guidance=True,
        resolution=1024,
        weights=HubWeights("pipeline", repository, licence="NVIDIA NSCL v2-custom; Gemma Terms of Use"),
        source=f"huggingface.co/{repository}, and SanaSprintPipeline: 2 steps, the second at angle 1.3",
    )


SANA = by_name(
    FlowBaseline(
        "teacher",
        "SANA 1.6B, 20 DPM-Solver++ steps, guidance 4.5",
        20,
        scheduler=DPM_SOLVER,
        guidance_scale=4.5,
        resolution=1024,
        source="diffusers' SanaPipeline: 20 steps, guidance 4.5; the scheduler is that of the published pipeline",
    ),
    _sana_sprint("1.6B"),
    _sana_sprint("0.6B"),
)
"""Baselines of tasks whose teacher is SANA; SANA-Sprint's own teacher is a finer-tuned SANA."""
