"""The baselines of the text-to-image tasks, as data: weights, scheduler, steps, guidance, resolution.

The settings are those that a baseline's authors recommend; where DMD2's official evaluation used doubtful
settings, these are a separate variant. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from bench.task.declaration import Baseline

FIRST_FILE = {"pipeline": "model_index.json", "folder": "config.json"}
"""The file that marks a downloaded pipeline or folder."""


@dataclass(frozen=True)
class HubWeights:
    """The place of a baseline's weights on the hub."""

    kind: Literal["pipeline", "folder", "file"]
    """A whole pipeline, a network's folder in diffusers' format, or a file of a network's weights or of a LoRA."""
    repository: str
    """"owner/name"; a folder in it may follow, as in "owner/name/transformer"."""
    file: str | None = None
    licence: str = "openrail++"

    def __post_init__(self) -> None:
        assert (self.file is not None) == (self.kind == "file")

    @property
    def place(self) -> tuple[str, str]:
        """The repository, and the folder in it with a slash at its end, or an empty text."""
        owner, name, *folders = self.repository.split("/")
        return f"{owner}/{name}", "".join(f"{folder}/" for folder in folders)

    def cached(self) -> Path | None:
        """Return the weights' path in the hub's cache, or None; no network access, and no import of torch."""
        from huggingface_hub import try_to_load_from_cache

        repository, folder = self.place
        found = try_to_load_from_cache(repository, folder + (self.file or FIRST_FILE[self.kind]))
        return Path(found) if isinstance(found, str) else None


@dataclass(frozen=True)
class TextBaseline(Baseline):
    """A many-step sampler of the teacher, or another few-step model with its authors' sampler."""

    scheduler: str = field(kw_only=True)
    """The diffusers scheduler, made from the teacher's configuration and `settings`."""
    settings: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    embedded_guidance: bool = field(default=False, kw_only=True)
    """Whether the network takes the guidance scale as an input (LCM), so that the batch is never doubled."""
    resolution: int = field(kw_only=True)
    """Side in pixels of the images."""
    timesteps: tuple[int, ...] | None = field(default=None, kw_only=True)
    """Fixed times; None: the scheduler's own."""
    weights: HubWeights | None = field(default=None, kw_only=True)
    """The baseline's weights; None: the teacher's."""
    source: str = field(kw_only=True)
    """The source of the settings."""

    def identity(self) -> Any:
        values = asdict(self)
        return {key: value for key, value in values.items() if key not in ("name", "summary", "source")}

    @property
    def has_fixed_times(self) -> bool:
        """Whether its steps are at times of its own, so that their number cannot vary."""
        return self.timesteps is not None

    @property
    def guided(self) -> bool:
        """Whether every step runs with and without the prompt."""
        return self.guidance_scale > 1 and not self.embedded_guidance

    @property
    def settings_by_name(self) -> Mapping[str, Any]:
        return {"solver": self.scheduler, "steps": self.steps, "guidance": self.guidance_scale}

    @property
    def solvers(self) -> Collection[str]:
        """The schedulers that read a noise schedule as Stable Diffusion's."""
        return NOISE_SCHEDULERS if self.scheduler in NOISE_SCHEDULERS else (self.scheduler,)

    def varied(self, settings: Mapping[str, Any]) -> Baseline:
        if self.has_fixed_times and "steps" in settings:
            raise ValueError(f"its {self.steps} steps are at fixed times")
        if settings.get("guidance", 1) < 1 and not self.embedded_guidance:
            raise ValueError("guidance below 1 would be none")
        names = {"solver": "scheduler", "guidance": "guidance_scale"}
        varied = replace(self, **{names.get(name, name): value for name, value in settings.items()})
        if varied.scheduler == self.scheduler:
            return varied
        kept = {key: value for key, value in self.settings.items() if key in COMMON_SETTINGS}
        return replace(varied, settings=kept)

    @property
    def network_evaluations(self) -> int:
        """Number of network evaluations per image; PLMS (PNDM) evaluates its second step twice."""
        steps = self.steps + (self.scheduler == "PNDMScheduler")
        return steps * (2 if self.guided else 1)


NOISE_SCHEDULERS = (
    *("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "DDIMScheduler"),
    *("DPMSolverMultistepScheduler", "PNDMScheduler"),
)
"""Schedulers of noise schedules that evaluate the network once a step (PNDM once more)."""

COMMON_SETTINGS = ("timestep_spacing", "prediction_type")
"""The settings that all of these take. What else a sampler sets is its own scheduler's, and others refuse it."""

B = TypeVar("B", bound=TextBaseline)

LCM_SDXL = "latent-consistency/lcm-sdxl"


def by_name(*baselines: B) -> dict[str, B]:
    """Return baselines by their names."""
    return {baseline.name: baseline for baseline in baselines}


def _sdxl_teacher(guidance: int) -> TextBaseline:
    return TextBaseline(
        f"teacher-cfg{guidance}",
        f"SDXL, 50 Euler steps, guidance {guidance}",
        50,
        scheduler="EulerDiscreteScheduler",
        guidance_scale=guidance,
        resolution=1024,
        source="DMD2, Table 2; the scheduler is that of the published pipeline",
    )


def _lcm_sdxl(steps: int, official: bool = False) -> TextBaseline:
    reason = "-1 as guidance, as in the official evaluation" if official else "guidance 8 embedded"
    return TextBaseline(
        f"lcm-{steps}{'-official' if official else ''}",
        f"LCM-SDXL, {steps} step{'s' if steps > 1 else ''}, {reason}",
        steps,
        scheduler="LCMScheduler",
        guidance_scale=0.0 if official else 8.0,
        embedded_guidance=True,
        resolution=1024,
        weights=HubWeights("folder", LCM_SDXL),
        source="official DMD2 code: guidance_scale=0"
        if official
        else "huggingface.co/latent-consistency/lcm-sdxl",
    )


def _turbo(steps: int, resolution: int = 512) -> TextBaseline:
    official = resolution != 512
    return TextBaseline(
        f"turbo-{steps}{'-official' if official else ''}",
        f"SDXL-Turbo, {steps} step{'s' if steps > 1 else ''}, {resolution} px",
        steps,
        scheduler="EulerAncestralDiscreteScheduler",
        settings={"timestep_spacing": "trailing"},
        guidance_scale=0.0,
        resolution=resolution,
        weights=HubWeights("pipeline", "stabilityai/sdxl-turbo", licence="Stability AI non-commercial community"),
        source="official DMD2 code: latents of 1024 px" if official else "huggingface.co/stabilityai/sdxl-turbo",
    )


def _lightning(steps: int) -> TextBaseline:
    file = "sdxl_lightning_1step_unet_x0" if steps == 1 else f"sdxl_lightning_{steps}step_unet"
    return TextBaseline(
        f"lightning-{steps}",
        f"SDXL-Lightning, {steps} step{'s' if steps > 1 else ''}",
        steps,
        scheduler="EulerDiscreteScheduler",
        # Only the one-step network predicts the image.
        settings={"timestep_spacing": "trailing", **({"prediction_type": "sample"} if steps == 1 else {})},
        guidance_scale=0.0,
        resolution=1024,
        weights=HubWeights("file", "ByteDance/SDXL-Lightning", f"{file}.safetensors"),
        source="huggingface.co/ByteDance/SDXL-Lightning",
    )


def _dmd2(name: str, summary: str, file: str, timesteps: tuple[int, ...]) -> TextBaseline:
    return TextBaseline(
        name,
        summary,
        len(timesteps),
        scheduler="LCMScheduler",
        guidance_scale=0.0,
        resolution=1024,
        timesteps=timesteps,
        weights=HubWeights("file", "tianweiy/DMD2", file, licence="CC BY-NC 4.0"),
        source="DMD2's README: LCMScheduler with these timesteps",
    )


FOUR_STEPS = (999, 749, 499, 249)

SDXL_BASELINES = by_name(
    _sdxl_teacher(6),
    _sdxl_teacher(8),
    *(_lcm_sdxl(steps, official) for official in (False, True) for steps in (1, 4)),
    *(_turbo(steps, resolution) for resolution in (512, 1024) for steps in (1, 4)),
    *(_lightning(steps) for steps in (1, 4)),
    _dmd2("dmd2-1", "DMD2's released SDXL student, 1 step", "dmd2_sdxl_1step_unet_fp16.bin", (399,)),
    _dmd2("dmd2-4", "DMD2's released SDXL student, 4 steps", "dmd2_sdxl_4step_unet_fp16.bin", FOUR_STEPS),
    _dmd2(
        "dmd2-4-lora",
        "DMD2's released LoRA student of SDXL, 4 steps",
        "dmd2_sdxl_4step_lora_fp16.safetensors",
        FOUR_STEPS,
    ),
)
"""Baselines of tasks whose teacher is SDXL (DMD2, Tables 2 and 6)."""

SDXL_PAIRS = replace(
    _sdxl_teacher(8),
    name="pairs",
    settings={"timestep_spacing": "trailing"},
    source="official DMD2 code: the pairs of the one-step student's regression",
)
"""The sampler of SDXL's noise-image pairs."""

SD15_BASELINES = by_name(
    TextBaseline(
        "teacher-ode",
        "SD1.5, 50 PNDM steps, guidance 3",
        50,
        scheduler="PNDMScheduler",
        settings={"skip_prk_steps": True},
        guidance_scale=3.0,
        resolution=512,
        source="DMD2, Table 5; the scheduler is that of the published pipeline",
    ),
    TextBaseline(
        "teacher-sde",
        "SD1.5, 200 DDPM steps, guidance 2",
        200,
        scheduler="DDPMScheduler",
        guidance_scale=2.0,
        resolution=512,
        source="DMD2, Table 5, and the official code's --sde",
    ),
    TextBaseline(
        "dpm-solver-4",
        "SD1.5, 4 DPM-Solver++ steps, guidance 3",
        4,
        scheduler="DPMSolverMultistepScheduler",
        settings={"algorithm_type": "dpmsolver++", "solver_order": 2},
        guidance_scale=3.0,
        resolution=512,
        source="DMD2, Table 5, from DMD, Table 3 (guidance 3); second order as diffusers' documentation "
        "recommends for guided sampling",
    ),
    TextBaseline(
        "unipc-4",
        "SD1.5, 4 UniPC steps, guidance 3",
        4,
        scheduler="UniPCMultistepScheduler",
        settings={"solver_order": 2},
        guidance_scale=3.0,
        resolution=512,
        source="DMD2, Table 5, from DMD, Table 3 (guidance 3); second order as diffusers' documentation "
        "recommends for guided sampling",
    ),
    TextBaseline(
        "lcm-lora-4",
        "LCM-LoRA on SD1.5, 4 steps, no guidance",
        4,
        scheduler="LCMScheduler",
        guidance_scale=0.0,
        resolution=512,
        weights=HubWeights("file", "latent-consistency/lcm-lora-sdv1-5", "pytorch_lora_weights.safetensors"),
        source="huggingface.co/latent-consistency/lcm-lora-sdv1-5: no guidance, or 1 to 2",
    ),
    TextBaseline(
        "instaflow-1",
        "InstaFlow-0.9B, 1 step",
        1,
        scheduler="RectifiedFlowScheduler",
        guidance_scale=0.0,
        resolution=512,
        weights=HubWeights("pipeline", "XCLiu/instaflow_0_9B_from_sd_1_5", licence="CC BY-NC 4.0"),
        source="github.com/gnobitab/InstaFlow",
    ),
)
"""Baselines of tasks whose teacher is SD1.5 (DMD2, Table 5)."""

SD15_PAIRS = SD15_BASELINES["teacher-ode"]
"""The sampler of SD1.5's noise-image pairs: the paper's own ODE sampler."""
